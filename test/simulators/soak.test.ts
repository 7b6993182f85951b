import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Sent } from "../../simulators/machines/ledger.ts";
import { fitLine } from "../../simulators/soak/slope.ts";
import { soak } from "../../simulators/soak/soak.ts";
import { SoakBook } from "../../simulators/soak/soak-book.ts";
import type { SoakReport } from "../../simulators/soak/soak-report.ts";
import { growthChecks, type SoakCheck, type SoakRow } from "../../simulators/soak/soak-verdict.ts";
import { systemClock } from "../../src/core/clock.ts";
import { capability } from "../support/capabilities.ts";
import { runCliHere } from "../support/cli-process.ts";

const LEAKING_GATEWAY = join(import.meta.dirname, "../support/leaking-gateway.ts");
/** A run of a few seconds, on a machine with others at work on it. */
const SLOW_MS = 120_000;
const MIB = 2 ** 20;
const HOUR_MS = 3_600_000;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "holdfast-soak-test-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const row = (atMs: number, more: Partial<SoakRow> = {}): SoakRow => ({
  atMs,
  sent: 0,
  acked: 0,
  arrived: 0,
  open: 0,
  acksInRow: 10,
  ackP50Ms: 1,
  ackP99Ms: 5,
  rssBytes: 150 * MIB,
  heapUsedBytes: 30 * MIB,
  handles: 40,
  threads: 12,
  storeBytes: 20 * MIB,
  walBytes: 10 * MIB,
  loopP99Ms: 11,
  events: [],
  ...more,
});

/** Rows every minute for so many hours, each made by its place in time. */
function rows(hours: number, make: (atHours: number) => Partial<SoakRow>): SoakRow[] {
  return Array.from({ length: hours * 60 }, (_, at) => row((at + 1) * 60_000, make((at + 1) / 60)));
}

const unmet = (checks: readonly SoakCheck[]) =>
  checks.filter(({ met }) => met === false).map(({ what }) => what);

describe("the line through what was measured", () => {
  test("is the one that fits best", () => {
    expect(
      fitLine([
        [0, 1],
        [1, 3],
        [2, 5],
      ]),
    ).toEqual({ slope: 2, rise: 4 });
    expect(
      fitLine([
        [0, 0],
        [1, 3],
        [2, 0],
        [3, 3],
      ]).slope,
    ).toBeCloseTo(0.6);
    for (const level of [
      [],
      [[1, 7]],
      [
        [1, 7],
        [1, 9],
      ],
    ] as [number, number][][]) {
      expect(fitLine(level)).toEqual({ slope: 0, rise: 0 });
    }
  });
});

describe("the limits of a soak", () => {
  test("let pass what is level, whatever it did while it warmed up", () => {
    const level = rows(3, (at) => ({
      rssBytes: (at < 0.3 ? 90 + at * 300 : 180 + (Math.round(at * 60) % 7)) * MIB,
      storeBytes: Math.min(40, at * 400) * MIB,
    }));
    const checks = growthChecks(level, 3 * HOUR_MS);
    expect(unmet(checks)).toEqual([]);
    expect(checks.every(({ met }) => met !== null)).toBe(true);
  });

  test.each([
    ["RSS grows by", (at: number) => ({ rssBytes: (150 + at * 12) * MIB })],
    ["RSS, most", (at: number) => ({ rssBytes: (at > 1.6 && at < 1.7 ? 500 : 150) * MIB })],
    ["store file grows by", (at: number) => ({ storeBytes: (20 + at * 40) * MIB })],
    ["write-ahead log, most", (at: number) => ({ walBytes: (at > 2 && at < 2.1 ? 100 : 10) * MIB })],
    ["open handles, more", (at: number) => ({ handles: Math.round(40 + at * 20) })],
    ["threads, more", (at: number) => ({ threads: Math.round(12 + at * 3) })],
    ["time to acknowledge, p99", (at: number) => ({ ackP99Ms: Math.round(at * 60) % 20 === 0 ? 3000 : 5 })],
  ])("name what passes one: %s", (what, make) => {
    expect(unmet(growthChecks(rows(3, make), 3 * HOUR_MS))).toEqual([what]);
  });

  test("say what could not be measured, and call it neither good nor bad", () => {
    const blind = rows(1, () => ({
      rssBytes: null,
      handles: null,
      threads: null,
      storeBytes: null,
      walBytes: null,
    }));
    const checks = growthChecks(blind, HOUR_MS);
    expect(checks.filter(({ met }) => met === null)).toHaveLength(6);
  });
});

describe("the books of a soak", () => {
  let book: SoakBook;
  beforeEach(() => {
    book = new SoakBook();
  });
  const entry = (n: number, device = "press-01"): Sent => ({
    id: `${device}-soak-${n}`,
    device,
    n,
    topic: "t",
    qos: 1,
    retain: false,
    bytes: 1,
    digest: "",
    producedAtMs: 0,
    poison: false,
    copies: 0,
    firstSentAtMs: null,
    ackedAtMs: null,
  });
  const send = (n: number) => {
    const sent = entry(n);
    book.made(sent);
    book.onWire(sent, n);
    book.onAck(sent, n + 4);
  };
  const arrive = (n: number, effect = true) =>
    book.onEffect(Buffer.from(JSON.stringify({ id: `press-01-soak-${n}` })), effect);

  test("forget what both sides agree on, in whichever order they hear of it", () => {
    for (let n = 1; n <= 1000; n++) {
      if (n % 2 === 0) arrive(n);
      send(n);
      if (n % 2 !== 0) arrive(n);
    }
    expect(book).toMatchObject({ owed: 0, arrived: 1000, acked: 1000, findings: [] });
    expect(book.entries()).toEqual([]);
    expect(book.takeAckTimes()).toEqual({ count: 1000, p50Ms: 4, p99Ms: 4 });
    expect(book.takeAckTimes().count).toBe(0);
  });

  test("find what is lost, doubled, out of order or of nobody", () => {
    for (const n of [1, 2, 3, 4]) send(n);
    for (const n of [1, 3, 2, 3]) arrive(n);
    arrive(3, false);
    book.onEffect(Buffer.from("{}"), true);
    expect(book.findings).toEqual([
      "outOfOrder: press-01-soak-2 took effect after number 3 of its lane",
      "doubled: press-01-soak-3 took effect twice",
      "stranger: a message that no machine sent: (no id)",
    ]);
    expect(book.suppressedByBackend).toBe(1);
    expect(book.lost()).toEqual(["press-01-soak-4: acknowledged 8 ms into the run, never arrived"]);
  });

  test("do not wait for ever for a QoS 0 message that never came", () => {
    for (let n = 2; n <= 50_000; n++) arrive(n);
    arrive(49_000);
    expect(book.counts).toEqual({ doubled: 1, outOfOrder: 0, stranger: 0 });
  });
});

describe("holdfast soak", () => {
  const minutes = capability("long").present ? 2 : 0.07;

  test("measures, accounts for every message, and reports in Markdown and JSON", {
    timeout: SLOW_MS + minutes * 120_000,
  }, async () => {
    const args = ["soak", "--minutes", String(minutes), "--json", "--report", "s.json", "--report", "s.md"];
    const { code, stdout, stderr } = await runCliHere(args, { cwd: dir });
    expect(stderr).toBe("");
    const report = JSON.parse(readFileSync(join(dir, "s.json"), "utf8")) as SoakReport;
    // How fast it is depends on who else is at work on this machine.
    expect(unmet(report.checks).filter((what) => !what.startsWith("time to"))).toEqual([]);
    expect(report).toMatchObject({ interrupted: false, findings: [] });
    expect(report.figures.sent).toBeGreaterThan(minutes * 60 * 50);
    expect(report.figures.arrived).toBeGreaterThan(report.figures.sent! * 0.9);
    expect(report.figures.mishaps).toBeGreaterThan(0);
    expect(report.rows.length).toBeGreaterThan(5);
    for (const each of [
      "rssBytes",
      "handles",
      "threads",
      "storeBytes",
      "walBytes",
      "heapUsedBytes",
      "loopP99Ms",
    ] as const) {
      // A loop that nothing held up in a window has no delay to tell of.
      expect(Math.max(...report.rows.map((row) => row[each] ?? 0)), each).toBeGreaterThan(0);
    }
    const events = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events.filter(({ event }) => event === "row")).toHaveLength(report.rows.length);
    expect(events.at(-1)).toEqual({ event: "result", ...report });
    const text = readFileSync(join(dir, "s.md"), "utf8");
    expect(text).toContain(`# Holdfast soak: it ${report.held ? "held" : "did not hold"}`);
    expect(text).toMatch(/\| RSS, most \| [\d.]+ MiB \| 384 MiB \| held \|/);
    expect(code).toBe(report.held ? 0 : 1);
    expect(readdirSync(dir).toSorted()).toEqual(["s.json", "s.md"]);
  });

  const leaks: [string, string[]][] = [["memory", ["RSS grows by", "RSS, most"]]];
  if (capability("long").present) leaks.push(["handles", ["open handles, more"]]);
  test.skipIf(!capability("wide").present).each(leaks)(
    "finds a gateway that leaks %s",
    { timeout: SLOW_MS },
    async (leak, whats) => {
      const result = await soak({
        durationMs: 4_000,
        rate: 60,
        seed: 1,
        dir,
        clock: systemClock,
        script: LEAKING_GATEWAY,
        env: { HOLDFAST_TEST_FAULT: leak },
        report: () => {},
        signal: new AbortController().signal,
      });
      expect(result.held).toBe(false);
      // Beside it a busy machine may be slow, which is another matter.
      expect(unmet(result.checks)).toEqual(expect.arrayContaining(whats));
    },
  );
});
