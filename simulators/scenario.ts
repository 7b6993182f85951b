/**
 * A scenario: machines, a backend, a gateway, what befalls them and when, and what must be true at the end.
 * Its schema, and the way from a file to a checked value; mistakes are said with file, line and column, by
 * the same reader as the gateway's config.
 */
import { readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import { checkAgainst } from "../src/core/config-explain.ts";
import { type Problem, pathText, readConfigText } from "../src/core/config-text.ts";
import { HoldfastError } from "../src/core/errors.ts";
import { readTextFile } from "../src/core/text-file.ts";
import { duration } from "../src/core/units.ts";
import { BACKEND_MODES } from "./backends/backend.ts";
import { machineGroupSchema } from "./machines/fleet.ts";

/** Where the scenarios that come with Holdfast lie. */
export const SCENARIOS_FOLDER = join(import.meta.dirname, "scenarios");
/** What stands in the gateway's config for the backend's address; the gateway's own config reader fills it in. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: it is the config's syntax, not a template
export const BACKEND_URL_VARIABLE = "${BACKEND_URL}";
const SCENARIO_BYTES_MAX = 2 ** 20;

const at = duration().describe("When, counted from the first machine's start.");

const eventSchema = z.discriminatedUnion("do", [
  z.strictObject({ at, do: z.literal("backend-away") }).describe("The backend's port closes."),
  z.strictObject({ at, do: z.literal("backend-back") }).describe("The backend is there again, well-behaved."),
  z
    .strictObject({ at, do: z.literal("backend-mode"), mode: z.enum(BACKEND_MODES) })
    .describe("The backend misbehaves in this way until it is told otherwise."),
  z
    .strictObject({ at, do: z.literal("kill-gateway"), down: duration().prefault("1s") })
    .describe("kill -9, and a start after `down`."),
  z
    .strictObject({ at, do: z.literal("restart-gateway"), down: duration().prefault("0s") })
    .describe("A decent stop (SIGTERM), and a start."),
  z
    .strictObject({ at, do: z.literal("reconnect-storm") })
    .describe("All machines lose their connection at the same moment."),
  z
    .strictObject({ at, do: z.literal("burst"), size: z.int().min(1).max(100_000) })
    .describe("Each machine makes this many readings at once."),
]);

export type ScenarioEvent = z.output<typeof eventSchema>;

const amount = z.union([
  z.int().min(0),
  z
    .strictObject({ min: z.int().min(0).optional(), max: z.int().min(0).optional() })
    .refine((range) => range.min !== undefined || range.max !== undefined, {
      message: "expected min, max or both",
    }),
]);

/** What can be expected, in the order in which a report shows it. */
const expectable = {
  lost: amount.default(0).describe("Acknowledged, never arrived, and not accounted for."),
  doubled: amount.default(0).describe("Took effect more than once."),
  outOfOrder: amount.default(0).describe("Took effect after a younger one of its lane."),
  altered: amount.default(0).describe("Arrived with another payload."),
  stranger: amount.default(0).describe("Arrived, and no machine sent it."),
  undelivered: amount.default(0).describe("Still on its way when the time to drain was over."),
  arrived: amount.optional().describe("Took effect at the backend."),
  repeatsSent: amount.optional().describe("Copies that machines sent beyond the first."),
  duplicates: amount.optional().describe("Duplicates that the gateway suppressed, by its own count."),
  suppressedByBackend: amount.optional().describe("Copies that the backend knew by their id."),
  dead: amount.default(0).describe("Set aside as dead, by the gateway's own count."),
  expired: amount.default(0).describe("Expired, by the gateway's own count."),
  late: amount.optional().describe("Late, by the gateway's own count."),
};
export type Expectable = keyof typeof expectable;

export const scenarioSchema = z.strictObject({
  about: z.string().default("").describe("What it shows, in a sentence or two."),
  seed: z.int().min(0).default(1).describe("The same seed gives the same readings with the same mishaps."),
  duration: duration({ min: 100 }).prefault("10s").describe("How long the machines make readings."),
  drain: duration({ min: 0 })
    .prefault("30s")
    .describe("At most this long after that for everything to arrive; the backend is well by then."),
  machines: z.array(machineGroupSchema).min(1).describe("Groups of equal machines."),
  backend: z
    .discriminatedUnion("type", [
      z.strictObject({ type: z.literal("http"), ...backendOptions() }),
      z.strictObject({ type: z.literal("mqtt"), ...backendOptions() }),
      z.strictObject({ type: z.literal("file") }).describe("No backend: the gateway writes to its outbox."),
    ])
    .prefault({ type: "http" }),
  gateway: z
    .strictObject({
      config: z
        .record(z.string(), z.unknown())
        .default({})
        .describe(
          "For the gateway that the run starts: laid over a small config with one flow `all` to one target `backend`. The variable BACKEND_URL holds the backend's address.",
        ),
    })
    .prefault({}),
  timeline: z.array(eventSchema).default([]).describe("What happens, and when."),
  expect: z.strictObject(expectable).prefault({}).describe("A number, or {min, max}."),
});

export type Scenario = z.output<typeof scenarioSchema>;

function backendOptions() {
  return {
    port: z
      .int()
      .min(0)
      .max(65_535)
      .default(0)
      .describe("Where the backend listens; 0: a free port. For a running gateway, the one in its config."),
    mode: z.enum(BACKEND_MODES).default("ok").describe("How it behaves from the start."),
    slow: duration({ min: 1 }).prefault("200ms").describe("How long an answer takes in the mode `slow`."),
    dedupe: z
      .boolean()
      .default(true)
      .describe("Whether it makes a message that it gets twice under one id once in effect."),
  };
}

/**
 * Reads a scenario file, or the one of that name among those that come with Holdfast. Throws HF_SCENARIO
 * with every problem as file:line:column.
 */
export function loadScenario(
  nameOrFile: string,
  cwd: string,
  env: Readonly<Record<string, string | undefined>>,
): { readonly scenario: Scenario; readonly name: string; readonly file: string } {
  const known = listScenarios().find(({ name }) => name === nameOrFile);
  const file = known?.file ?? resolve(cwd, nameOrFile);
  const read = readTextFile(file, SCENARIO_BYTES_MAX);
  if (read.kind === "problem") throw new HoldfastError("HF_SCENARIO", `no scenario to read: ${read.problem}`);
  // The backend's address is known to the gateway's process alone: here its variable stands for itself.
  const text = readConfigText(read.text, {
    env: { ...env, BACKEND_URL: BACKEND_URL_VARIABLE },
    folder: dirname(file),
  });
  const problems = [...text.problems];
  const checked = text.value === undefined ? undefined : checkAgainst(scenarioSchema, text);
  if (checked) problems.push(...checked.problems);
  if (problems.length > 0 || !checked?.data) throw scenarioError(file, problems);
  return { scenario: checked.data, name: basename(file).replace(/\.ya?ml$/, ""), file };
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

/** The scenarios that come with Holdfast, by name. */
export function listScenarios(): { readonly name: string; readonly file: string }[] {
  return readdirSync(SCENARIOS_FOLDER)
    .filter((file) => file.endsWith(".yaml"))
    .sort()
    .map((file) => ({ name: file.replace(/\.yaml$/, ""), file: join(SCENARIOS_FOLDER, file) }));
}

export interface Expectation {
  readonly what: Expectable;
  readonly wanted: string;
  readonly found: number | null;
  /** Null where the figure is not to be had: a running gateway that was given without its HTTP address. */
  readonly met: boolean | null;
}

/** Holds what was found against what was expected. */
export function checkExpectations(
  expect: Scenario["expect"],
  found: Readonly<Record<Expectable, number | null>>,
): Expectation[] {
  return (Object.keys(expectable) as Expectable[]).flatMap((what) => {
    const wanted = expect[what];
    if (wanted === undefined) return [];
    const { min = 0, max = Number.POSITIVE_INFINITY } =
      typeof wanted === "number" ? { min: wanted, max: wanted } : wanted;
    const value = found[what];
    return [
      {
        what,
        wanted: min === max ? `${min}` : max === Number.POSITIVE_INFINITY ? `≥ ${min}` : `${min}–${max}`,
        found: value,
        met: value === null ? null : value >= min && value <= max,
      },
    ];
  });
}
