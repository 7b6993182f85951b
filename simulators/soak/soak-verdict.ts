/**
 * What a soak's rows say, held against named limits. Pure.
 *
 * Growth is judged by the line that fits the rows after the warm-up best. A line through noise is never quite
 * level, so that growth counts only where it is both steeper than its limit and more than its allowance over the
 * time that was measured. In a short run the heap still finds its size, and the allowance is larger.
 */
import { fitLine } from "./slope.ts";

export interface SoakRow {
  /** Since the machines began. */
  readonly atMs: number;
  readonly sent: number;
  readonly acked: number;
  readonly arrived: number;
  /** Waiting, being sent or unknown, by the gateway's own count. */
  readonly open: number | null;
  readonly acksInRow: number;
  readonly ackP50Ms: number;
  readonly ackP99Ms: number;
  readonly rssBytes: number | null;
  readonly heapUsedBytes: number | null;
  readonly handles: number | null;
  readonly threads: number | null;
  readonly storeBytes: number | null;
  readonly walBytes: number | null;
  /** Of the gateway's event loop since the row before. */
  readonly loopP99Ms: number | null;
  /** What happened since the row before: "backend away", … */
  readonly events: readonly string[];
}

export const LIMITS = {
  rssMibPerHour: 4,
  /** A checkout strips TypeScript at run time, which a release build does not: some 40 MiB of it. */
  rssMibMax: 384,
  storeMibPerHour: 16,
  walMibMax: 64,
  handlesMore: 16,
  threadsMore: 2,
  ackP99Ms: 1000,
} as const;

/** What growth may come to, over the time measured, before its slope is looked at. */
const RSS_MIB_ALLOWED = 16;
const RSS_MIB_ALLOWED_SHORT = 64;
const STORE_MIB_ALLOWED = 32;
const SHORT_MS_MAX = 10 * 60_000;
/** The first third, at most this long, is warm-up. */
const WARM_UP_MS_MAX = 20 * 60_000;
const MIB = 2 ** 20;
const HOUR_MS = 3_600_000;

export interface SoakCheck {
  readonly what: string;
  readonly found: number | null;
  readonly limit: number;
  readonly unit: string;
  /** Null where it could not be measured. */
  readonly met: boolean | null;
}

export function warmUpMs(durationMs: number): number {
  return Math.min(WARM_UP_MS_MAX, durationMs / 3);
}

export function growthChecks(all: readonly SoakRow[], durationMs: number): SoakCheck[] {
  const rows = all.filter(({ atMs }) => atMs >= warmUpMs(durationMs));
  const measuredMs = (rows.at(-1)?.atMs ?? 0) - (rows[0]?.atMs ?? 0);
  const allowed = measuredMs < SHORT_MS_MAX ? RSS_MIB_ALLOWED_SHORT : RSS_MIB_ALLOWED;
  const max = (of: (row: SoakRow) => number | null) => {
    const values = rows.map(of).filter((value) => value !== null);
    return values.length === 0 ? null : Math.max(...values);
  };
  const mib = (bytes: number | null) => (bytes === null ? null : bytes / MIB);
  const busy = rows.filter(({ acksInRow }) => acksInRow > 0).toSorted((a, b) => a.ackP99Ms - b.ackP99Ms);
  return [
    steepness("RSS grows by", rows, (row) => row.rssBytes, LIMITS.rssMibPerHour, allowed),
    upTo("RSS, most", mib(max((row) => row.rssBytes)), LIMITS.rssMibMax, "MiB"),
    steepness(
      "store file grows by",
      rows,
      (row) => row.storeBytes,
      LIMITS.storeMibPerHour,
      STORE_MIB_ALLOWED,
    ),
    upTo("write-ahead log, most", mib(max((row) => row.walBytes)), LIMITS.walMibMax, "MiB"),
    more("open handles, more", rows, (row) => row.handles, LIMITS.handlesMore),
    more("threads, more", rows, (row) => row.threads, LIMITS.threadsMore),
    // Half of the rows may hold an outage of the whole machine; all rows but the worst hundredth may not.
    upTo(
      "time to acknowledge, p99",
      busy[Math.ceil(busy.length * 0.99) - 1]?.ackP99Ms ?? null,
      LIMITS.ackP99Ms,
      "ms",
    ),
  ];
}

function steepness(
  what: string,
  rows: readonly SoakRow[],
  of: (row: SoakRow) => number | null,
  limit: number,
  allowed: number,
): SoakCheck {
  const line = lineOf(rows, of);
  const perHour = line === null ? null : (line.slope * HOUR_MS) / MIB;
  const met = line === null || perHour === null ? null : perHour <= limit || line.rise / MIB <= allowed;
  return { what, found: perHour, limit, unit: "MiB/h", met };
}

function more(
  what: string,
  rows: readonly SoakRow[],
  of: (row: SoakRow) => number | null,
  limit: number,
): SoakCheck {
  const line = lineOf(rows, of);
  return upTo(what, line?.rise ?? null, limit, "");
}

function upTo(what: string, found: number | null, limit: number, unit: string): SoakCheck {
  return { what, found, limit, unit, met: found === null ? null : found <= limit };
}

function lineOf(rows: readonly SoakRow[], of: (row: SoakRow) => number | null) {
  const points = rows.flatMap((row) => {
    const value = of(row);
    return value === null ? [] : [[row.atMs, value] as const];
  });
  return points.length < 2 ? null : fitLine(points);
}

/** A count that must be zero. */
export function none(what: string, found: number): SoakCheck {
  return { what, found, limit: 0, unit: "", met: found === 0 };
}
