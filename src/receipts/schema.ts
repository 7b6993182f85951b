/** Options of receipts. */
import { z } from "zod";
import { duration } from "../core/units.ts";

export const receiptsSchema = z.strictObject({
  devices: z
    .array(z.string().min(1))
    .default([])
    .describe(
      "MQTT devices that are told what becomes of their messages, on holdfast/<gateway>/receipts/<device>; `*` for all. Default: none.",
    ),
  interval: duration({ min: 50, max: 60_000 })
    .prefault("500ms")
    .describe("What changed is looked for, and told, this often."),
  followedMax: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(10_000)
    .describe(
      "At most so many messages are followed at a time; beyond it the oldest is not followed any more.",
    ),
});

export type ReceiptsConfig = z.output<typeof receiptsSchema>;
