import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { createLogger } from "../../src/core/logger.ts";
import { scratchFolder } from "../support/test-store.ts";

/** What a logger writes, a JSON object a line. */
function logged(
  level: string,
  log: (logger: ReturnType<typeof createLogger>) => void,
): Record<string, unknown>[] {
  const file = join(scratchFolder(), "log");
  const fd = openSync(file, "w");
  log(createLogger({ level, fd }));
  closeSync(fd);
  const lines = readFileSync(file, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => JSON.parse(line));
}

it("never prints a secret, wherever it stands in what is logged", () => {
  const secret = "hunter2";
  const lines = logged("info", (logger) =>
    logger.info(
      { password: secret, auth: { token: secret, user: "anna" }, a: { b: { secret, key: secret } } },
      "entered",
    ),
  );
  expect(JSON.stringify(lines)).not.toContain(secret);
  expect(lines[0]).toMatchObject({ password: "(redacted)", auth: { token: "(redacted)", user: "anna" } });
});

it("writes a level by its name and a time that people can read, and leaves out what is below", () => {
  const lines = logged("warn", (logger) => {
    logger.info("not this");
    logger.warn({ device: "press-7" }, "this");
  });
  expect(lines).toEqual([
    { level: "warn", time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/), device: "press-7", msg: "this" },
  ]);
});
