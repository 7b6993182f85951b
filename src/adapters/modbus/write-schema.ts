/**
 * What may be written to a register, and within which limits. Writing is off for each register that has none of
 * this: nothing that Holdfast sends to it can change it.
 */
import { z } from "zod";
import { WRITE_MEANS, writeKeys } from "../write-schema.ts";

export const writeSchema = z
  .strictObject({
    ...writeKeys({
      momentary: "a coil",
      rounding:
        " A value between two steps of the register is rounded where this allows it, and else refused.",
    }),
    alone: z
      .boolean()
      .default(false)
      .describe(
        "`bool` in a register: nobody else changes the register's other bits. It is then read, changed and written as a whole, for machines that cannot write single bits of a register (function 22).",
      ),
  })
  .describe(WRITE_MEANS);

export type WriteConfig = z.output<typeof writeSchema>;
