/** Options of commands, and of the MQTT devices that take some. */
import { z } from "zod";
import { UNKNOWN_POLICIES } from "../core/command-message.ts";
import { mqttUrl } from "../core/mqtt-url.ts";
import { tlsSchema } from "../core/tls.ts";
import { topicFilterProblem, topicNameProblem } from "../core/topic.ts";
import { duration, secret } from "../core/units.ts";
import { fits } from "./classes.ts";

const patterns = (of: string) =>
  z
    .array(z.string().min(1))
    .min(1)
    .default(["*"])
    .describe(`Which ${of}: names, in which * stands for any text.`);

const topicFilter = z.string().superRefine((filter, context) => {
  const problem = topicFilterProblem(filter);
  if (problem) context.addIssue({ code: "custom", message: `not a topic filter: ${problem}` });
});

const topicName = z.string().superRefine((topic, context) => {
  const problem = topicNameProblem(topic);
  if (problem) context.addIssue({ code: "custom", message: `no topic to publish to: ${problem}` });
});

const TTL = { min: 1000, max: 7 * 86_400_000 };
const ANSWER = { min: 10, max: 3_600_000 };

const onUnknown = z.enum(UNKNOWN_POLICIES);

const classSchema = z.strictObject({
  devices: patterns("devices"),
  signals: patterns("signals"),
  ttl: duration(TTL).optional().describe("As commands.ttl, for these."),
  answerWithin: duration(ANSWER).optional().describe("As commands.answerWithin, for these."),
  onUnknown: onUnknown.optional().describe("As commands.onUnknown, for these."),
  newestWins: z.boolean().optional().describe("As commands.newestWins, for these."),
});

const upstreamSchema = z.strictObject({
  url: mqttUrl.describe("The broker: mqtt://, mqtts:// (TLS), ws:// or wss://, host and port."),
  protocol: z
    .union([z.literal("3.1.1"), z.literal(5), z.literal("5")])
    .prefault(5)
    .transform((version) => (version === "3.1.1" ? 4 : 5) as 4 | 5)
    .meta({ description: 'The MQTT version: 5 or "3.1.1".' }),
  clientId: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe(
      "Must be ours alone at that broker, and stay the same: its session keeps commands while we are away. Default: holdfast-<gateway>-<upstream>. Results are published as <clientId>-results.",
    ),
  username: z.string().min(1).optional().describe("The user at the broker."),
  password: secret().optional().describe("The user's password."),
  tls: tlsSchema.optional().describe("For mqtts:// and wss://."),
  keepAlive: duration({ min: 1000, max: 65_535_000 })
    .prefault("30s")
    .describe("Ping the broker after so long without traffic; no answer ends the connection."),
  connectTimeout: duration({ min: 1, max: 600_000 })
    .prefault("10s")
    .describe("How long connecting may take, up to the broker's CONNACK."),
  topic: topicFilter.describe("Commands are taken from here: a topic, or a filter."),
  allow: z
    .array(z.strictObject({ devices: patterns("devices"), signals: patterns("signals") }))
    .min(1)
    .describe("What may be commanded from here. Nothing else may."),
  replyTopic: topicName
    .optional()
    .describe("Results go here where a command names no topic for its own. Without it they then go nowhere."),
  replyTopics: z
    .array(topicFilter)
    .default(["#"])
    .describe("The topics a command may name for its result. A command that names another is refused."),
});
export type UpstreamConfig = z.output<typeof upstreamSchema>;

export const commandsSchema = z.strictObject({
  ttl: duration(TTL)
    .prefault("1m")
    .describe("A command that could not be sent within this time expires, where it does not say itself."),
  ttlMax: duration(TTL).prefault("1h").describe("The longest a command may ask for."),
  answerWithin: duration(ANSWER)
    .prefault("10s")
    .describe("How long a device has to answer, from the sending on. After that it is unknown."),
  onUnknown: onUnknown
    .optional()
    .describe(
      "What is done where an answer was lost: `probe` looks whether it was done, and sends it again only if it was not; `hold` leaves it to a person; `retry` sends it again, which is allowed for signals that are declared idempotent alone. Default: probe where that can be seen, else hold.",
    ),
  newestWins: z
    .boolean()
    .default(false)
    .describe("A queued command is given up for a newer one to the same device and signal: for setpoints."),
  order: z
    .enum(["device", "signal"])
    .default("device")
    .describe("One command at a time for each device, or for each signal of it."),
  queuedMax: z
    .int()
    .min(1)
    .max(100_000)
    .default(100)
    .describe("Commands to one device that are not finished; further ones are refused."),
  classes: z
    .record(z.string().min(1), classSchema)
    .default({})
    .describe("Commands for which other rules hold. The first class that fits a command counts."),
  upstreams: z
    .record(
      z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "expected a name of letters, digits, . _ or -"),
      upstreamSchema,
    )
    .default({})
    .describe("Brokers from which commands are taken, each under a name of its own."),
});
export type CommandsConfig = z.output<typeof commandsSchema>;

/** A name that stands for nothing: where it stands, and what there is. */
interface NobodysName {
  readonly path: readonly (string | number)[];
  readonly name: string;
  readonly what: string;
  readonly known: readonly string[];
}

/**
 * Names and patterns of classes and upstreams that none fits: a slip, after which other rules hold than whoever wrote
 * them thinks. `can`: the signals that each device may be told.
 */
export function namesOfNobody(
  { classes, upstreams }: CommandsConfig,
  can: ReadonlyMap<string, readonly string[]>,
): NobodysName[] {
  const allowed = Object.entries(upstreams).flatMap(([upstream, { allow }]) =>
    allow.map((entry, index) => ({ path: ["upstreams", upstream, "allow", index], ...entry })),
  );
  const ruled = Object.entries(classes).map(([name, entry]) => ({ path: ["classes", name], ...entry }));
  return [...ruled, ...allowed].flatMap(({ path, devices, signals }) => {
    const told = [...can].filter(([, each]) => each.length > 0);
    const found = told.filter(([device]) => fits(devices, device)).flatMap(([, each]) => each);
    const nobody = (key: string, names: readonly string[], what: string, known: readonly string[]) =>
      names.flatMap((name, index): NobodysName[] => {
        if (name === "*" || known.some((each) => fits([name], each))) return [];
        return [{ path: ["commands", ...path, key, index], name, what, known }];
      });
    return [
      ...nobody(
        "devices",
        devices,
        "device that takes commands",
        told.map(([device]) => device),
      ),
      // Where none of the devices fits, that says it all.
      ...(found.length === 0
        ? []
        : nobody("signals", signals, "signal of theirs that can be commanded", found)),
    ];
  });
}

/** As a template, with the names of things in the places of their marks. */
const topicOf = (marks: readonly string[], check: (text: string) => string | null) =>
  z.string().superRefine((text, context) => {
    const unknown = [...text.matchAll(/\{([^{}]*)\}/g)].find(([, name]) => !marks.includes(name!));
    const known = marks.map((mark) => `{${mark}}`).join(", ");
    const problem = unknown
      ? `${unknown[0]} is not known here; known: ${known}`
      : check(text.replaceAll(/\{[^{}]*\}/g, "x"));
    if (problem) context.addIssue({ code: "custom", message: problem, input: text });
  });

const mqttSignalSchema = z
  .strictObject({
    type: z
      .enum(["bool", "int", "float", "text", "none"])
      .describe("What may be sent: true or false, a whole number, a number, text, or no value at all."),
    unit: z.string().min(1).max(32).optional().describe("For people."),
    min: z.number().optional().describe("The least number that may be sent."),
    max: z.number().optional().describe("The greatest number that may be sent."),
    idempotent: z
      .boolean()
      .default(false)
      .describe("Doing it twice is the same as doing it once: a setpoint is, a step is not."),
  })
  .refine(({ min, max }) => min === undefined || max === undefined || min <= max, {
    message: "min must not exceed max",
    path: ["min"],
  });

export const mqttDeviceSchema = z.strictObject({
  type: z.literal("mqtt"),
  commands: z
    .strictObject({
      topic: topicOf(["device", "signal"], topicNameProblem).describe(
        "Commands are published here, to this device alone; `{device}` and `{signal}` are filled in.",
      ),
      replyTopic: topicOf(["device"], topicFilterProblem).describe(
        "The device publishes its replies here: a topic or a filter; `{device}` is filled in.",
      ),
      whenAway: z
        .enum(["wait", "queue"])
        .default("wait")
        .describe(
          "While it is not connected: wait in the gateway, until the command expires; or hand it to the device's persistent session, which may deliver it much later.",
        ),
      signals: z
        .record(
          z.string().regex(/^[^/+#{}\p{Cc}\ufffd]{1,64}$/u, "expected one level of a topic: no / + # { }"),
          mqttSignalSchema,
        )
        .describe("What it can be told, each under a name of its own."),
    })
    .describe("How it is commanded. docs/commands.md shows what it is sent, and what it is to reply."),
});
export type MqttDeviceConfig = z.output<typeof mqttDeviceSchema>;
