/** Values that several resources have in common. */
import { z } from "zod";
import { UNKNOWN_POLICIES } from "../core/command-message.ts";
import { MESSAGE_ID_BYTES_MAX, NAME_BYTES_MAX } from "../core/limits.ts";
import { DELIVERY_STATES } from "../core/outcome.ts";
import { topicFilterProblem } from "../core/topic.ts";

/** Built-in flows bear the name of their device with something before it. */
export const flowName = z.string().min(1).max(80).describe("Name of a flow.");
export const messageId = z
  .string()
  .min(1)
  .max(MESSAGE_ID_BYTES_MAX)
  .describe("A message's id; or its number in the store, such as `17` or `#17`.");
export const deviceName = z.string().min(1).max(NAME_BYTES_MAX).describe("Name of a device.");
export const deliveryState = z.enum(DELIVERY_STATES).describe("State of a delivery.");
export const orderKey = z.string().max(65_535).describe("Order key of a lane: a device, a topic.");
export const topicFilter = z
  .string()
  .superRefine((filter, context) => {
    const problem = topicFilterProblem(filter);
    if (problem) context.addIssue({ code: "custom", message: `no topic filter: ${problem}` });
  })
  .describe("MQTT topic filter: `plant/+/count`, `plant/#`.");

/** `2026-06-01T12:00:00Z`, or epoch milliseconds. */
export const moment = z
  .string()
  .transform((text, context) => {
    const ms = /^\d{1,15}$/.test(text) ? Number(text) : Date.parse(text);
    if (Number.isNaN(ms)) {
      context.addIssue({
        code: "custom",
        message: "expected a time such as 2026-06-01T12:00:00Z, or epoch ms",
      });
      return z.NEVER;
    }
    return ms;
  })
  .describe("A time: `2026-06-01T12:00:00Z`, or epoch milliseconds.");

export const pageLimit = (max: number, usual: number) =>
  z.coerce.number().int().min(1).max(max).optional().describe(`At most so many on a page; default ${usual}.`);

/** Shapes of answers are functions (see operation.ts). */
export const epochMs = () => z.number().describe("Wall clock, epoch milliseconds.");
export const epochMsOrNull = () => epochMs().nullable();
export const count = () => z.int().min(0);

/** A signal that can be commanded. */
export const offeredSignal = () =>
  z.object({
    signal: z.string(),
    type: z.string(),
    unit: z.string().optional(),
    min: z.number().optional(),
    max: z.number().optional(),
    idempotent: z.boolean().describe("Doing it twice is the same as doing it once."),
    verifiable: z.boolean().describe("What was done can be seen afterwards."),
    class: z.string().nullable().describe("The command class whose rules hold for it; null for none."),
    ttlMs: z
      .number()
      .describe("It expires when it could not be sent within this time, unless it says itself."),
    onUnknown: z.enum(UNKNOWN_POLICIES).describe("What is done where its answer was lost."),
  });
