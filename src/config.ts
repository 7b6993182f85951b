/**
 * The config: each room's schema put together, and the way from a file to a checked value.
 *
 * Promise: what `loadConfig` returns is complete (every default filled in) and has been held against every
 * schema and against the checks that cross rooms (config-checks.ts). What is wrong is said all at once, as
 * `file:line:column: path: what was found, what is allowed`, and no such sentence ever contains a secret.
 *
 * Keys, ranges and defaults are written in the rooms' schemas and nowhere else: the documentation, the JSON
 * schema, the explanations and the redaction are made from them. Traded away for that: a schema must be
 * synchronous and readable by core/schema-walk.ts.
 */
import { existsSync } from "node:fs";
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { z } from "zod";
import { deviceSchema, deviceTypeProblem } from "./adapters/schema.ts";
import { accessSchema, brokerSchema } from "./broker/schema.ts";
import { commandsSchema, mqttDeviceSchema } from "./commands/schema.ts";
import { crossChecks, openDoors } from "./config-checks.ts";
import { checkAgainst } from "./core/config-explain.ts";
import { type Problem, pathText, readConfigText } from "./core/config-text.ts";
import { HoldfastError } from "./core/errors.ts";
import { flowSchema } from "./core/flow.ts";
import { redact } from "./core/redact.ts";
import { isTransformed, mapBySchema, schemaMeta, valueAt } from "./core/schema-walk.ts";
import { allowedWords, defaultOf, spellQuantity } from "./core/schema-words.ts";
import { readTextFile } from "./core/text-file.ts";
import { intakeSchema } from "./intake/schema.ts";
import { queueSchema } from "./queue/schema.ts";
import { receiptsSchema } from "./receipts/schema.ts";
import { relaySchema } from "./relay/schema.ts";
import { targetSchema } from "./targets/schema.ts";
import { telemetrySchema } from "./telemetry/schema.ts";
import { healthSchema, notifySchema } from "./watch/schema.ts";
import { webSchema } from "./web/schema.ts";

/** The maps of a hundred PLCs with a hundred signals each are two thirds of this. */
export const CONFIG_BYTES_MAX = 2 ** 20;
/** More problems than this are counted, not printed. */
export const PROBLEMS_MAX = 20;

const nameOf = (what: string) =>
  z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, `expected ${what} of letters, digits, . _ or -, at most 64`);

const gatewaySchema = z.strictObject({
  name: nameOf("a name")
    .default("gateway")
    .describe(
      "What this gateway is called: in its status topics (`holdfast/<name>/status`) and towards backends.",
    ),
});

const logSchema = z.strictObject({
  level: z
    .enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"])
    .default("info")
    .describe("Log this and what is more serious. The log goes to standard error, one JSON object a line."),
});

export const configSchema = z.strictObject({
  gateway: gatewaySchema.prefault({}).describe("The gateway itself."),
  log: logSchema.prefault({}).describe("What is logged."),
  broker: brokerSchema
    .prefault({})
    .describe("The MQTT door: where it listens, and what a client may take up."),
  access: accessSchema.prefault({}).describe("Who may enter, and with which topics."),
  devices: z
    .record(
      nameOf("a name"),
      z.discriminatedUnion("type", [...deviceSchema.options, mqttDeviceSchema], { error: deviceTypeProblem }),
    )
    .prefault({})
    .describe(
      "Machines that are read by Holdfast itself, each under a name of its own; and MQTT clients that take commands.",
    ),
  commands: commandsSchema
    .prefault({})
    .describe("Commands to devices: how long they live, and who may send them."),
  intake: intakeSchema.prefault({}).describe("What is accepted, and how a duplicate is known."),
  receipts: receiptsSchema.prefault({}).describe("Who is told what becomes of the messages it sent."),
  queue: queueSchema.prefault({}).describe("The store on disk."),
  relay: relaySchema.prefault({}).describe("How targets are probed, and how a stop drains."),
  targets: z
    .record(nameOf("a name"), targetSchema)
    .prefault({ outbox: { type: "file" } })
    .describe("The backends, each under a name of its own."),
  flows: z
    .record(nameOf("a name"), flowSchema)
    .prefault({ outbox: { from: "#", to: "outbox" } })
    .describe("Which messages go to which target, each way under a name of its own."),
  web: webSchema.prefault({}).describe("The HTTP door for health, metrics and the API."),
  health: healthSchema
    .prefault({})
    .describe("What the gateway says of itself, and when it calls something stalled."),
  telemetry: telemetrySchema.prefault({}).describe("What is told to systems that watch many others."),
  notify: notifySchema.prefault({}).describe("Whom the gateway tells when something is wrong, and of what."),
});

export type Config = z.output<typeof configSchema>;

export interface LoadOptions {
  /** The file, or undefined to look where a config usually is. */
  readonly path?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Where to look, instead of the usual places. */
  readonly search?: readonly string[];
}

export interface LoadedConfig {
  readonly config: Config;
  /** Absolute. */
  readonly file: string;
  /** None: a config with problems is not returned. */
  readonly problems: readonly [];
}

/** What comes with Holdfast, and is read where nobody says otherwise. */
export const SHIPPED_CONFIG = join(import.meta.dirname, "../config/gateway.yaml");

/** Where a config is looked for when none is named, the first that exists. */
export function searchPlaces(cwd: string): string[] {
  return [join(cwd, "holdfast.yaml"), "/etc/holdfast/holdfast.yaml", SHIPPED_CONFIG];
}

/**
 * Reads, fills in and checks a config. Rejects with HF_CONFIG (or HF_OPEN_DOOR), whose message lists the problems and whose
 * `details` has them as `{ file, problems: [{ file, line, column, path, message }], more }`.
 */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  const file = findFile(options);
  const read = readTextFile(file, CONFIG_BYTES_MAX);
  if (read.kind === "problem")
    throw new HoldfastError("HF_CONFIG", `no config to read: ${read.problem}`, { file });
  const text = readConfigText(read.text, { env: options.env, folder: dirname(file) });
  const problems = [...text.problems];
  let doors: Problem[] = [];
  let config: Config | undefined;
  if (text.value !== undefined) {
    const checked = checkAgainst(configSchema, text);
    problems.push(...checked.problems, ...crossChecks(checked.value, checked.data, text));
    if (checked.data) doors = openDoors(checked.data, text);
    config = checked.data && absolutePaths(checked.data, dirname(file));
  }
  if (problems.length > 0 || doors.length > 0 || !config)
    throw configError(file, problems, doors, options.cwd);
  const fromFiles = text.filledPaths().filter((path) => text.filled(path)?.fromFile);
  origins.set(config, { written: text.value, fromFiles: fromFiles.map((path) => path.map(String)) });
  return { config, file, problems: [] };
}

function findFile({ path, cwd, search }: LoadOptions): string {
  if (path !== undefined) return resolve(cwd, path);
  const places = search ?? searchPlaces(cwd);
  const file = places.find((place) => existsSync(place));
  if (file) return resolve(cwd, file);
  throw new HoldfastError("HF_CONFIG", `no config to read: there is none of ${places.join(", ")}`, {
    places,
  });
}

/** Open doors alone have a code of their own, whose hint says how to close them. */
function configError(
  file: string,
  problems: readonly Problem[],
  doors: readonly Problem[],
  cwd: string,
): HoldfastError {
  const shown = displayPath(file, cwd);
  const sorted = [...problems, ...doors].toSorted((a, b) => a.line - b.line || a.column - b.column);
  const listed = sorted.slice(0, PROBLEMS_MAX).map(({ line, column, path, message }) => {
    return { file: shown, line, column, path: pathText(path), message };
  });
  const more = sorted.length - listed.length;
  const lines = listed.map(
    ({ line, column, path, message }) =>
      `  ${shown}:${line}:${column}: ${path === "" ? "" : `${path}: `}${message}`,
  );
  if (more > 0) lines.push(`  … and ${more} more`);
  const count = sorted.length === 1 ? "1 problem" : `${sorted.length} problems`;
  return new HoldfastError(
    problems.length === 0 ? "HF_OPEN_DOOR" : "HF_CONFIG",
    `${shown} has ${count}:\n${lines.join("\n")}`,
    {
      file,
      problems: listed,
      more,
    },
  );
}

/** As somebody in `cwd` would write it: relative inside it, else absolute. */
function displayPath(file: string, cwd: string): string {
  const below = relative(cwd, file);
  return below === "" || below.startsWith("..") || isAbsolute(below) ? file : below;
}

/** Files are named from the config's own folder, so that it does not matter where Holdfast was started. */
function absolutePaths(config: Config, folder: string): Config {
  return mapBySchema(configSchema, config, (value, schemas) => {
    if (typeof value !== "string" || !schemas.some((schema) => schemaMeta(schema).filePath)) return undefined;
    return value.includes("\n") ? value : resolve(folder, value);
  }) as Config;
}

/** What is known of a loaded config besides its values. */
interface Origin {
  readonly written: unknown;
  /** What a `${file:…}` brought in is a secret wherever it stands, whatever the schema says of that place. */
  readonly fromFiles: readonly (readonly string[])[];
}

const origins = new WeakMap<Config, Origin>();

/** A copy of a config without its secrets, for people and for the API. */
export function redacted(config: Config): unknown {
  const fromFiles = origins.get(config)?.fromFiles ?? [];
  return redact(configSchema, config, (path) =>
    fromFiles.some(
      (known) => known.length <= path.length && known.every((part, at) => part === String(path[at])),
    ),
  );
}

/** A redacted copy as somebody would write it: `5s` and `64MiB` instead of bare numbers. */
export function printable(config: Config): unknown {
  const written = origins.get(config)?.written;
  return mapBySchema(configSchema, redacted(config), (value, schemas, path) => {
    const schema = schemas.find(isTransformed);
    if (!schema || value === null || typeof value === "object") return undefined;
    const { quantity } = schemaMeta(schema);
    if (quantity && typeof value === "number") return spellQuantity(quantity, value);
    return quantity ? undefined : (valueAt(written, path) ?? defaultOf(schema)?.value);
  });
}

/** The schema for editors: what may be written, as JSON Schema 2020-12. */
export function jsonSchema(): Record<string, unknown> {
  return {
    title: "Holdfast config",
    ...z.toJSONSchema(configSchema, {
      io: "input",
      unrepresentable: "any",
      override({ zodSchema, jsonSchema: schema }) {
        // Notes for our own readers of the schema go into the words that an editor shows.
        const { quantity } = schemaMeta(zodSchema);
        const { description = "" } = schema;
        if (quantity && !description.includes(`a ${quantity}`)) {
          schema.description = `${description} (${allowedWords(zodSchema)})`.trim();
        }
        for (const note of ["quantity", "limits", "secret", "filePath"]) delete schema[note];
      },
    }),
  };
}
