import { describe, expect, it } from "vitest";
import { Pace } from "../../src/broker/pace.ts";
import { Workload } from "../../src/broker/workload.ts";
import { ManualClock } from "../support/manual-clock.ts";

const LIMITS = { unackedMessagesMax: 100, unackedBytesMax: 1000, publishRateMax: 0, publishByteRateMax: 0 };

const TOTALS = { unackedMessagesTotalMax: 500, unackedBytesTotalMax: 5000, partialBytesTotalMax: 1000 };
const alone = () => new Workload(TOTALS);

describe("the pace of a client", () => {
  it("is full at so many packets or bytes, and free again when a quarter is done", () => {
    const pace = new Pace(LIMITS, new ManualClock(), alone());
    for (let i = 0; i < 100; i++) pace.took();
    expect(pace.full).toBe(true);
    for (let i = 0; i < 25; i++) pace.done();
    expect(pace.full).toBe(true);
    pace.done();
    expect(pace.full).toBe(false);
    pace.tookMessage(1, 1000);
    expect(pace.full).toBe(true);
    pace.doneMessage(1, 1000);
    expect(pace.full).toBe(false);
  });

  it("lets a rate pass and no more, after a second's worth at once", () => {
    const clock = new ManualClock();
    const pace = new Pace({ ...LIMITS, publishRateMax: 10 }, clock, alone());
    let passed = 0;
    for (let ms = 0; ms < 3000; ms += 10) {
      while (pace.wait(50) === 0) passed++;
      clock.advance(10);
    }
    expect(passed).toBeGreaterThanOrEqual(38);
    expect(passed).toBeLessThanOrEqual(40);
  });

  it("lets a message pass that is larger than the rate, and then waits for it", () => {
    const clock = new ManualClock();
    const pace = new Pace({ ...LIMITS, publishByteRateMax: 100 }, clock, alone());
    expect(pace.wait(1000)).toBe(0);
    const waitMs = pace.wait(1);
    expect(waitMs).toBeGreaterThan(8900);
    clock.advance(waitMs);
    expect(pace.wait(1)).toBe(0);
  });
});
