import { describe, expect, it } from "vitest";
import { ERRORS, errorText, HoldfastError, isHoldfastError } from "../../src/core/errors.ts";

describe("an error of the catalogue", () => {
  it("carries its code, what to do, the exit code of the process, and facts for programs", () => {
    const error = new HoldfastError(
      "HF_PORT_IN_USE",
      "port 1883 is taken",
      { port: 1883 },
      new Error("EADDRINUSE"),
    );
    expect(error).toMatchObject({
      name: "HoldfastError",
      code: "HF_PORT_IN_USE",
      message: "port 1883 is taken",
      hint: ERRORS.HF_PORT_IN_USE.hint,
      exitCode: 69,
      details: { port: 1883 },
    });
    expect(error.cause).toBeInstanceOf(Error);
  });

  it("is told from others by its code", () => {
    const error = new HoldfastError("HF_STORE_IO", "the disk failed");
    expect(isHoldfastError(error)).toBe(true);
    expect(isHoldfastError(error, "HF_STORE_IO")).toBe(true);
    expect(isHoldfastError(error, "HF_STORE_FULL")).toBe(false);
    expect(isHoldfastError(new Error("HF_STORE_IO"))).toBe(false);
  });

  it.each(Object.entries(ERRORS))(
    "%s says what to do, and ends a process with a code of its own kind",
    (_, kind) => {
      expect(kind.hint).toMatch(/^.{10,}\.$/s);
      expect(kind.exitCode).toBeGreaterThanOrEqual(64);
      expect(kind.exitCode).toBeLessThanOrEqual(78);
    },
  );
});

describe("the text of what was thrown", () => {
  const coded = (message: string, code: string) => Object.assign(new Error(message), { code });

  it.each<[unknown, string]>([
    [new Error("no"), "no"],
    ["no", "no"],
    [undefined, "undefined"],
    [coded("connect failed", "ECONNREFUSED"), "ECONNREFUSED: connect failed"],
    [coded("connect ECONNREFUSED 127.0.0.1:1", "ECONNREFUSED"), "connect ECONNREFUSED 127.0.0.1:1"],
    [new AggregateError([coded("one", "E1"), new Error("two")], "all failed"), "E1: one"],
    [new AggregateError([], "all failed"), "all failed"],
  ])("%s is %j", (thrown, text) => {
    expect(errorText(thrown)).toBe(text);
  });
});
