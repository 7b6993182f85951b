import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  closingSentence,
  makeReport,
  markdown,
  type TortureReport,
} from "../../simulators/torture/report.ts";
import { mergedFigures, sortOut, type TortureEvent, torture } from "../../simulators/torture/torture.ts";
import type { Trial, TrialContext, TrialReport } from "../../simulators/torture/trial.ts";
import { sleep, systemClock } from "../../src/core/clock.ts";
import { diskOf, measureFsync, mountOf } from "../../src/core/disk.ts";
import { capability } from "../support/capabilities.ts";
import { ManualClock } from "../support/manual-clock.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "holdfast-torture-test-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Fake {
  readonly name?: string;
  readonly needs?: Trial["needs"];
  readonly cycle?: (context: TrialContext, cycle: number) => string | undefined | Promise<string | undefined>;
}

/** A trial that does `cycle` as often as it is asked to; what that answers is a finding. */
function trial({ name = "calm", needs = [], cycle = () => undefined }: Fake = {}): Trial {
  return {
    name,
    about: `Does ${name}.`,
    promise: `Survives ${name}.`,
    needs,
    async run(context): Promise<TrialReport> {
      const findings: string[] = [];
      let cycles = 0;
      while (context.another(cycles)) {
        const finding = await cycle(context, cycles);
        if (finding !== undefined) findings.push(finding);
        cycles++;
      }
      return { cycles, figures: { sent: cycles * 10, backMsMax: cycles }, findings };
    },
  };
}

const wait = (ms: number) => sleep(systemClock, ms).then(() => undefined);

async function run(
  trials: readonly Trial[],
  more: Partial<Parameters<typeof torture>[0]> = {},
): Promise<{ result: Awaited<ReturnType<typeof torture>>; events: TortureEvent[] }> {
  const events: TortureEvent[] = [];
  const result = await torture({
    trials,
    until: { cycles: 2 },
    seed: 7,
    dir,
    clock: systemClock,
    report: (event) => events.push(event),
    signal: new AbortController().signal,
    ...more,
  });
  return { result, events };
}

describe("the torture runner", () => {
  test("takes trials in turn until the time is over, each at least once, with a seed of its own each time", async () => {
    const seeds: [string, number][] = [];
    const noting = (name: string, ms: number) =>
      trial({
        name,
        cycle: (context, at) => {
          if (at === 0) seeds.push([name, context.seed]);
          return wait(ms);
        },
      });
    const { result } = await run([noting("quick", 5), noting("slow", 120)], { until: { ms: 100 } });
    expect(seeds.slice(0, 2)).toEqual([
      ["quick", 7],
      ["slow", 8],
    ]);
    expect(new Set(seeds.map(([, seed]) => seed)).size).toBe(seeds.length);
    expect(result.tried.map(({ trial: name, result: came }) => [name, came])).toEqual([
      ["quick", "held"],
      ["slow", "held"],
    ]);
    expect(result.tried.every(({ cycles }) => cycles >= 1)).toBe(true);
    expect(result.held).toBe(true);
  });

  test("says every half minute how far a trial has come that says nothing itself", async () => {
    const clock = new ManualClock();
    const cycle = () => {
      clock.advance(20_000);
      return undefined;
    };
    const { events } = await run([trial({ cycle })], { clock, until: { cycles: 5 } });
    expect(events.filter(({ event }) => event === "say")).toEqual([
      { event: "say", trial: "calm", text: "of 5", cycles: 2 },
      { event: "say", trial: "calm", text: "of 5", cycles: 4 },
    ]);
  });

  test("gives the same chance to the same seed, so that a finding's seed repeats it alone", async () => {
    const drawn: Record<number, number[]> = {};
    const cycle = (context: TrialContext) => {
      const value = context.random.below(1000);
      drawn[context.seed] = [...(drawn[context.seed] ?? []), value];
      return value % 2 === 0 ? `drew ${value}` : undefined;
    };
    const { result } = await run([trial({ name: "first", cycle }), trial({ name: "second", cycle })], {
      until: { cycles: 6 },
    });
    const [, second] = result.tried;
    const finding = second!.findings[0]!;
    expect(finding).toMatchObject({ seed: 8, cycles: 6 });
    const again = await run([trial({ name: "second", cycle })], {
      seed: finding.seed,
      until: { cycles: finding.cycles },
    });
    expect(again.result.tried[0]!.findings).toEqual(second!.findings);
    expect(drawn[8]!.slice(0, 6)).toEqual(drawn[8]!.slice(6));
    expect(drawn[7]).not.toEqual(drawn[8]!.slice(0, 6));
  });

  test("tells a trial that could not be done from one that found something", async () => {
    const broken = trial({
      name: "broken",
      cycle: () => {
        throw new Error("no such program");
      },
    });
    const { result } = await run([broken, trial()]);
    expect(result.tried.map((each) => each.result)).toEqual(["failed", "held"]);
    expect(result.tried[0]!.failures).toEqual(["seed 7: no such program"]);
    expect(result.held).toBe(false);
  });

  test("gives up a trial that hangs, whether or not it listens, and goes on with the next", async () => {
    const listening = trial({
      name: "listening",
      cycle: (context) =>
        new Promise((resolve) => context.signal.addEventListener("abort", () => resolve(undefined))),
    });
    const deaf = trial({ name: "deaf", cycle: () => new Promise(() => {}) });
    const { result } = await run([listening, deaf, trial()], { overtimeMs: 30, endingMs: 60 });
    expect(result.tried.map((each) => each.result)).toEqual(["failed", "failed", "held"]);
    expect(result.tried[0]!.failures).toEqual(["seed 7: it took too long"]);
    expect(result.tried[1]!.failures[0]).toContain("did not end");
  });

  test("leaves a long visit its time as long as its cycles end", async () => {
    const steady = trial({ name: "steady", cycle: () => wait(15) });
    const { result } = await run([steady], { until: { cycles: 10 }, overtimeMs: 100 });
    expect(result.tried[0]).toMatchObject({ result: "held", cycles: 10 });
    expect(result.tookMs).toBeGreaterThan(100);
  });

  test("takes away what a trial leaves behind, and says so", async () => {
    let pid = 0;
    const careless = trial({
      name: "careless",
      cycle: (context) => {
        writeFileSync(join(context.dir, "script.cjs"), "setInterval(() => {}, 1000)");
        const child = spawn(process.execPath, [join(context.dir, "script.cjs")], {
          stdio: "ignore",
          detached: true,
        });
        child.unref();
        pid = child.pid!;
        return undefined;
      },
    });
    const { result } = await run([careless], { until: { cycles: 1 } });
    expect(result.tried[0]!.failures[0]).toMatch(/it left behind: the process .*script\.cjs/);
    await expect.poll(() => existsSync(`/proc/${pid}/exe`)).toBe(false);
    expect(readdirSync(dir)).toEqual([]);
  });

  const mount = capability("mount");
  const root = capability("root");
  test.skipIf(!mount.present || !root.present)("takes away a mount that a trial leaves behind", async () => {
    const { SmallDisk } = await import("../../simulators/disks/small-disk.ts");
    const careless = trial({
      name: "careless",
      cycle: (context) => {
        new SmallDisk(context.dir, 1 << 20);
        return undefined;
      },
    });
    const { result } = await run([careless], { until: { cycles: 1 } });
    expect(result.tried[0]!.failures[0]).toContain("it left behind: the mount");
    expect(readFileSync("/proc/mounts", "utf8")).not.toContain(dir);
    expect(readdirSync(dir)).toEqual([]);
  });

  test("does not blame a trial that was broken off, and says which were not reached", async () => {
    const stop = new AbortController();
    const early = trial({
      name: "early",
      cycle: (context, at) => {
        if (at === 1) stop.abort(new Error("stopped by SIGINT"));
        return context.signal.aborted ? "machines had no answer" : undefined;
      },
    });
    const { result } = await run([trial(), early, trial({ name: "never" })], {
      until: { cycles: 3 },
      signal: stop.signal,
    });
    expect(result.interrupted).toBe(true);
    expect(result.tried.map((each) => each.result)).toEqual(["held", "in doubt", "not reached"]);
  });

  test("adds up counts, and keeps the worst of what is not one", () => {
    const before = { sent: 5, backMsMax: 9, ackP99Ms: 3, freeBytesMin: 4 };
    const more = { sent: 6, backMsMax: 2, ackP99Ms: 8, freeBytesMin: 1, acked: 1 };
    expect(mergedFigures(before, more)).toEqual({
      sent: 11,
      backMsMax: 9,
      ackP99Ms: 8,
      freeBytesMin: 1,
      acked: 1,
    });
  });
});

describe("what this machine lacks", () => {
  const lacks = (name: string) => ({
    present: name !== "strace",
    missing: `no ${name}`,
    howToGet: `get ${name}`,
  });

  test("skips trials by name, with what is missing and how to get it", () => {
    const trials = [trial(), trial({ name: "traced", needs: ["root", "strace"] }), trial({ name: "left" })];
    const { able, skipped } = sortOut(trials, { skip: ["left"] }, lacks);
    expect(able.map(({ name }) => name)).toEqual(["calm"]);
    expect(skipped).toEqual([
      { trial: "traced", about: "Does traced.", why: "no strace", howToGet: "get strace" },
      { trial: "left", about: "Does left.", why: "left out as asked (--skip)", howToGet: null },
    ]);
    expect(sortOut(trials, { only: ["calm"] }, lacks)).toMatchObject({
      able: [{ name: "calm" }],
      skipped: [],
    });
  });
});

describe("the box", () => {
  const MOUNTS = [
    "/dev/sda1 / ext4 rw,relatime 0 0",
    "tmpfs /tmp tmpfs rw,size=64k 0 0",
    "/dev/sdb1 /data\\040disk xfs rw,noatime 0 0",
    "/dev/sdc1 /tmp/deep ext4 ro 0 0",
  ].join("\n");

  test.each([
    ["/home/me", "/dev/sda1", "ext4"],
    ["/tmp", "tmpfs", "tmpfs"],
    ["/tmpfiles", "/dev/sda1", "ext4"],
    ["/tmp/deep/er", "/dev/sdc1", "ext4"],
    ["/data disk/holdfast", "/dev/sdb1", "xfs"],
  ])("finds the mount of %s", (folder, device, filesystem) => {
    expect(mountOf(folder, MOUNTS)).toMatchObject({ device, filesystem });
  });

  test("measures the disk's fsync in the folder and leaves nothing there", async () => {
    const times = await measureFsync(dir, systemClock);
    expect(times.count).toBeGreaterThan(0);
    expect(times.medianMs).toBeGreaterThan(0);
    expect(times.p99Ms).toBeGreaterThanOrEqual(times.medianMs);
    expect(readdirSync(dir)).toEqual([]);
    expect(diskOf(dir).sizeBytes).toBeGreaterThan(0);
  });
});

describe("the report", () => {
  async function reportOf(
    trials: readonly Trial[],
    skipped: TortureReport["skipped"] = [],
  ): Promise<TortureReport> {
    const { result } = await run(trials);
    const fsync = { count: 200, bytes: 4096, medianMs: 0.5, p99Ms: 2, maxMs: 9 };
    const box = { ...(await boxFacts()), fsync };
    return makeReport(
      { startedAt: "2026-01-02T03:04:05.000Z", asked: "1 minute", seed: 7, box, skipped },
      result,
    );
  }

  async function boxFacts() {
    const { describeBox } = await import("../../simulators/torture/box.ts");
    const over = new AbortController();
    over.abort();
    return describeBox(dir, systemClock, over.signal);
  }

  test("says what box it was, what was tried, what held and what was not tried", async () => {
    const skipped = [{ trial: "power-cut", about: "", why: "no disk can be made", howToGet: "run as root" }];
    const report = await reportOf([trial()], skipped);
    const text = markdown(report);
    expect(text).toContain("# Holdfast torture: it held");
    expect(text).toContain("1 trial held. 2 faults in all.");
    expect(text).toContain(`| Node | ${process.version}`);
    expect(text).toContain("| fsync | 200 × 4096 bytes: median 0.50 ms, p99 2.00 ms, longest 9.00 ms |");
    expect(text).toContain("| calm | held | 2 |");
    expect(text).toContain("Promise: Survives calm.");
    expect(text).toContain("| power-cut | no disk can be made | run as root |");
    expect(text).toMatch(/\| file system \| \w+ at /);
  });

  test("gives each finding with the command that does it again, and lets no finding break the page", async () => {
    const report = await reportOf([
      trial({ name: "leaky", cycle: (_, at) => (at === 1 ? "lost | <b>m-1</b>" : undefined) }),
    ]);
    const text = markdown(report);
    expect(text).toContain("# Holdfast torture: something was found");
    expect(text).toContain("- lost \\| &lt;b>m-1&lt;/b>");
    expect(text).toContain("Again: `./holdfast torture --only leaky --seed 7 --cycles 2`");
    expect(report.repeat).toEqual([
      {
        trial: "leaky",
        finding: "lost | <b>m-1</b>",
        command: "./holdfast torture --only leaky --seed 7 --cycles 2",
      },
    ]);
    expect(closingSentence(report)).toBe("0 trials held; something was found in leaky. 2 faults in all.");
  });
});
