/** Options of the relay. */
import { z } from "zod";
import { duration } from "../core/units.ts";

export const relaySchema = z
  .strictObject({
    probeDelayMin: duration({ min: 10 })
      .prefault("500ms")
      .describe("Longest wait before a target that is away is asked again; doubles with each failure."),
    probeDelayMax: duration({ min: 10 })
      .prefault("30s")
      .describe("Longest wait between two probes of a target that is away."),
    probeIdleEvery: duration({ min: 100 })
      .prefault("10s")
      .describe(
        "A target that was given nothing for this long is probed, so that its health rests on evidence.",
      ),
    drainTimeout: duration({ min: 0 })
      .prefault("5s")
      .describe("How long a stop waits for answers before what is in the air becomes unknown."),
    jobs: z
      .strictObject({
        rate: z
          .number()
          .min(0.1)
          .max(100_000)
          .default(100)
          .describe("Messages per second of a job (redrive, replay) that names no rate."),
        rateMax: z
          .number()
          .min(0.1)
          .max(100_000)
          .default(2000)
          .describe("A job that wants more than this is refused."),
        openMax: z
          .int()
          .min(1)
          .max(100)
          .default(10)
          .describe("Jobs that run or are paused at a time; more are refused."),
      })
      .prefault({})
      .refine((jobs) => jobs.rate <= jobs.rateMax, {
        message: "rate must not exceed rateMax",
        path: ["rate"],
      })
      .describe("Work on many messages, in steps: dead letters put back, delivered messages replayed."),
  })
  .refine((relay) => relay.probeDelayMin <= relay.probeDelayMax, {
    message: "probeDelayMin must not exceed probeDelayMax",
    path: ["probeDelayMin"],
  });

export type RelayConfig = z.output<typeof relaySchema>;
