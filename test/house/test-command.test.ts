/** The test command, run over small suites that pass, fail, and break in the ways that are easy to miss. */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { capability } from "../support/capabilities.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const RUN = fileURLToPath(new URL("../run.ts", import.meta.url));

// In two pieces, or the run that this file is part of would take it for a wish of this file.
const ASKS = `capability${'("long")'}`;
const ASKS_WIDE = `capability${'("wide")'}`;

let suite: string;

beforeEach(() => {
  suite = mkdtempSync(join(tmpdir(), "holdfast-suite-"));
  symlinkSync(join(ROOT, "node_modules"), join(suite, "node_modules"));
  writeFileSync(join(suite, "package.json"), '{"type":"module"}');
});

afterEach(() => rmSync(suite, { recursive: true, force: true }));

function testFile(name: string, body: string): void {
  mkdirSync(join(suite, "test"), { recursive: true });
  const imports = 'import { beforeAll, describe, expect, it } from "vitest";';
  writeFileSync(join(suite, "test", `${name}.test.ts`), `${imports}\n${body}\n`);
}

/** What the run that this file is part of was asked for is no wish of this suite. */
const NO_WISH = { CI: "", HOLDFAST_TEST_LONG: "", HOLDFAST_TEST_WIDE: "" };
const run = (...args: string[]) => runWith({}, ...args);

function runWith(
  env: Readonly<Record<string, string>>,
  ...args: string[]
): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [RUN, "--root", suite, ...args], {
      env: { ...process.env, NO_COLOR: "1", VITEST: "", VITEST_WORKER_ID: "", ...NO_WISH, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let out = "";
    let err = "";
    child.stdout.on("data", (bytes) => {
      out += bytes;
    });
    child.stderr.on("data", (bytes) => {
      err += bytes;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out, err }));
  });
}

const lastLine = (text: string) => text.trimEnd().split("\n").at(-1);

it("closes with the counts, after naming what was skipped", async () => {
  testFile(
    "good",
    'it("a", () => {}); it("b", () => {}); describe("deep", () => { it.skip("not here", () => {}); });',
  );
  testFile("long", `/* ${ASKS} */ it("a", () => expect(process.env.HOLDFAST_TEST_LONG).toBe("1"));`);
  const { code, out } = await run("--long");
  expect(lastLine(out)).toBe("3 passed, 0 failed, 1 skipped");
  expect(out).toContain("good.test.ts > deep > not here\n");
  expect(out).not.toContain("will be skipped");
  expect(code).toBe(0);
});

it("counts as failed what fails outside a test, too", async () => {
  testFile("test", 'it("a", () => expect(1).toBe(2)); it("b", () => {});');
  testFile("file", 'throw new Error("does not load");');
  testFile(
    "hook",
    'describe("d", () => { beforeAll(() => { throw new Error("no"); }); it("a", () => {}); });',
  );
  testFile("rejection", 'it("a", async () => { Promise.reject(new Error("nobody catches it")); });');
  const { code, out } = await run();
  expect(lastLine(out)).toBe("2 passed, 4 failed, 1 skipped");
  expect(code).toBe(1);
});

it("says beforehand what it will skip, and fails when no file matches the filter", async () => {
  testFile("good", `/* ${ASKS} */ it("a", () => {});`);
  const { code, out } = await run("nothing-like-it");
  expect(out).toContain("it takes minutes (./holdfast test --long): parts of test/good.test.ts");
  expect([code, lastLine(out)]).toEqual([1, "0 passed, 0 failed, 0 skipped"]);
});

it("leaves the wide tests out by default, says so, and has them where they are asked for, and on build machines", async () => {
  testFile("good", `/* ${ASKS_WIDE} */ it("a", () => {});`);
  const told =
    "others of their kind are run (./holdfast test --wide, as build machines do): parts of test/good";
  expect((await run("nothing-like-it")).out).toContain(told);
  expect((await run("--wide", "nothing-like-it")).out).not.toContain("others of their kind");
  expect((await runWith({ CI: "true" }, "nothing-like-it")).out).not.toContain("others of their kind");
});

it.skipIf(!capability("wide").present)(
  "gives vitest's JSON alone on standard output, and the rest beside it",
  async () => {
    testFile("good", 'it("a", () => { console.log("noise"); });');
    testFile("other", 'it("a", () => {});');
    const { code, out, err } = await run("--json", "good");
    expect(JSON.parse(out)).toMatchObject({ success: true, numTotalTests: 1, numPassedTests: 1 });
    expect(lastLine(err)).toBe("1 passed, 0 failed, 0 skipped");
    expect(code).toBe(0);
  },
);

it("explains its usage, and says what is wrong with a wrong one", async () => {
  expect((await run("--help")).out).toContain("Usage: ./holdfast test");
  const wrong = await run("--no-such-option-here");
  expect(wrong.code).toBe(64);
  expect(wrong.err).toContain("Usage:");
});

it.each([
  ["20.20.2", 69],
  ["24.11.1", 69],
  ["24.12.0", 0],
  ["26.0.0", 0],
])("lets npm start and npm test go on under Node %s or says why not: %i", (version, code) => {
  const pretend = `Object.defineProperty(process.versions, "node", { value: "${version}" });`;
  const check = `require(${JSON.stringify(join(ROOT, "tools/check-node.cjs"))});`;
  const ran = spawnSync(process.execPath, ["-e", pretend + check], { encoding: "utf8" });
  expect(ran.status).toBe(code);
  expect(ran.stderr.includes(`needs Node 24.12 or newer, this is ${version}`)).toBe(code === 69);
});
