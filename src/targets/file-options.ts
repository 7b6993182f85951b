/** The options of the `file` target. */
import { z } from "zod";
import { duration, size } from "../core/units.ts";

export const fileTargetSchema = z.strictObject({
  type: z.literal("file"),
  folder: z
    .string()
    .min(1)
    .prefault("outbox")
    .describe("Where the files go; a relative path starts at the data folder. No two targets may share one."),
  rotateBytes: size({ min: 4096 })
    .prefault("64MiB")
    .describe("Begin a new file when this one has grown to it."),
  rotateEvery: duration({ min: 1000 })
    .optional()
    .describe("Begin a new file, with the next message, when this one is so old. Default: by size only."),
  keepFiles: z.int().min(2).optional().describe("Delete the oldest files beyond so many. Default: keep all."),
  tailIds: z
    .int()
    .min(1)
    .max(10_000_000)
    .prefault(100_000)
    .describe(
      "How many of the last messages are remembered, so that one that comes again is not written again.",
    ),
  batchMax: z.int().min(1).max(100_000).prefault(1000).describe("The most messages in one write and fsync."),
  batchBytesMax: size({ min: 1, max: 256 * 2 ** 20 })
    .prefault("8MiB")
    .describe("About the most payload bytes in one write and fsync."),
});
export type FileTargetConfig = z.output<typeof fileTargetSchema>;
