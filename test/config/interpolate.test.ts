// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is tested

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { interpolate, SECRET_FILE_BYTES_MAX } from "../../src/core/interpolate.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-interpolate-"));
  writeFileSync(join(folder, "secret"), "p@ss: ${NOT_AGAIN} #1\n");
  writeFileSync(join(folder, "two-lines"), "a\nb\n\n");
  writeFileSync(join(folder, "empty"), "\n");
  writeFileSync(join(folder, "binary"), Buffer.from([0xff, 0xfe, 0x00]));
  writeFileSync(join(folder, "huge"), "x".repeat(SECRET_FILE_BYTES_MAX + 1));
});
afterAll(() => rmSync(folder, { recursive: true }));

const env = { HOST: "plc-7", EMPTY: "", TRICKY: "${HOST} $& $1 $$" };
const read = (text: string) => interpolate(text, { env, folder });

describe("what ${…} stands for", () => {
  it("is the variable's text, anywhere in a value and more than once", () => {
    expect(read("mqtt://${HOST}:1883/${HOST}")).toMatchObject({
      text: "mqtt://plc-7:1883/plc-7",
      changed: true,
      fromFile: false,
      problems: [],
    });
  });

  it("is never looked at again, so that a password may hold anything", () => {
    expect(read("${TRICKY}").text).toBe("${HOST} $& $1 $$");
    expect(read("${file:secret}").text).toBe("p@ss: ${NOT_AGAIN} #1");
  });

  it("is the default where the variable is not set or empty", () => {
    expect(read("${NONE:-1883}").text).toBe("1883");
    expect(read("${EMPTY:-1883}").text).toBe("1883");
    expect(read("${HOST:-1883}").text).toBe("plc-7");
    expect(read("${NONE:-}")).toMatchObject({ text: "", problems: [] });
    expect(read("${NONE:-a:-b}").text).toBe("a:-b");
  });

  it("may be empty where the variable is set and empty and no default is given", () => {
    expect(read("${EMPTY}")).toMatchObject({ text: "", problems: [] });
  });

  it("is a file's text from the config's folder, without its last line break only", () => {
    expect(read("${file:./secret}")).toMatchObject({ fromFile: true, problems: [] });
    expect(read("${file:two-lines}").text).toBe("a\nb\n");
  });

  it("is left alone where the dollar is doubled, or stands alone", () => {
    expect(read("$${HOST} costs $5 and $HOST")).toEqual({
      text: "${HOST} costs $5 and $HOST",
      changed: false,
      fromFile: false,
      problems: [],
    });
  });
});

describe("what ${…} cannot stand for", () => {
  const problemOf = (text: string) => read(text).problems.join("\n");

  it("is a variable that is not set", () => {
    expect(problemOf("${NONE}")).toBe(
      "the environment variable NONE is not set; set it, or give a default: ${NONE:-…}",
    );
  });

  it("is something else than a variable or a file", () => {
    expect(problemOf("${}")).toContain("is not understood");
    expect(problemOf("${NONE-x}")).toContain("is not understood");
    expect(problemOf("${1A}")).toContain("is not understood");
    expect(problemOf("${env:HOME}")).toContain("is not understood");
    expect(problemOf("${HOST")).toContain("has no closing }");
    expect(problemOf("${NONE:-${HOST}}")).toContain("cannot be nested");
  });

  it("is a file that is missing, a folder, empty, not text, or too large", () => {
    expect(problemOf("${file:nowhere}")).toContain(`there is no file ${join(folder, "nowhere")}`);
    expect(problemOf("${file:.}")).toContain("is a folder");
    expect(problemOf("${file:empty}")).toContain("is empty");
    expect(problemOf("${file:binary}")).toContain("is not UTF-8 text");
    expect(problemOf("${file:huge}")).toContain("is larger than 65536 bytes");
    expect(problemOf("${file:/dev/zero}")).toContain("is larger than 65536 bytes");
    expect(problemOf("${file:}")).toContain("it names no file");
  });

  it("is told for each place", () => {
    expect(read("${NONE} and ${NIX}").problems).toHaveLength(2);
  });
});
