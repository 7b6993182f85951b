/**
 * What may be written to a node, and within which limits. Writing is off for each node that has none of this:
 * nothing that Holdfast sends to it can change it.
 */
import { z } from "zod";
import { duration } from "../../core/units.ts";

export const TYPES_WRITTEN = [
  "bool",
  "int8",
  "uint8",
  "int16",
  "uint16",
  "int32",
  "uint32",
  "int64",
  "uint64",
  "float32",
  "float64",
  "string",
] as const;
export type WrittenType = (typeof TYPES_WRITTEN)[number];

export const writeSchema = z
  .strictObject({
    type: z
      .enum(TYPES_WRITTEN)
      .describe("The node's data type, which servers are strict about: `holdfast device probe` shows it."),
    min: z.number().optional().describe("Numbers: the least that may be written."),
    max: z.number().optional().describe("Numbers: the most that may be written."),
    values: z
      .array(z.union([z.boolean(), z.number(), z.string()]))
      .min(1)
      .optional()
      .describe(
        "All that may be written, instead of `min` and `max`: `[0, 1, 4]`, or `[true]` for a button.",
      ),
    pauseMin: duration()
      .prefault("1s")
      .describe("Least time between two writes to it; one that comes sooner is refused."),
    idempotent: z
      .boolean()
      .default(false)
      .describe(
        "Writing it twice is the same as writing it once: true for a setpoint or a switch, false for a step, a counter, or a bit that the machine resets by itself. Only what is idempotent may be written again after an answer was lost.",
      ),
    verify: z
      .boolean()
      .default(true)
      .describe(
        "It is read back after each write. False for what cannot be read, or does not keep what is written.",
      ),
    tolerance: z
      .number()
      .min(0)
      .default(0)
      .describe("Numbers: how far what is read back may be from what was written."),
    readAfter: duration({ max: 60_000 })
      .prefault("100ms")
      .describe("How long after a write it is read back: longer than a cycle of the machine's program."),
    readWithin: duration({ max: 60_000 })
      .prefault("1s")
      .describe("It is read again until it holds what was written, for so long after the write."),
  })
  .describe("Lets it be written by commands. Left out: it is only read.");

export type WriteConfig = z.output<typeof writeSchema>;
