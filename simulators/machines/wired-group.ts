/** What a scenario says of a group of machines on wires, whatever they are. */
import { z } from "zod";
import { duration } from "../../src/core/units.ts";

export function wiredGroupKeys(name: string) {
  return {
    name: z
      .string()
      .regex(/^[A-Za-z0-9_-]{1,13}$/, "letters, digits, - and _ only, 13 at most")
      .default(name)
      .describe("They are called name-01, name-02, …; that is what the gateway calls them, too."),
    count: z.int().min(1).max(99).default(1),
    every: duration({ min: 10 }).prefault("200ms").describe("How often it is read, or speaks by itself."),
    message: z.enum(["poll", "signal"]).default("poll").describe("One message a poll, or one a signal."),
    device: z
      .record(z.string(), z.unknown())
      .default({})
      .describe("Laid over what the gateway's config says of each: `{ retries: 0 }`."),
  };
}

/** What the gateway's config says of each, whatever it is; the oracle reads `plant/#`. */
export const WIRED_DEVICE = { backoffMax: "1s", topic: "plant/{device}/{signal}" };
