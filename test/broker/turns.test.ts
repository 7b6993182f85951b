import { describe, expect, it } from "vitest";
import { Turns, type Waiting } from "../../src/broker/turns.ts";
import { Workload } from "../../src/broker/workload.ts";
import { ManualClock } from "../support/manual-clock.ts";

const immediate = () => new Promise((resolve) => setImmediate(resolve));

/** Somebody who has so many parts of work, each of which takes a while. */
function somebody(
  turns: Turns,
  clock: ManualClock,
  name: string,
  log: string[],
  parts: number,
  isIdle = false,
) {
  const waiting: Waiting = {
    isIdle,
    takeTurn() {
      log.push(name);
      clock.advance(5);
      if (--parts > 0) turns.wait(waiting);
    },
  };
  return waiting;
}

describe("turns", () => {
  it("go round among those who wait, so that each gets as many as the others", async () => {
    const clock = new ManualClock();
    const turns = new Turns(clock);
    const log: string[] = [];
    for (const name of ["a", "b", "c"]) turns.wait(somebody(turns, clock, name, log, 4));
    for (let n = 0; n < 20; n++) await immediate();
    expect(log.join("")).toBe("abcabcabcabc");
  });

  it("are taken first by whoever has nothing in hand, and the others come all the same", async () => {
    const clock = new ManualClock();
    const turns = new Turns(clock);
    const log: string[] = [];
    turns.wait(somebody(turns, clock, "b", log, 50));
    turns.wait(somebody(turns, clock, "b", log, 50));
    await immediate();
    log.length = 0;
    turns.wait(somebody(turns, clock, "i", log, 20, true));
    turns.wait(somebody(turns, clock, "i", log, 20, true));
    await immediate();
    expect(log[0]).toBe("i");
    for (let n = 0; n < 6; n++) await immediate();
    expect(log).toContain("b");
  });

  it("are not waited for while nobody else waits, until the time of one is over", async () => {
    const clock = new ManualClock();
    const turns = new Turns(clock);
    expect(turns.mayGoOn).toBe(true);
    clock.advance(5);
    expect(turns.mayGoOn).toBe(true);
    clock.advance(5);
    expect(turns.mayGoOn).toBe(false);
    await immediate();
    expect(turns.mayGoOn).toBe(true);
    turns.wait(somebody(turns, clock, "a", [], 1));
    expect(turns.mayGoOn).toBe(false);
  });

  it("are not given to one who has left", async () => {
    const clock = new ManualClock();
    const turns = new Turns(clock);
    const log: string[] = [];
    const waiting = somebody(turns, clock, "a", log, 3);
    turns.wait(waiting);
    turns.leave(waiting);
    turns.hold(waiting);
    turns.leave(waiting);
    turns.released();
    await immediate();
    expect(log).toEqual([]);
  });

  it("to gather a large packet where there is no room go to one at a time", () => {
    const turns = new Turns(new ManualClock());
    const [a, b] = ["a", "b"].map((name) => somebody(turns, new ManualClock(), name, [], 1));
    expect(turns.mayRead(a!)).toBe(true);
    expect(turns.mayRead(b!)).toBe(false);
    turns.hasRead(b!);
    expect(turns.mayRead(b!)).toBe(false);
    turns.leave(a!);
    expect(turns.mayRead(b!)).toBe(true);
  });
});

describe("a workload that is full", () => {
  const LIMITS = { unackedMessagesTotalMax: 50, unackedBytesTotalMax: 1000, partialBytesTotalMax: 1000 };

  it("holds those who have their share, and never one who has little", () => {
    const { work } = new Workload(LIMITS);
    work.moved(0, 60);
    expect(work.fullFor(60)).toBe(false);
    work.moved(0, 38);
    work.moved(0, 2);
    expect(work.total).toBe(100);
    expect([60, 38, 2].map((own) => work.fullFor(own))).toEqual([true, true, false]);
    expect(work.fullFor(0)).toBe(false);
  });

  it("stays so until a quarter is free again, and then says so", () => {
    const { bytes } = new Workload(LIMITS);
    let told = 0;
    bytes.onFree = () => told++;
    bytes.moved(0, 1000);
    bytes.moved(1000, 760);
    expect([bytes.fullFor(760), told]).toEqual([false, 0]);
    expect(bytes.full).toBe(true);
    bytes.moved(760, 700);
    expect([bytes.full, told]).toEqual([false, 1]);
  });
});
