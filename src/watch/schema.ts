/** Options of what the gateway says of itself, and of whom it tells when something is wrong. */
import { z } from "zod";
import { authSchema, headersSchema, signSchema, urlProblem } from "../core/http-options.ts";
import { tlsSchema } from "../core/tls.ts";
import { topicNameProblem } from "../core/topic.ts";
import { duration, size } from "../core/units.ts";

export const healthSchema = z.strictObject({
  interval: duration({ min: 500, max: 3_600_000 })
    .prefault("5s")
    .describe("The health topic is published this often, and whenever something changes."),
  provenWithin: duration({ min: 1000 })
    .prefault("60s")
    .describe("A target is healthy where it took a message, or answered a probe, within this time."),
  stalledAfter: duration({ min: 1000 })
    .prefault("60s")
    .describe(
      "A flow is stalled when its oldest message has waited this long and its target took nothing meanwhile.",
    ),
  auditEvery: duration({ min: 1000 })
    .prefault("1m")
    .describe(
      "How often every message in the store is counted and held against the figures; less often where counting takes long.",
    ),
  diskFreeMin: size()
    .prefault("256MiB")
    .describe("Less free space than this on the disk of the data folder is reported."),
  deviceSilentAfter: duration({ min: 1000 })
    .prefault("30s")
    .describe(
      "A device of `devices` is reported when it has not answered, or has refused something each time, for this long; the report is over when it has answered well for as long.",
    ),
  exportHeldAfter: duration({ min: 1000 })
    .prefault("24h")
    .describe(
      "An export (`holdfast export`) is reported when what it holds has been held for this long, and nobody has said what became of it.",
    ),
  topics: z
    .boolean()
    .default(true)
    .describe("Publish status and health as retained messages under holdfast/<gateway>/ on our own broker."),
  deviceTopicsMax: z
    .int()
    .min(0)
    .max(100_000)
    .default(500)
    .describe(
      "At most this many devices get a health topic of their own, those that are online first; 0 for none.",
    ),
  deviceInterval: duration({ min: 1000 })
    .prefault("30s")
    .describe("A device's health topic is published at most this often, except when it comes or goes."),
});

export type HealthConfig = z.output<typeof healthSchema>;

/** Options that every rule has, with its own defaults. */
const ruleOptions = (what: string, usual: { for: string; clearAfter: string }) => ({
  enabled: z.boolean().default(true).describe(`Whether this rule is looked at: ${what}`),
  for: duration().prefault(usual.for).describe("It must be so for this long before it is told."),
  clearAfter: duration()
    .prefault(usual.clearAfter)
    .describe(
      "It must be over for this long before it is told as over; what comes again within it is the same alert.",
    ),
  remindEvery: duration().prefault("12h").describe("Tell it again this often while it lasts; 0s for never."),
  only: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe("Only of these flows, targets or devices; default: of all."),
  except: z.array(z.string().min(1)).default([]).describe("Not of these."),
  channels: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe("Names under `notify.channels`; default: all of them."),
});

/** A rule about problems that health lists anyway (problems.ts). */
const problemRule = (what: string, usual: { for: string; clearAfter: string }) =>
  z.strictObject(ruleOptions(what, usual)).prefault({}).describe(what);

const rulesSchema = z.strictObject({
  backlog: z
    .strictObject({
      ...ruleOptions("a flow's oldest message is old.", { for: "30s", clearAfter: "1m" }),
      above: duration({ min: 1000 })
        .prefault("15m")
        .describe("The age of a flow's oldest message above which it is told."),
      clearAt: duration().prefault("5m").describe("The age at which it is over."),
    })
    .refine(({ above, clearAt }) => clearAt <= above, {
      message: "clearAt must not exceed above",
      path: ["clearAt"],
    })
    .prefault({})
    .describe("A flow's oldest message has waited for long."),
  deadLetters: z
    .strictObject({
      ...ruleOptions("a flow has dead letters.", { for: "0s", clearAfter: "1m" }),
      above: z.int().min(0).default(0).describe("More dead letters of a flow than this are told."),
      clearAt: z.int().min(0).default(0).describe("With so many or fewer it is over."),
    })
    .refine(({ above, clearAt }) => clearAt <= above, {
      message: "clearAt must not exceed above",
      path: ["clearAt"],
    })
    .prefault({})
    .describe("A flow has dead letters, for a person to decide on."),
  targets: problemRule("A target is away, or takes nothing.", { for: "5m", clearAfter: "2m" }),
  flows: problemRule("A flow is stalled or held, has lost answers, or is not in the config any more.", {
    for: "5m",
    clearAfter: "2m",
  }),
  exports: problemRule("An export has held its messages for long, and nobody has ended it.", {
    for: "0s",
    clearAfter: "1m",
  }),
  accounting: problemRule("Messages are not accounted for.", { for: "0s", clearAfter: "5m" }),
  store: problemRule("The store is full, has failed, was damaged, or cannot be read.", {
    for: "0s",
    clearAfter: "5m",
  }),
  disk: z
    .strictObject({
      ...ruleOptions("the disk of the data folder is nearly full.", { for: "30s", clearAfter: "1m" }),
      below: size().prefault("512MiB").describe("Less free space than this is told."),
      clearAt: size().prefault("768MiB").describe("With so much or more it is over."),
    })
    .refine(({ below, clearAt }) => clearAt >= below, {
      message: "clearAt must not be less than below",
      path: ["clearAt"],
    })
    .prefault({})
    .describe("The disk of the data folder is nearly full."),
  clock: problemRule("The wall clock is not set.", { for: "10m", clearAfter: "1m" }),
  devices: problemRule("A machine of `devices` does not answer.", { for: "2m", clearAfter: "1m" }),
  channels: problemRule("Another channel does not take notifications.", { for: "10m", clearAfter: "1m" }),
});

const channelOptions = {
  severity: z
    .enum(["attention", "alarm"])
    .default("attention")
    .describe("`alarm`: only what puts messages in danger. `attention`: also what somebody should look at."),
  pause: duration({ max: 86_400_000 })
    .prefault("30s")
    .describe("From one message to the next at least this long; what comes meanwhile goes together in one."),
  giveUpAfter: duration({ min: 1000 })
    .prefault("24h")
    .describe("What could not be told within this time is dropped, and counted."),
};

const webhookSchema = z.strictObject({
  type: z.literal("webhook"),
  url: z
    .string()
    .superRefine((text, context) => {
      const problem = text.includes("{") ? "a webhook's URL has no placeholders" : urlProblem(text);
      if (problem) context.addIssue({ code: "custom", message: problem, input: text });
    })
    .describe("Where notifications are sent, with POST."),
  body: z
    .enum(["json", "text"])
    .default("json")
    .describe("`json`: everything, with a `text` for people. `text`: that text alone."),
  headers: headersSchema.describe("Headers to send with each, such as a title or a priority."),
  auth: authSchema.optional().describe("How to prove who we are."),
  sign: signSchema,
  timeout: duration({ min: 1, max: 600_000 })
    .prefault("15s")
    .describe("How long a connection, and then an answer, may take."),
  tls: tlsSchema.optional().describe("For https."),
  ...channelOptions,
});

const mqttChannelSchema = z.strictObject({
  type: z.literal("mqtt"),
  topic: z
    .string()
    .superRefine((text, context) => {
      const plain = text.replaceAll("{gateway}", "gateway");
      const problem = /[{}]/.test(plain) ? "only {gateway} may stand in it" : topicNameProblem(plain);
      if (problem) context.addIssue({ code: "custom", message: problem, input: text });
    })
    .prefault("holdfast/{gateway}/notifications")
    .describe("The topic, QoS 1, not retained; `{gateway}` is the gateway's name."),
  target: z
    .string()
    .min(1)
    .optional()
    .describe("Name of a target of type mqtt, to whose broker it goes; default: our own broker."),
  timeout: duration({ min: 1, max: 600_000 }).prefault("15s").describe("How long a broker may take."),
  ...channelOptions,
});

export const notifySchema = z.strictObject({
  channels: z
    .record(
      z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "expected letters, digits, . _ or -, at most 64"),
      z.discriminatedUnion("type", [webhookSchema, mqttChannelSchema]),
    )
    .default({})
    .describe("Where notifications go, each way under a name of its own. Without one nobody is told."),
  rules: rulesSchema.prefault({}).describe("What is told. Each has defaults that suit most."),
});

export type NotifyConfig = z.output<typeof notifySchema>;
export type ChannelConfig = NotifyConfig["channels"][string];
export type WebhookChannelConfig = z.output<typeof webhookSchema>;
export type MqttChannelConfig = z.output<typeof mqttChannelSchema>;
export type RuleName = keyof NotifyConfig["rules"];

/** What a rule is about, in a sentence. */
export const ruleWords = (rule: RuleName): string => rulesSchema.shape[rule].description!;
