/** What every protocol asks of a signal that commands may write: within which limits, how often, and looked at how. */
import { z } from "zod";
import { duration } from "../core/units.ts";

/** `momentary`: what the machine resets by itself, as `a coil`. `rounding`: said behind what `tolerance` is. */
export function writeKeys({ momentary, rounding = "" }: { momentary: string; rounding?: string }) {
  return {
    min: z.number().optional().describe("Numbers: the least that may be written, in the signal's unit."),
    max: z.number().optional().describe("Numbers: the most that may be written, in the signal's unit."),
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
        `Writing it twice is the same as writing it once: true for a setpoint or a switch, false for a step, a counter, or ${momentary} that the machine resets by itself. Only what is idempotent may be written again after an answer was lost.`,
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
      .describe(
        `Numbers: how far what is read back may be from what was to be written, in the signal's unit.${rounding}`,
      ),
    readAfter: duration({ max: 60_000 })
      .prefault("100ms")
      .describe("How long after a write it is read back: longer than a cycle of the machine's program."),
    readWithin: duration({ max: 60_000 })
      .prefault("1s")
      .describe("It is read again until it holds what was written, for so long after the write."),
  };
}

export const WRITE_MEANS = "Lets it be written by commands. Left out: it is only read.";
