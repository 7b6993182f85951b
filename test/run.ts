/**
 * The test command: `./holdfast test`, `npm test`.
 *
 * It runs vitest, and adds what a person or a machine wants to know around it: beforehand, which tests this
 * machine will skip and why; afterwards, which were skipped by name, and one closing line with the counts.
 * The counts are of real results. What fails outside any test (a file that does not load, a hook, an error
 * that nobody caught) is counted as failed, so that the line and the exit code never disagree.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Reporter } from "vitest/node";
import { createCLI, parseCLI, startVitest } from "vitest/node";
import { capability, capabilityNames, LONG_VARIABLE, WIDE_VARIABLE } from "./support/capabilities.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** How long workers may take to end after the last test, before that counts as a failure. */
const CLOSE_MS_MAX = 20_000;

const USAGE = `Usage: ./holdfast test [options] [filter…]

Runs every test whose file name contains a filter, or all of them. Tidiness, lint and types are tests too
(test/tidy.test.ts).

  --wide          also what is like something that runs anyway: more kinds, more faults that must be found out,
                  longer slices (about nine minutes on two cores; the default takes about four). On where CI is set
  --long          also the loops that take minutes and hours
  --json          vitest's JSON report on standard output, everything else on standard error
  --seeds N       how many histories the simulation runs (200, with --wide 400, with --long 10,000)
  --seed N        the first of them, and the seed of other tests that draw
  -t PATTERN      only tests whose name matches

Any other option is vitest's own. Exit code: 0 when nothing failed, 1 when something did, 64 for wrong usage.
`;

interface Totals {
  passed: number;
  failed: number;
  skipped: number;
  skippedNames: string[];
}

async function main(args: string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(USAGE);
    return 0;
  }
  const json = args.includes("--json");
  if (args.includes("--long")) process.env[LONG_VARIABLE] = "1";
  if (args.includes("--wide")) process.env[WIDE_VARIABLE] = "1";
  const { rest, problem } = takeNumbers(args.filter((arg) => !["--json", "--long", "--wide"].includes(arg)));
  if (problem) {
    process.stderr.write(`${problem}\n\n${USAGE}`);
    return 64;
  }
  // Standard output belongs to the report where there is one.
  const tell = (text: string) => (json ? process.stderr : process.stdout).write(`${text}\n`);

  const argv = ["run", ...rest];
  try {
    const cli = createCLI();
    cli.parse(["node", "vitest", ...argv], { run: false });
    // vitest itself would let an option go by that it does not know.
    cli.matchedCommand?.checkUnknownOptions();
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
    return 64;
  }
  const parsed = parseCLI(["vitest", ...argv]);
  process.chdir(parsed.options.root ?? ROOT);
  for (const line of foreseenSkips()) tell(line);

  const totals: Totals = { passed: 0, failed: 0, skipped: 0, skippedNames: [] };
  const counter = countInto(totals, () => {
    const left = setTimeout(() => {
      totals.failed++;
      tell(`the tests ended, but after ${CLOSE_MS_MAX / 1000} s something still keeps their workers running`);
      tell(closingLine(totals));
      process.exit(1);
    }, CLOSE_MS_MAX);
    left.unref();
  });
  await startVitest(
    "test",
    parsed.filter,
    { ...parsed.options, root: process.cwd(), watch: false },
    { test: { reporters: [json ? ["json", { stdout: true }] : "default", counter] } },
  );

  if (totals.skipped > 0 && !parsed.options.testNamePattern) {
    tell("Skipped:");
    for (const name of totals.skippedNames) tell(`  ${name}`);
  }
  tell(closingLine(totals));
  return totals.failed > 0 || process.exitCode ? 1 : 0;
}

const NUMBERS: Readonly<Record<string, string>> = {
  "--seeds": "HOLDFAST_TEST_SEEDS",
  "--seed": "HOLDFAST_TEST_SEED",
};

/** Hands numbers to the tests, which run in processes of their own; `rest` is what is left for vitest. */
function takeNumbers(args: readonly string[]): { readonly rest: string[]; readonly problem: string | null } {
  const rest: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const [name = "", inline] = args[at]!.split("=", 2);
    const variable = NUMBERS[name];
    if (!variable) {
      rest.push(args[at]!);
      continue;
    }
    const value = inline ?? args[++at] ?? "";
    if (!/^[1-9]\d{0,8}$/.test(value)) {
      return { rest, problem: `${name} takes a whole number from 1 on, not ${JSON.stringify(value)}` };
    }
    process.env[variable] = value;
  }
  return { rest, problem: null };
}

function closingLine({ passed, failed, skipped }: Totals): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/** One line per capability that this machine lacks and some test asks for. */
function foreseenSkips(): string[] {
  const files = readdirSync("test", { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => join("test", name))
    .sort();
  const texts = files.map((file) => readFileSync(file, "utf8"));
  const lines: string[] = [];
  for (const name of capabilityNames) {
    const asking = files.filter((_, at) => texts[at]?.includes(`capability("${name}")`));
    if (asking.length === 0) continue;
    const { present, missing, howToGet } = capability(name);
    if (!present) lines.push(`  ${missing} (${howToGet}): parts of ${asking.join(", ")}`);
  }
  return lines.length > 0 ? ["Some tests will be skipped:", ...lines] : [];
}

function countInto(totals: Totals, onEnd: () => void): Reporter {
  return {
    onTestRunEnd(modules, unhandledErrors) {
      totals.failed += unhandledErrors.length;
      for (const module of modules) {
        if (module.errors().length > 0) totals.failed++;
        for (const suite of module.children.allSuites()) if (suite.errors().length > 0) totals.failed++;
        for (const test of module.children.allTests()) {
          const { state } = test.result();
          if (state === "passed") totals.passed++;
          else if (state === "skipped") {
            totals.skipped++;
            totals.skippedNames.push(`${module.relativeModuleId} > ${test.fullName}`);
          } else totals.failed++;
        }
      }
      onEnd();
    },
  };
}

process.exit(await main(process.argv.slice(2)));
