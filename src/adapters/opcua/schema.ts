/**
 * An OPC UA server in the config: its endpoint, how the two trust each other, who logs in, and its nodes.
 *
 * The safe way is the default: signed and encrypted, with a server that a person has said is the right one.
 * What no single key can know is looked for in node-checks.ts, once every key is right by itself.
 */
import { z } from "zod";
import { duration, filePath, secret } from "../../core/units.ts";
import { deviceKeys } from "../device-keys.ts";
import { reportSchema } from "../report.ts";
import { topicLevel } from "../topic-template.ts";
import { missingPackage } from "./library-folder.ts";
import { nodeProblems } from "./node-checks.ts";
import { writeSchema } from "./write-schema.ts";

export const MODES = ["None", "Sign", "SignAndEncrypt"] as const;
export const POLICIES = ["None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"] as const;

/** [OPC 10000-6, 5.3.1.10]: `ns=2;s=Tank.Level`, `i=2258`, `ns=3;g=…`, `ns=1;b=…`. */
const NODE_ID =
  /^(ns=\d{1,5};)?(i=\d{1,10}|s=.{1,4096}|g=[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}|b=[A-Za-z\d+/]+={0,2})$/i;

const pem = "PEM text, or the path of a PEM file";
const keyPem = () => secret().meta({ filePath: true });
const fingerprint = z
  .string()
  .regex(/^([\da-f]{2}[: ]?){31}[\da-f]{2}$/i, "expected a SHA-256 fingerprint: 64 hexadecimal digits");

const securitySchema = z.strictObject({
  mode: z
    .enum(MODES)
    .default("SignAndEncrypt")
    .describe("`SignAndEncrypt`, `Sign`, or `None`, where anybody in the network can read and change."),
  policy: z
    .enum(POLICIES)
    .optional()
    .describe("The cipher suite. Left out: `Basic256Sha256`, or `None` where the mode is `None`."),
  trusted: z
    .array(fingerprint)
    .default([])
    .describe(
      "SHA-256 fingerprints of server certificates that a person has compared. Beside these, every certificate in `<data>/opcua/trusted` is trusted.",
    ),
  certificate: filePath()
    .optional()
    .describe(`Our own certificate: ${pem}. Left out: made at the first start, in \`<data>/opcua/own\`.`),
  key: keyPem().optional().describe(`The private key of our certificate: ${pem}.`),
});

const loginSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("anonymous") }),
  z.strictObject({
    type: z.literal("password"),
    user: z.string().min(1).describe("The user's name at the server."),
    password: secret().describe("The user's password."),
  }),
  z.strictObject({
    type: z.literal("certificate"),
    certificate: filePath().describe(`The user's certificate: ${pem}.`),
    key: keyPem().describe(`The private key of the user's certificate: ${pem}.`),
  }),
]);

const signalName = topicLevel.describe("Name of a signal.");
const sampling = duration({ max: 86_400_000 });
const queueSize = z.int().min(1).max(10_000);
const discard = z.enum(["oldest", "newest"]);

const nodeSchema = z.strictObject({
  node: z
    .string()
    .regex(NODE_ID, "expected a node id such as ns=2;s=Tank.Level or ns=3;i=1001")
    .describe("Its node id: `ns=2;s=Tank.Level`, `ns=3;i=1001`."),
  unit: z.string().min(1).max(32).optional().describe("Unit of the value, as `°C` or `bar`."),
  sampling: sampling.optional().describe("How often the server looks at it, instead of the group's."),
  queueSize: queueSize.optional().describe("Values the server keeps of it, instead of the group's."),
  discard: discard.optional().describe("Which it throws away when they are more, instead of the group's."),
  deadband: z
    .number()
    .min(0)
    .optional()
    .describe("Numbers: the server reports a change that is larger than this. Not every server can."),
  deadbandPercent: z
    .number()
    .min(0)
    .max(100)
    .optional()
    .describe(
      "Numbers: the same, as a part of the node's range (its EURange). Few servers can, for few nodes.",
    ),
  report: reportSchema
    .optional()
    .describe("When it is reported, judged by the gateway, instead of the group's `report`."),
  write: writeSchema.optional(),
});

const groupSchema = z.strictObject({
  every: duration({ min: 10, max: 3_600_000 })
    .prefault("1s")
    .describe("How often the server sends what has changed (the publishing interval)."),
  sampling: sampling
    .optional()
    .describe("How often the server looks at each node. Left out: as often as it sends."),
  queueSize: queueSize
    .default(10)
    .describe(
      "Values the server keeps of each node between two sendings, and while the connection is broken.",
    ),
  discard: discard.default("oldest").describe("Which of them it throws away when they are more."),
  report: reportSchema
    .optional()
    .describe("Report by exception, judged by the gateway. Left out: everything that the server sends."),
  nodes: z
    .record(signalName, nodeSchema)
    .refine((nodes) => Object.keys(nodes).length > 0, "expected at least one node")
    .describe("What is read, each under the name of its signal."),
});

export const opcuaDeviceSchema = z
  .strictObject({
    type: z.literal("opcua"),
    endpoint: z
      .string()
      .regex(
        /^opc\.tcp:\/\/[^\s/:@]+(:\d{1,5})?(\/\S*)?$|^opc\.tcp:\/\/\[[\da-f:.]+\](:\d{1,5})?(\/\S*)?$/i,
        {
          message: "expected an address such as opc.tcp://10.0.0.7:4840",
        },
      )
      .describe("The server's address: `opc.tcp://10.0.0.7:4840`."),
    security: securitySchema.prefault({}).describe("How the two trust each other."),
    login: loginSchema
      .prefault({ type: "anonymous" })
      .describe("Who logs in: nobody (`anonymous`), a user with a `password`, or one with a `certificate`."),
    timeout: duration({ min: 100, max: 60_000 }).prefault("5s").describe("How long one answer may take."),
    backoffMax: duration({ min: 100 })
      .prefault("30s")
      .describe("A server that is away is tried less and less often, down to once in this."),
    keepAlive: duration({ min: 100, max: 3_600_000 })
      .prefault("5s")
      .describe(
        "The server says at least once in this that it is there. Silence for longer, and a timeout, is a broken connection.",
      ),
    lifetime: duration({ min: 1000, max: 86_400_000 })
      .prefault("10m")
      .describe(
        "How long the server keeps a subscription, and what it holds for it, while nobody asks. It may shorten it.",
      ),
    sessionTimeout: duration({ min: 10_000, max: 86_400_000 })
      .prefault("1m")
      .describe(
        "How long the server keeps a session that nobody uses. Servers have room for few: a gateway that was killed leaves one behind for so long.",
      ),
    ...deviceKeys,
    topic: deviceKeys.topic.describe(
      "Topic of its messages: `{site}`, `{area}`, `{line}`, `{device}`, `{group}`, `{signal}`. In a message of a whole group `{signal}` is the group's name.",
    ),
    message: deviceKeys.message.describe(
      "One message for all that the server sends of a group at once, or one for each value.",
    ),
    groups: z
      .record(topicLevel.describe("Name of a group."), groupSchema)
      .refine((groups) => Object.keys(groups).length > 0, "expected at least one group")
      .describe("Groups of nodes, each a subscription with an interval of its own."),
  })
  .superRefine((device, context) => {
    // A key that is wrong by itself has been told, and would be told twice.
    if (context.issues.length > 0) return;
    const missing = missingPackage();
    if (missing) context.addIssue({ code: "custom", path: ["type"], message: missing });
    for (const { path, message } of nodeProblems(device)) {
      context.addIssue({ code: "custom", path: [...path], message });
    }
  });

export type OpcuaDeviceConfig = z.output<typeof opcuaDeviceSchema>;
export type LoginConfig = z.output<typeof loginSchema>;
export type NodeConfig = z.output<typeof nodeSchema>;
export type GroupConfig = z.output<typeof groupSchema>;
export type Mode = (typeof MODES)[number];
export type Policy = (typeof POLICIES)[number];

export function policyOf({ mode, policy }: Pick<OpcuaDeviceConfig["security"], "mode" | "policy">): Policy {
  return policy ?? (mode === "None" ? "None" : "Basic256Sha256");
}
