import { describe, expect, it } from "vitest";
import {
  CLOCK_TRUSTED_FROM_MS,
  SteadyClock,
  sleep,
  steadyMsAfter,
  systemClock,
  wallClockTrusted,
} from "../../src/core/clock.ts";
import { ManualClock } from "../support/manual-clock.ts";

const YEAR = 365 * 86_400_000;
const HOUR = 3_600_000;
const TRUSTED = Date.UTC(2026, 5, 1);
const BEFORE_TIME_SERVER = Date.UTC(1970, 0, 1, 3);

describe("the steady clock", () => {
  it("begins at nothing, and advances with the mono clock", () => {
    const clock = new ManualClock({ monoMs: 123_456, wallMs: TRUSTED });
    const steady = new SteadyClock(clock, null);
    expect(steady.nowMs()).toBe(0);
    clock.advance(1500);
    expect(steady.nowMs()).toBe(1500);
  });

  it("is not moved by a wall clock that jumps, either way", () => {
    const clock = new ManualClock({ wallMs: TRUSTED });
    const steady = new SteadyClock(clock, { steadyMs: 1000, wallMs: TRUSTED });
    clock.setWallMs(TRUSTED + 100 * 365 * 24 * HOUR);
    expect(steady.nowMs()).toBe(1000);
    clock.setWallMs(0);
    expect(steady.nowMs()).toBe(1000);
    clock.advance(10);
    expect(steady.nowMs()).toBe(1010);
  });

  it("tells whole milliseconds: they are stored as such", () => {
    const clock = new ManualClock({ monoMs: 0.25 });
    const steady = new SteadyClock(clock, { steadyMs: 5, wallMs: TRUSTED });
    clock.advance(0.9);
    expect(Number.isInteger(steady.nowMs())).toBe(true);
  });

  it.each([
    ["goes on by the time that was spent away", TRUSTED, TRUSTED + HOUR, 1000 + HOUR],
    ["does not go back with a wall clock that was set back", TRUSTED + HOUR, TRUSTED, 1000],
    ["counts the time away as nothing where the clock was wrong before", BEFORE_TIME_SERVER, TRUSTED, 1000],
    ["counts it as nothing where the clock is wrong now", TRUSTED, BEFORE_TIME_SERVER, 1000],
    ["counts it as nothing where it was wrong both times", 1000, 2000, 1000],
    ["counts ten years as a wrong clock and not as time away", TRUSTED, TRUSTED + 10 * YEAR, 1000],
    ["counts most of a year", TRUSTED, TRUSTED + 0.9 * YEAR, 1000 + 0.9 * YEAR],
  ])("over a restart %s", (_, lastWallMs, wallMs, expected) => {
    expect(steadyMsAfter({ steadyMs: 1000, wallMs: lastWallMs }, wallMs)).toBe(expected);
    const steady = new SteadyClock(new ManualClock({ wallMs }), { steadyMs: 1000, wallMs: lastWallMs });
    expect(steady.nowMs()).toBe(expected);
  });
});

it("a wall clock from before this code was written is not believed", () => {
  expect(wallClockTrusted(0)).toBe(false);
  expect(wallClockTrusted(CLOCK_TRUSTED_FROM_MS - 1)).toBe(false);
  expect(wallClockTrusted(CLOCK_TRUSTED_FROM_MS)).toBe(true);
});

describe("sleep", () => {
  it("ends when its time has come", async () => {
    const clock = new ManualClock();
    let over = false;
    const slept = sleep(clock, 1000).then(() => {
      over = true;
    });
    await clock.advanceAsync(999);
    expect(over).toBe(false);
    await clock.advanceAsync(1);
    await slept;
    expect(over).toBe(true);
  });

  it("ends at once when it is called off, and leaves no timer", async () => {
    const clock = new ManualClock();
    const off = new AbortController();
    const slept = sleep(clock, 1000, off.signal);
    off.abort();
    await slept;
    expect(clock.timers).toBe(0);
    await sleep(clock, 1000, off.signal);
  });
});

describe("the system's clock", () => {
  it("runs a timer once, and not one that was cancelled", async () => {
    const ran: string[] = [];
    await new Promise<void>((resolve) => {
      systemClock.after(1, () => ran.push("cancelled")).cancel();
      systemClock.after(2, () => {
        ran.push("kept");
        resolve();
      });
    });
    expect(ran).toEqual(["kept"]);
  });

  it("takes delays longer than a timeout can be, without firing at once", async () => {
    let fired = false;
    const timer = systemClock.after(2 ** 31 + 10, () => {
      fired = true;
    });
    await new Promise<void>((resolve) => systemClock.after(5, resolve));
    timer.cancel();
    expect(fired).toBe(false);
  });
});
