/** The options of the `mqtt` target. */
import { z } from "zod";
import { mqttUrl } from "../core/mqtt-url.ts";
import { tlsSchema } from "../core/tls.ts";
import { topicNameProblem } from "../core/topic.ts";
import { duration, secret, size } from "../core/units.ts";
import { PAYLOAD_FORMS } from "./envelope.ts";
import { template } from "./template.ts";

const topicTemplate = (allowed?: readonly string[]) =>
  template(allowed).superRefine((text, context) => {
    const problem = topicNameProblem(text.replaceAll(/\{[^{}]*\}/g, "x"));
    if (problem)
      context.addIssue({ code: "custom", message: `no topic to publish to: ${problem}`, input: text });
  });

export const mqttTargetSchema = z.strictObject({
  type: z.literal("mqtt"),
  url: mqttUrl.describe("The broker: mqtt://, mqtts:// (TLS), ws:// or wss://, host and port."),
  protocol: z
    .union([z.literal("3.1.1"), z.literal(5), z.literal("5")])
    .prefault("3.1.1")
    .transform((version) => (version === "3.1.1" ? 4 : 5) as 4 | 5)
    .meta({ description: 'The MQTT version: "3.1.1" or 5.' }),
  qos: z
    .union([z.literal(1), z.literal(2)])
    .prefault(1)
    .describe(
      "1 or 2. At 2 the broker keeps one that is sent again after a broken connection to one. 0 has no answer, so nothing could be called delivered.",
    ),
  topic: topicTemplate()
    .prefault("{topic}")
    .describe("The topic upstream; `{topic}`, `{device}`, `{gateway}`, `{flow}` and `{id}` are filled in."),
  retain: z
    .enum(["keep", "always", "never"])
    .prefault("keep")
    .describe("The retain flag upstream: as the machine set it, always, or never."),
  payload: z
    .enum(PAYLOAD_FORMS)
    .prefault("raw")
    .describe("The payload as it is, our JSON envelope, or a CloudEvent. Under 3.1.1 raw carries no id."),
  idempotent: z
    .boolean()
    .prefault(false)
    .describe("Whoever reads upstream makes a message that comes twice under one id once in effect."),
  clientId: z
    .string()
    .min(1)
    .max(256)
    .optional()
    .describe("Must be ours alone at that broker. Default: holdfast-<gateway>-<target>."),
  username: z.string().min(1).optional().describe("The user at the broker."),
  password: secret().optional().describe("The user's password."),
  keepAlive: duration({ min: 1000, max: 65_535_000 })
    .prefault("30s")
    .describe("Ping the broker after so long without traffic; no answer ends the connection."),
  connectTimeout: duration({ min: 1, max: 600_000 })
    .prefault("10s")
    .describe("How long connecting may take, up to the broker's CONNACK."),
  ackTimeout: duration({ min: 1, max: 3_600_000 })
    .prefault("20s")
    .describe(
      "How long an acknowledgement may take; after it the connection is given up, and what was sent is unknown.",
    ),
  inFlightMax: z
    .int()
    .min(1)
    .max(20_000)
    .optional()
    .describe(
      "The most messages sent and not yet acknowledged; an MQTT 5 broker's own Receive Maximum may make it less. Default: 1024, but 20 for QoS 2 under 3.1.1: there a broker cannot tell its limit, and mosquitto, at 20, drops what comes beyond it.",
    ),
  inFlightPerLane: z
    .int()
    .min(1)
    .max(20_000)
    .prefault(20_000)
    .describe(
      "The same for each lane. 1 keeps the order also where an MQTT 5 broker refuses single messages for a while.",
    ),
  batchBytesMax: size({ min: 1, max: 256 * 2 ** 20 })
    .prefault("8MiB")
    .describe("About the most payload bytes taken up at a time."),
  sessionExpiry: duration({ min: 1000, max: 4_294_967_294_000 })
    .prefault("1h")
    .describe(
      "QoS 2 under MQTT 5: how long the broker keeps our half-done handshakes after a broken connection.",
    ),
  statusTopic: topicTemplate(["gateway"])
    .optional()
    .describe(
      "Publish retained `online` here while connected and `offline` otherwise (last will), such as holdfast/{gateway}/status.",
    ),
  healthTopic: topicTemplate(["gateway"])
    .optional()
    .describe(
      "Publish the gateway's health here, retained JSON, such as holdfast/{gateway}/health. See docs/health.md.",
    ),
  tls: tlsSchema.optional().describe("For mqtts:// and wss://."),
});
export type MqttTargetConfig = z.output<typeof mqttTargetSchema>;
