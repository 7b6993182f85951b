/**
 * Report by exception: whether a reading is worth a message. Pure; one memory for each signal.
 *
 * Without a rule every good reading is reported. With one, a reading is reported when it differs from the one
 * reported last by more than the deadband (any difference, where there is none), and once in `heartbeat`, so
 * that silence can be told from a standstill. A change of quality, or of its reason, is always reported; a
 * reading that is not good and stays so is reported again at the heartbeat alone.
 */
import { z } from "zod";
import { duration } from "../core/units.ts";
import type { Reading, Value } from "./readings.ts";

export const reportSchema = z
  .strictObject({
    deadband: z
      .number()
      .min(0)
      .optional()
      .describe("Numbers: a change is reported when it is larger than this, in the signal's unit."),
    deadbandPercent: z
      .number()
      .min(0)
      .max(100)
      .optional()
      .describe("Numbers: a change is reported when it is larger than this part of the value reported last."),
    heartbeat: duration({ min: 100 }).optional().describe("Reported at least once in this, changed or not."),
  })
  .refine(({ deadband, deadbandPercent }) => deadband === undefined || deadbandPercent === undefined, {
    message: "deadband and deadbandPercent exclude each other",
  });

export type ReportRule = z.output<typeof reportSchema>;

interface Reported {
  readonly reading: Reading;
  readonly atMonoMs: number;
}

export class Reporter {
  readonly #last = new Map<string, Reported>();

  /** True where the reading is to go out; it then counts as reported. */
  take(reading: Reading, rule: ReportRule | undefined, nowMonoMs: number): boolean {
    const last = this.#last.get(reading.signal);
    const due = last === undefined || isDue(last, reading, rule, nowMonoMs);
    if (due) this.#last.set(reading.signal, { reading, atMonoMs: nowMonoMs });
    return due;
  }

  /** Whether it was last reported with another quality, or for another reason. */
  isOtherQuality({ signal, quality, reason }: Reading): boolean {
    const last = this.#last.get(signal)?.reading;
    return last !== undefined && (last.quality !== quality || last.reason !== reason);
  }

  /** What was reported may not have arrived: everything is worth a message again. */
  forget(): void {
    this.#last.clear();
  }
}

function isDue(last: Reported, reading: Reading, rule: ReportRule | undefined, nowMonoMs: number): boolean {
  const { quality, reason } = last.reading;
  if (quality !== reading.quality || reason !== reading.reason) return true;
  if (rule?.heartbeat !== undefined && nowMonoMs - last.atMonoMs >= rule.heartbeat) return true;
  if (reading.quality !== "good") return false;
  return rule === undefined || differs(last.reading.value, reading.value, rule);
}

function differs(before: Value, now: Value, { deadband, deadbandPercent }: ReportRule): boolean {
  if (typeof before === "number" && typeof now === "number") {
    const widthMax = deadband ?? (Math.abs(before) * (deadbandPercent ?? 0)) / 100;
    return Math.abs(now - before) > widthMax;
  }
  return JSON.stringify(before) !== JSON.stringify(now);
}
