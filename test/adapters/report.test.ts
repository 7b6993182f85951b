import { describe, expect, it } from "vitest";
import type { Reading, Value } from "../../src/adapters/readings.ts";
import { Reporter, type ReportRule, reportSchema } from "../../src/adapters/report.ts";

const good = (value: Value): Reading => {
  return { signal: "x", value, unit: null, quality: "good", reason: null, producedAtMs: 0 };
};
const stale = (reason: string): Reading => ({ ...good(1), quality: "stale", reason });

/** Which of a row of readings, a second apart, are reported. */
function reported(readings: readonly (Reading | Value)[], rule?: ReportRule): number[] {
  const reporter = new Reporter();
  return readings.flatMap((each, at) => {
    const reading =
      each !== null && typeof each === "object" && "quality" in each
        ? (each as Reading)
        : good(each as Value);
    return reporter.take(reading, rule, at * 1000) ? [at] : [];
  });
}

describe("a reading", () => {
  it("is reported each time where there is no rule", () => {
    expect(reported([1, 1, 1])).toEqual([0, 1, 2]);
  });

  it("is reported on any change under an empty rule", () => {
    expect(reported([1, 1, 2, 2, 1], {})).toEqual([0, 2, 4]);
    expect(reported([true, true, false], {})).toEqual([0, 2]);
    expect(reported(["a", "a", "b"], {})).toEqual([0, 2]);
    expect(reported([{ a: true }, { a: true }, { a: false }], {})).toEqual([0, 2]);
  });

  it("is held against the one reported last, so that a slow drift is not missed", () => {
    expect(reported([0, 0.4, 0.8, 1.2, 1.6], { deadband: 1 })).toEqual([0, 3]);
  });

  it("must leave the deadband, not only reach its edge", () => {
    expect(reported([0, 1, -1, 1.01], { deadband: 1 })).toEqual([0, 3]);
  });

  it("may have a deadband in percent of the value reported last", () => {
    expect(reported([100, 101.9, 98.1, 102.1], { deadbandPercent: 2 })).toEqual([0, 3]);
    expect(reported([0, 0.001], { deadbandPercent: 2 })).toEqual([0, 1]);
    expect(reported([-100, -101.9, -102.1], { deadbandPercent: 2 })).toEqual([0, 2]);
  });

  it("is reported at the heartbeat, changed or not, counted from the last report", () => {
    expect(reported([1, 1, 1, 1, 2, 2, 2, 2], { heartbeat: 3000 })).toEqual([0, 3, 4, 7]);
  });

  it("is reported when its quality or the reason changes, and then no more until the heartbeat", () => {
    const lost = stale("timeout: no answer");
    expect(reported([1, lost, lost, lost, 1], { deadband: 5 })).toEqual([0, 1, 4]);
    expect(reported([1, lost, lost, stale("unreachable: no route")])).toEqual([0, 1, 3]);
    expect(reported([1, lost, lost, lost, lost], { heartbeat: 2000 })).toEqual([0, 1, 3]);
  });

  it("is reported anew when earlier reports may not have arrived", () => {
    const reporter = new Reporter();
    expect(reporter.take(good(1), {}, 0)).toBe(true);
    expect(reporter.take(good(1), {}, 1)).toBe(false);
    reporter.forget();
    expect(reporter.take(good(1), {}, 2)).toBe(true);
  });
});

describe("a rule", () => {
  it("has one deadband, not two", () => {
    expect(reportSchema.safeParse({ deadband: 1, deadbandPercent: 1 }).success).toBe(false);
    expect(reportSchema.safeParse({ deadband: 1, heartbeat: "1m" }).data).toEqual({
      deadband: 1,
      heartbeat: 60_000,
    });
  });
});
