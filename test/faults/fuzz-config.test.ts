/**
 * Config files that nobody should write: the shipped ones with damage done to them, random YAML, aliases that
 * stand for gigabytes, depth, size, bytes that are no text, keys given twice, and `${…}` in every form. Whatever
 * a file holds, reading it ends soon, in little memory, with a config or with an error whose every line has a
 * place in the file; and no secret stands in that error.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { loadScenario } from "../../simulators/scenario-library.ts";
import { CONFIG_BYTES_MAX, loadConfig, redacted } from "../../src/config.ts";
import { HoldfastError } from "../../src/core/errors.ts";
import { capability } from "../support/capabilities.ts";
import { Fuzz } from "../support/fuzz.ts";

const LONG = capability("long").present;
const wide = capability("wide");
const FILES = LONG ? 20_000 : wide.present ? 120 : 60;
/**
 * Processor time, which a busy machine hardly stretches; far beyond what reading takes. A bomb takes minutes or for ever.
 * Files are four times as large in the long run, and take so much longer.
 */
const READ_MS_MAX = LONG ? 15_000 : 5_000;
const READ_BYTES_MAX = 400 * 2 ** 20;

const SHIPPED = [
  ...textsIn(join(import.meta.dirname, "../../config")),
  ...textsIn(join(import.meta.dirname, "../../simulators/scenarios")),
];
/** What stands in the environment and in a file; nothing that is printed may have it. */
const SECRET = "hunter2-swordfish";

const YAML_EXTRAS = [
  "\t",
  ": ",
  "- ",
  "\n  ",
  "\n",
  "&a ",
  "*a",
  "!!binary ",
  "!!js/function ",
  "<<: *a\n",
  "? ",
  "|\n",
  ">-\n",
  "{",
  "}",
  "[",
  "]",
  "'",
  '"',
  "#",
  "---\n",
  "...\n",
  "%YAML 1.1\n",
  "\ufeff",
  "\0",
  "\r",
  "1e999",
  ".nan",
  "0o17",
  "2001-12-14",
  "yes",
  "~",
  "__proto__: ",
  "constructor: ",
  `$\{SECRET}`,
  `$\{SECRET`,
  `$$\{SECRET}`,
  `$\{SECRET:-$\{SECRET}}`,
  `$\{MISSING}`,
  `$\{:-}`,
  `$\{}`,
  `$\{file:secret.txt}`,
  `$\{file:/dev/zero}`,
  `$\{file:.}`,
  `$\{file:../../../../etc/shadow}`,
];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-fuzz-config-"));
  writeFileSync(join(folder, "secret.txt"), SECRET);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function textsIn(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => name.endsWith(".yaml"))
    .map((name) => readFileSync(join(dir, name), "utf8"));
}

function file(fuzz: Fuzz): Buffer {
  const shipped = fuzz.pick(SHIPPED);
  switch (fuzz.random.below(8)) {
    case 0:
      return fuzz.damagedBytes(Buffer.from(shipped));
    case 1:
      return Buffer.from(fuzz.jsonText());
    case 2:
      return fuzz.bytes(400);
    case 3:
      return Buffer.from(randomYaml(fuzz));
    case 4:
      return Buffer.from(fuzz.damaged(fuzz.damaged(shipped, YAML_EXTRAS), YAML_EXTRAS));
    default:
      return Buffer.from(fuzz.damaged(shipped, YAML_EXTRAS));
  }
}

/** Known keys with values of any kind. */
function randomYaml(fuzz: Fuzz): string {
  const keys = [
    "gateway",
    "log",
    "broker",
    "access",
    "intake",
    "queue",
    "relay",
    "targets",
    "flows",
    "web",
    "health",
  ];
  return keys
    .filter(() => fuzz.oneIn(2))
    .map((key) => `${key}: ${fuzz.oneIn(3) ? fuzz.pick(YAML_EXTRAS) : JSON.stringify(fuzz.json())}`)
    .join("\n");
}

type Load = (path: string) => unknown;

const ENV = { SECRET };
const load: Load = (path) => loadConfig({ path, env: ENV, cwd: folder });
const scenario: Load = (path) => loadScenario(path, folder, ENV);

/** What is wrong with how this file was read, or null. */
async function findingOf(bytes: Buffer, read: Load, msMax = READ_MS_MAX): Promise<string | null> {
  const path = join(folder, "holdfast.yaml");
  writeFileSync(path, bytes);
  const from = process.cpuUsage();
  const before = process.memoryUsage().rss;
  const finding = await (async () => read(path))().then(
    (loaded) => {
      const config = (loaded as { config?: unknown } | null)?.config;
      if (config === undefined || read === scenario) return null;
      JSON.stringify(redacted(config as Parameters<typeof redacted>[0]));
      return null;
    },
    (error: unknown) => errorFinding(error, path),
  );
  const { user, system } = process.cpuUsage(from);
  const tookMs = (user + system) / 1000;
  if (tookMs > msMax) return `it took ${Math.round(tookMs)} ms`;
  const grownBytes = process.memoryUsage().rss - before;
  return grownBytes > READ_BYTES_MAX ? `it took ${Math.round(grownBytes / 2 ** 20)} MiB` : finding;
}

const CODES = ["HF_CONFIG", "HF_OPEN_DOOR", "HF_SCENARIO"];

function errorFinding(error: unknown, path: string): string | null {
  if (!(error instanceof HoldfastError)) return `it threw ${error instanceof Error ? error.stack : error}`;
  if (!CODES.includes(error.code)) return `code ${error.code}: ${error.message}`;
  if (error.message.includes(SECRET) || JSON.stringify(error.details).includes(SECRET))
    return "it shows a secret";
  const lines = error.message.split("\n").slice(1);
  const { problems } = error.details as { problems?: { line: number; column: number; message: string }[] };
  if (problems === undefined) {
    // A file that cannot be read at all has no lines.
    const whole = /^no (config|scenario) to read: /.test(error.message);
    return whole || lines.length > 0 ? placeFinding(lines, path) : `no problem has a place: ${error.message}`;
  }
  const last = readFileSync(path, "utf8").split(/\r\n|\r|\n/).length + 1;
  const bad = problems.find(
    ({ line, column, message }) => !(line >= 1 && line <= last && column >= 1 && message !== ""),
  );
  if (bad) return `a problem is at no place of the file: ${JSON.stringify(bad)}`;
  return problems.length === 0 ? `an error without problems: ${error.message}` : placeFinding(lines, path);
}

function placeFinding(lines: readonly string[], path: string): string | null {
  const name = path.slice(folder.length + 1);
  const strange = lines.find(
    (line) => line.startsWith("  ") && !line.includes(`${name}:`) && !line.startsWith("  … and"),
  );
  return strange === undefined ? null : `a line without its place: ${strange}`;
}

async function fuzzFiles(read: Load, seed: number, count: number): Promise<string[]> {
  const findings: string[] = [];
  for (let n = seed; n < seed + count && findings.length < 3; n++) {
    const finding = await findingOf(file(new Fuzz(n)), read);
    if (finding !== null) findings.push(`seed ${n}: ${finding}`);
  }
  return findings;
}

/** Nine levels of nine aliases: 3.5 GB of text where they are written out. */
const LAUGHS = `a: &a [x, x, x, x, x, x, x, x, x]\n${"bcdefghij"
  .split("")
  .map((name, at) => `${name}: &${name} [${Array(9).fill(`*${"abcdefghi"[at]}`).join(", ")}]\n`)
  .join("")}`;

/** As large as a config may be; what takes time in proportion to that is a part of it by default. */
const DEEP_BYTES = CONFIG_BYTES_MAX - 100;
const BYTES = LONG ? DEEP_BYTES : DEEP_BYTES / (wide.present ? 4 : 16);
const filledWith = (piece: string, bytes = BYTES) => piece.repeat(Math.floor(bytes / piece.length));
const numbered = (make: (n: number) => string) => {
  const lines: string[] = [];
  for (let n = 0, bytes = 0; bytes < BYTES - 40; n++) {
    lines.push(make(n));
    bytes += lines.at(-1)!.length + 1;
  }
  return lines.join("\n");
};

const BOMBS: readonly [string, string | Buffer][] = [
  ["aliases of aliases of aliases", LAUGHS],
  ["aliases in a place that counts", `${LAUGHS}flows: *j\n`],
  ["an alias of itself", "flows: &a\n  x: *a\n"],
  ["a merge key of itself", "flows: &a\n  <<: *a\n"],
  [
    "lists nested a hundred thousand deep",
    `flows: ${"[".repeat(DEEP_BYTES / 2)}${"]".repeat(DEEP_BYTES / 2 - 10)}`,
  ],
  ["maps nested by the ten thousand", `flows: ${filledWith("{a: ", DEEP_BYTES).slice(0, -10)}`],
  [
    "lists nested by indentation",
    `flows:\n${Array.from({ length: 600 }, (_, n) => `${" ".repeat(n)}-`).join("\n")}`,
  ],
  ["as many unknown keys as there is room for", numbered((n) => `k${n}: 1`)],
  ["as many targets as there is room for", `targets:\n${numbered((n) => `  t${n}: 1`)}`],
  ["the same key, again and again", filledWith("log: {level: info}\n")],
  ["one long name", `gateway: {name: "${"x".repeat(BYTES - 40)}"}`],
  ["one long address", `targets: {a: {type: http, url: "${filledWith("http://").slice(0, -100)}"}}`],
  ["too much of anything", "#".repeat(CONFIG_BYTES_MAX + 1)],
  ["escaped quotes", `a: "${filledWith('\\"').slice(0, -10)}`],
  ["nothing but dashes", filledWith("- ", DEEP_BYTES)],
  ["nothing but question marks", filledWith("? ", DEEP_BYTES)],
  ["nothing but colons", filledWith("a: ", DEEP_BYTES)],
  ["nothing but brackets", filledWith("[", DEEP_BYTES)],
  ["nothing but anchors", numbered((n) => `- &a${n} 1`)],
  ["nothing but tags", filledWith("- !a 1\n")],
  ["nothing but comments", filledWith("# \n")],
  ["nothing but list entries", `flows:\n${filledWith("- 1\n").slice(0, -20)}`],
  ["nothing but expressions", `gateway: {name: "${filledWith(`$\{A`).slice(0, -30)}"}`],
  ["bytes that are no text", Buffer.from([0xff, 0xfe, 0x00, 0x61])],
  ["nothing", ""],
  ["a NUL", "\0"],
];

/** Each costs seconds, and is read as another one is. */
const LIKE_OTHERS = [
  "aliases in a place that counts",
  "as many targets as there is room for",
  "nothing but anchors",
  "nothing but tags",
  "nothing but comments",
];
const likeOthers = BOMBS.filter(([name]) => LIKE_OTHERS.includes(name));
const others = BOMBS.filter(([name]) => !LIKE_OTHERS.includes(name));

async function staysHarmless(_: string, text: string | Buffer): Promise<void> {
  for (const read of [load, scenario]) expect(await findingOf(Buffer.from(text), read)).toBeNull();
}

describe("a config file, whatever it holds", () => {
  test.each([
    ["config", load],
    ["scenario", scenario],
  ])("is read as a %s or refused with its places, and never more", { timeout: 600_000 }, async (_, read) => {
    expect(await fuzzFiles(read, 1, FILES)).toEqual([]);
  });

  test.each(others)("cannot take long or much: %s", { timeout: 60_000 }, staysHarmless);
  test.skipIf(!wide.present).each(likeOthers)(
    "cannot take long or much: %s",
    { timeout: 60_000 },
    staysHarmless,
  );

  test.each([
    ["file:/dev/zero}", "/dev/zero is larger than"],
    ["file:.}", "is a folder"],
    ["file:}", "it names no file"],
    [`SECRET:-$\{SECRET}}`, "cannot be nested"],
    ["MISSING}", "is not set"],
    ["SECRET", "has no closing }"],
  ])("cannot be tricked by ${%s", async (expression, sentence) => {
    writeFileSync(join(folder, "holdfast.yaml"), `gateway: { name: '$\{${expression}' }\n`);
    const error = await (load(join(folder, "holdfast.yaml")) as Promise<unknown>).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(HoldfastError);
    expect((error as HoldfastError).message).toContain(sentence);
    expect((error as HoldfastError).message).not.toContain(SECRET);
  });
});

describe("the fuzzer of config files", () => {
  test("finds a reader that throws what no operator understands", async () => {
    const naive: Load = (path) => ({ config: parse(readFileSync(path, "utf8")) });
    const findings = await fuzzFiles(naive, 1, FILES);
    expect(findings.join("\n")).toMatch(/it threw (YAML|Reference|Type)/);
  });

  test("finds a reader that shows a secret, and one that says no place", async () => {
    const refusing = (message: string): Load => {
      return () => {
        throw new HoldfastError("HF_CONFIG", message);
      };
    };
    expect(await findingOf(Buffer.from("a: 1"), refusing(`found ${SECRET}`))).toBe("it shows a secret");
    expect(await findingOf(Buffer.from("a: 1"), refusing("it is wrong"))).toContain("no problem has a place");
  });

  test("finds a reader that takes for ever", async () => {
    const slow: Load = () => {
      const from = process.cpuUsage();
      while (process.cpuUsage(from).user < 60_000) JSON.stringify(from);
    };
    expect(await findingOf(Buffer.from("a: 1"), slow, 50)).toMatch(/it took \d+ ms/);
  });
});
