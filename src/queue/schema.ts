/** Options of the store. */
import { z } from "zod";
import { duration, size } from "../core/units.ts";

export const queueSchema = z
  .strictObject({
    bytesMax: size({ min: 4 * 2 ** 20 })
      .prefault("4GiB")
      .describe(
        "The store takes no more messages above this size; senders then wait for their acknowledgement.",
      ),
    reserve: size({ min: 2 ** 20 })
      .prefault("64MiB")
      .describe("Part of bytesMax kept for outcomes, so that a full store can still empty itself."),
    retention: z
      .strictObject({
        age: duration({ min: 0 })
          .prefault("7d")
          .describe("Finished messages are kept this long for their history."),
        count: z
          .int()
          .min(0)
          .default(1_000_000)
          .describe("At most about this many messages are kept; the oldest finished ones go first."),
        every: duration({ min: 100 }).prefault("30s").describe("How often old messages are looked for."),
      })
      .prefault({})
      .describe(
        "Finished messages (delivered, expired, evicted, discarded) are removed later; dead ones stay.",
      ),
    trail: z
      .strictObject({
        age: duration({ min: 86_400_000 })
          .prefault("400d")
          .describe("Entries of the audit trail are kept this long."),
        count: z
          .int()
          .min(1000)
          .default(500_000)
          .describe("At most about this many entries; the oldest go first. About 300 bytes each."),
      })
      .prefault({})
      .describe("The audit trail of commands, which outlives the messages. Nothing else can shorten it."),
    walBytesMax: size({ min: 2 ** 20 })
      .prefault("16MiB")
      .describe("The write-ahead log is folded into the store when it has grown to this."),
    onDamage: z
      .enum(["salvage", "refuse"])
      .default("salvage")
      .describe(
        "What a start does with a damaged store: keep its files in a folder of their own, and go on with what can be read of it; or refuse, for a person to decide.",
      ),
    cacheBytes: size({ min: 2 ** 20 })
      .prefault("16MiB")
      .describe("Memory for the store's pages."),
  })
  .refine((queue) => queue.reserve * 2 <= queue.bytesMax, {
    message: "reserve must be at most half of bytesMax",
    path: ["reserve"],
  });

export type QueueConfig = z.output<typeof queueSchema>;
