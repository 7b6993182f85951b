/** Options of what the gateway says of itself. */
import { z } from "zod";
import { duration, size } from "../core/units.ts";

export const healthSchema = z.strictObject({
  interval: duration({ min: 500, max: 3_600_000 })
    .prefault("5s")
    .describe("The health topic is published this often, and whenever something changes."),
  provenWithin: duration({ min: 1000 })
    .prefault("60s")
    .describe("A target is healthy where it took a message, or answered a probe, within this time."),
  stalledAfter: duration({ min: 1000 })
    .prefault("60s")
    .describe(
      "A flow is stalled when its oldest message has waited this long and its target took nothing meanwhile.",
    ),
  auditEvery: duration({ min: 1000 })
    .prefault("1m")
    .describe(
      "How often every message in the store is counted and held against the figures; less often where counting takes long.",
    ),
  diskFreeMin: size()
    .prefault("256MiB")
    .describe("Less free space than this on the disk of the data folder is reported."),
  deviceSilentAfter: duration({ min: 1000 })
    .prefault("30s")
    .describe(
      "A device of `devices` is reported when it has not answered for this long, and the report is over when it has answered for as long.",
    ),
  topics: z
    .boolean()
    .default(true)
    .describe("Publish status and health as retained messages under holdfast/<gateway>/ on our own broker."),
  deviceTopicsMax: z
    .int()
    .min(0)
    .max(100_000)
    .default(500)
    .describe(
      "At most this many devices get a health topic of their own, those that are online first; 0 for none.",
    ),
  deviceInterval: duration({ min: 1000 })
    .prefault("30s")
    .describe("A device's health topic is published at most this often, except when it comes or goes."),
});

export type HealthConfig = z.output<typeof healthSchema>;
