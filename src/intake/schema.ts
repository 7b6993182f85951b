/** Options of intake. */
import { z } from "zod";
import { topicFilterProblem } from "../core/topic.ts";
import { duration, size } from "../core/units.ts";

const topicFilter = z.string().superRefine((filter, context) => {
  const problem = topicFilterProblem(filter);
  if (problem) context.addIssue({ code: "custom", message: `not a topic filter: ${problem}` });
});

const pointer = z.string().regex(/^\/.*$/, "expected a JSON pointer such as /id");

const identitySchema = z.strictObject({
  topics: z
    .union([topicFilter, z.array(topicFilter).min(1)])
    .describe(
      "Topic filter, or a list of them: the messages this is about. The first entry that fits counts.",
    ),
  id: z
    .union([
      z.strictObject({ pointer: pointer.describe("JSON pointer into the payload.") }),
      z.strictObject({ topicLevel: z.int().min(0).max(100).describe("Level of the topic, counted from 0.") }),
      z.strictObject({ header: z.string().min(1).describe("Name of a header.") }),
    ])
    .optional()
    .describe(
      "Where the producer's own id stands: text, or a number below 2^53. It makes a repeated message recognisable at any QoS.",
    ),
  scope: z
    .enum(["device", "global"])
    .default("device")
    .describe(
      "Whether ids are unique within a device (message id becomes `<device>:<id>`, with : and % in the device's name written as %3A and %25), or among all devices.",
    ),
  producedAt: z
    .strictObject({
      pointer: pointer.describe("JSON pointer into the payload."),
      unit: z.enum(["iso", "s", "ms"]).default("iso").describe("ISO 8601 text, or seconds or ms since 1970."),
    })
    .optional()
    .describe("Where the device's own time stands. Needed for flows with `lateAfter`."),
  traceparent: z
    .strictObject({ pointer: pointer.describe("JSON pointer into the payload.") })
    .optional()
    .describe(
      "Where the producer's W3C traceparent stands, for producers without headers: MQTT 3.1.1 has none. In a CloudEvent: /traceparent.",
    ),
  window: duration({ min: 1000 })
    .optional()
    .describe("How long an id is remembered, instead of duplicateWindow."),
});

export const intakeSchema = z.strictObject({
  unrouted: z
    .enum(["keep", "drop", "refuse"])
    .default("keep")
    .describe("A message that no flow takes is kept and shown, counted and dropped, or refused."),
  payloadBytesMax: size({ min: 1, max: 2 ** 28 - 1 })
    .prefault("1MiB")
    .describe("A larger payload is refused."),
  duplicateWindow: duration({ min: 1000 })
    .prefault("24h")
    .describe("How long a message can be recognised when it is sent again."),
  identities: z
    .array(identitySchema)
    .default([])
    .describe("Where messages carry their producer's id, time and trace."),
});

export type IntakeConfig = z.output<typeof intakeSchema>;
export type IdentityRule = IntakeConfig["identities"][number];
