/**
 * What may be written to a register, and within which limits. Writing is off for each register that has none of
 * this: nothing that Holdfast sends to it can change it.
 */
import { z } from "zod";
import { duration } from "../../core/units.ts";

export const writeSchema = z
  .strictObject({
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
        "Writing it twice is the same as writing it once: true for a setpoint or a switch, false for a step, a counter, or a coil that the machine resets by itself. Only what is idempotent may be written again after an answer was lost.",
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
        "Numbers: how far what is read back may be from what was to be written, in the signal's unit. A value between two steps of the register is rounded where this allows it, and else refused.",
      ),
    readAfter: duration({ max: 60_000 })
      .prefault("100ms")
      .describe("How long after a write it is read back: longer than a cycle of the machine's program."),
    readWithin: duration({ max: 60_000 })
      .prefault("1s")
      .describe("It is read again until it holds what was written, for so long after the write."),
    alone: z
      .boolean()
      .default(false)
      .describe(
        "`bool` in a register: nobody else changes the register's other bits. It is then read, changed and written as a whole, for machines that cannot write single bits of a register (function 22).",
      ),
  })
  .describe("Lets it be written by commands. Left out: it is only read.");

export type WriteConfig = z.output<typeof writeSchema>;
