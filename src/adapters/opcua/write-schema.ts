/**
 * What may be written to a node, and within which limits. Writing is off for each node that has none of this:
 * nothing that Holdfast sends to it can change it.
 */
import { z } from "zod";
import { WRITE_MEANS, writeKeys } from "../write-schema.ts";

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
    ...writeKeys({ momentary: "a bit" }),
  })
  .describe(WRITE_MEANS);

export type WriteConfig = z.output<typeof writeSchema>;
