/**
 * The way from a name or a file to a scenario that can be run. Mistakes are said with file, line and column, by
 * the same reader as the gateway's config.
 */
import { readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { checkAgainst } from "../src/core/config-explain.ts";
import { type ConfigText, type Problem, pathText, readConfigText } from "../src/core/config-text.ts";
import { HoldfastError } from "../src/core/errors.ts";
import { nearMiss } from "../src/core/near-miss.ts";
import { readTextFile } from "../src/core/text-file.ts";
import { type Composable, compose } from "./compose.ts";
import { BACKEND_URL_VARIABLE, concerned, GROUP_LISTS, type Scenario, scenarioSchema } from "./scenario.ts";

/** Where the scenarios that come with Holdfast lie. */
export const SCENARIOS_FOLDER = join(import.meta.dirname, "scenarios");
const SCENARIO_BYTES_MAX = 256 * 2 ** 10;

export interface LoadOptions {
  /** Where files are looked for. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Instead of the scenario's own. Of several, the first gets this, the next one more, and so on. */
  readonly seed?: number;
}

export interface Loaded extends Composable {
  readonly file: string;
}

/** The scenarios that come with Holdfast, by name. */
export function listScenarios(): { readonly name: string; readonly file: string }[] {
  return readdirSync(SCENARIOS_FOLDER)
    .filter((file) => file.endsWith(".yaml"))
    .map((file) => ({ name: file.replace(/\.yaml$/, ""), file: join(SCENARIOS_FOLDER, file) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * Reads a scenario file, or the one of that name among those that come with Holdfast, and what it is `with`.
 * Throws HF_SCENARIO with every problem as file:line:column.
 */
export function loadScenario(
  nameOrFile: string,
  cwd: string,
  env: LoadOptions["env"],
): { readonly scenario: Scenario; readonly name: string; readonly file: string } {
  return load(nameOrFile, { cwd, env }, { read: 0 }, []);
}

/** Several as one, at the same time on one gateway. */
export function loadTogether(namesOrFiles: readonly string[], options: LoadOptions): Composable {
  const count = { read: 0 };
  const loaded = namesOrFiles.map((each) => load(each, options, count, []));
  const twice = loaded.find(({ file }, index) => loaded.findIndex((each) => each.file === file) !== index);
  if (twice) {
    throw new HoldfastError(
      "HF_SCENARIO",
      `${twice.name} is named twice; its machines would be the same ones`,
    );
  }
  return compose(loaded);
}

function load(
  nameOrFile: string,
  options: LoadOptions,
  count: { read: number },
  trail: readonly string[],
): Loaded {
  const known = listScenarios().find(({ name }) => name === nameOrFile);
  const file = known?.file ?? resolve(options.cwd, nameOrFile);
  if (trail.includes(file)) {
    const circle = [...trail, file].map((each) => basename(each)).join(" → ");
    throw new HoldfastError("HF_SCENARIO", `scenarios that are \`with\` each other in a circle: ${circle}`);
  }
  const { scenario: read, text } = readScenario(file, nameOrFile, options.env);
  const seed = options.seed === undefined ? read.seed : options.seed + count.read;
  count.read++;
  const own = {
    name: basename(file).replace(/\.ya?ml$/, ""),
    file,
    scenario: { ...read, seed },
    fragments: [{ file, text }],
  };
  if (read.with.length === 0) return own;
  const below = { ...options, cwd: dirname(file) };
  const others = read.with.map((each) => load(each, below, count, [...trail, file]));
  return { ...own, ...withOthers(own, text, others) };
}

/** What the file itself says stands for the whole; it adds its machines and its timeline to those of the others. */
function withOthers(own: Loaded, text: ConfigText, others: readonly Loaded[]): Composable {
  const { scenario, fragments } = compose([...others, own]);
  const said = (text.value ?? {}) as Partial<Record<string, unknown>>;
  const saidOf = <T extends object>(value: T, map: unknown): Partial<T> =>
    Object.fromEntries(
      Object.entries(value).filter(([key]) => map && Object.hasOwn(map as object, key)),
    ) as Partial<T>;
  const { title, question, about, duration, drain } = own.scenario;
  const expect = compose(others).scenario.expect;
  return {
    name: own.name,
    fragments,
    scenario: {
      ...scenario,
      ...saidOf({ title, about, duration, drain }, said),
      question,
      seed: own.scenario.seed,
      expect: { ...expect, ...saidOf(own.scenario.expect, said.expect) },
    },
  };
}

function readScenario(
  file: string,
  named: string,
  env: LoadOptions["env"],
): { readonly scenario: Scenario; readonly text: ConfigText } {
  const read = readTextFile(file, SCENARIO_BYTES_MAX);
  if (read.kind === "problem") {
    const near = nearMiss(
      named,
      listScenarios().map(({ name }) => name),
    );
    const meant = near ? `; did you mean \`${near}\`?` : "";
    throw new HoldfastError("HF_SCENARIO", `no scenario to read: ${read.problem}${meant}`);
  }
  // The backend's address is known to the gateway's process alone: here its variable stands for itself.
  const text = readConfigText(read.text, {
    env: { ...env, BACKEND_URL: BACKEND_URL_VARIABLE },
    folder: dirname(file),
  });
  const problems = [...text.problems];
  const checked = text.value === undefined ? undefined : checkAgainst(scenarioSchema, text);
  if (checked) problems.push(...checked.problems);
  if (checked?.data && problems.length === 0) problems.push(...crossChecks(checked.data, text));
  if (problems.length > 0 || !checked?.data) throw scenarioError(file, problems);
  return { scenario: checked.data, text };
}

/** What no single value can know. */
function crossChecks(scenario: Scenario, text: ConfigText): Problem[] {
  const problems: Problem[] = [];
  const { plcs, timeline } = scenario;
  const groups = GROUP_LISTS.flatMap((list) =>
    scenario[list].map(({ name }, index) => ({ name, path: [list, index, "name"] })),
  );
  if (groups.length === 0 && scenario.with.length === 0) {
    const path = ["machines"];
    problems.push({
      ...text.keyPlace(path),
      path,
      message: "a scenario needs machines, plcs, instruments or opcua, or others it is `with`",
    });
  }
  for (const [index, { name, path }] of groups.entries()) {
    if (groups.findIndex((other) => other.name === name) === index) continue;
    problems.push({ ...text.valuePlace(path), path, message: `two groups are called \`${name}\`` });
  }
  for (const [at, event] of timeline.entries()) {
    const lists = concerned(event);
    if (lists.length === 0) continue;
    const lineless = event.do === "unplug" ? plcs.filter(({ line }) => line !== "rtu") : [];
    const known = lists
      .flatMap((list) => scenario[list].map((group) => group.name))
      .filter((name) => !lineless.some((group) => group.name === name));
    const { group } = event as { group?: string | readonly string[] };
    for (const name of [group ?? []].flat().filter((each) => !known.includes(each))) {
      const path = ["timeline", at, "group"];
      const no = lineless.some((group) => group.name === name)
        ? `\`${name}\` is on no serial line`
        : `there is no group \`${name}\``;
      const message = `${no}; there is ${known.join(", ") || "none in this file"}`;
      problems.push({ ...text.valuePlace(path), path, message });
    }
  }
  return problems;
}

function scenarioError(file: string, problems: readonly Problem[]): HoldfastError {
  const lines = problems
    .toSorted((a, b) => a.line - b.line || a.column - b.column)
    .map(({ line, column, path, message }) => {
      const where = pathText(path);
      return `  ${file}:${line}:${column}: ${where === "" ? "" : `${where}: `}${message}`;
    });
  return new HoldfastError("HF_SCENARIO", `the scenario has a mistake:\n${lines.join("\n")}`, { file });
}
