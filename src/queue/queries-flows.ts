/** How many are where: by flow, at the gateway's door, by device. */
import { DELIVERY_STATES, type DeliveryState } from "../core/outcome.ts";
import type { Db } from "./database.ts";
import { type OpenExport, oldestFree, openExports } from "./queries-held.ts";
import { isLossy, openReports, salvageSentence } from "./salvage-report.ts";

/** Open lanes looked at to say which devices have something waiting. */
const LANES_READ_MAX = 20_000;
/** Rows read, in lanes that hold more than one device, to say whose they are. */
const ROWS_READ_MAX = 20_000;

export type StateCounts = Record<DeliveryState, number>;

export interface OldestOpen {
  readonly seq: number;
  readonly id: string;
  readonly device: string;
  readonly acceptedAtMs: number;
  /** On the steady clock: the time the gateway has lived through since, not what a wall clock says. */
  readonly ageMs: number;
}

export interface FlowFigures extends StateCounts {
  readonly flow: string;
  /** From the flow's latest version in the store; null where the store has none. */
  readonly target: string | null;
  readonly from: readonly string[];
  readonly orderBy: string | null;
  readonly version: string | null;
  /** Deliveries this flow has ever taken. */
  readonly accepted: number;
  readonly duplicates: number;
  readonly late: number;
  /** Times that a delivered one was put back to be delivered again: `delivered` + this is what was ever delivered. */
  readonly replayed: number;
  /** Deliveries among `accepted` that a replay brought from another flow. */
  readonly replayedInto: number;
  /** Held for exports now: among those that wait, are unknown or dead. */
  readonly held: number;
  readonly openLanes: number;
  /** The oldest that is waiting or being sent. */
  readonly oldest: OldestOpen | null;
  /** The oldest of those that no export keeps here: neither it is held, nor what its lane would have to send first. */
  readonly oldestFree: OldestOpen | null;
}

export interface DoorFigures {
  readonly accepted: number;
  readonly duplicates: number;
  readonly unrouted: number;
  readonly dropped: number;
  readonly refused: number;
}

export interface BootRow {
  readonly boot: string;
  readonly version: string;
  readonly startedAtMs: number;
  readonly clockTrusted: boolean;
  /** When the gateway last said that it lives, by wall clock and by steady clock. */
  readonly seenAtMs: number;
  readonly steadyAtMs: number;
  readonly stoppedClean: boolean;
}

/** Damage that a start found, until the folder with the damaged files is moved away. */
export interface SalvageNote {
  readonly atMs: number;
  readonly folder: string;
  /** Acknowledged messages are, or may be, gone. */
  readonly lossy: boolean;
  readonly sentence: string;
}

export interface Overview {
  readonly flows: readonly FlowFigures[];
  readonly door: DoorFigures;
  readonly bytes: { readonly file: number; readonly free: number };
  readonly boot: BootRow | null;
  readonly salvages: readonly SalvageNote[];
  /** Exports for which something is held, oldest first. */
  readonly exports: readonly OpenExport[];
}

export function overview(db: Db, { steadyNowMs }: { readonly steadyNowMs: number }): Overview {
  const tally = readTally(db);
  const versions = latestVersions(db);
  const names = [...new Set([...versions.keys(), ...tally.keys()])].filter((name) => name !== "").sort();
  const pageBytes = db.pragma("page_size", { simple: true }) as number;
  return {
    flows: names.map((flow) => {
      const figures = tally.get(flow);
      const n = (what: string) => figures?.get(what) ?? 0;
      const described = describeVersion(versions.get(flow));
      const held = n("held");
      return {
        flow,
        ...described,
        ...(Object.fromEntries(DELIVERY_STATES.map((state) => [state, n(state)])) as StateCounts),
        accepted: n("accepted"),
        duplicates: n("duplicate"),
        late: n("late"),
        replayed: n("replayed"),
        replayedInto: n("replayedInto"),
        held,
        ...openOf(db, flow, { steadyNowMs, held, inOrder: described.orderBy !== "none" }),
      };
    }),
    door: doorFigures(tally.get("")),
    bytes: {
      file: pageBytes * (db.pragma("page_count", { simple: true }) as number),
      free: pageBytes * (db.pragma("freelist_count", { simple: true }) as number),
    },
    boot: lastBoot(db),
    salvages: openReports(db).map((report) => ({
      atMs: report.atMs,
      folder: report.folder,
      lossy: isLossy(report),
      sentence: salvageSentence(report),
    })),
    exports: openExports(db, steadyNowMs),
  };
}

/** flow → what → n; flow "" is the gateway's door. */
export function readTally(db: Db): Map<string, Map<string, number>> {
  return nested(db.prepare("SELECT flow, what, n FROM tally").raw().all() as [string, string, number][]);
}

export function readPruned(db: Db): Map<string, Map<string, number>> {
  return nested(db.prepare("SELECT flow, what, n FROM pruned").raw().all() as [string, string, number][]);
}

function nested(rows: readonly (readonly [string, string, number])[]): Map<string, Map<string, number>> {
  const flows = new Map<string, Map<string, number>>();
  for (const [flow, what, n] of rows) {
    const figures = flows.get(flow) ?? new Map<string, number>();
    flows.set(flow, figures);
    figures.set(what, n);
  }
  return flows;
}

function doorFigures(figures: ReadonlyMap<string, number> | undefined): DoorFigures {
  const n = (what: string) => figures?.get(what) ?? 0;
  return {
    accepted: n("accepted"),
    duplicates: n("duplicate"),
    unrouted: n("unrouted"),
    dropped: n("dropped"),
    refused: n("refused"),
  };
}

function lastBoot(db: Db): BootRow | null {
  const row = db
    .prepare(
      `SELECT boot, version, started_at AS startedAtMs, clock_trusted AS clockTrusted, seen_at AS seenAtMs,
              steady_at AS steadyAtMs, stopped_clean AS stoppedClean
       FROM boots ORDER BY id DESC LIMIT 1`,
    )
    .get() as (Omit<BootRow, "clockTrusted" | "stoppedClean"> & Record<string, number>) | undefined;
  return row ? { ...row, clockTrusted: row.clockTrusted === 1, stoppedClean: row.stoppedClean === 1 } : null;
}

export interface VersionRow {
  readonly flow: string;
  readonly hash: string;
  readonly config: string;
}

export function latestVersions(db: Db): Map<string, VersionRow> {
  const rows = db.prepare("SELECT flow, hash, config FROM flow_versions ORDER BY id").all() as VersionRow[];
  return new Map(rows.map((row) => [row.flow, row]));
}

/** The parts of a flow's stored config that a reader may rely on; what is missing or odd is null. */
export function describeVersion(row: { readonly hash: string; readonly config: string } | undefined): {
  target: string | null;
  from: string[];
  orderBy: string | null;
  version: string | null;
} {
  const config = parseObject(row?.config ?? "");
  return {
    target: typeof config.to === "string" ? config.to : null,
    from: [config.from].flat().filter((filter) => typeof filter === "string"),
    orderBy: typeof config.orderBy === "string" ? config.orderBy : null,
    version: row?.hash ?? null,
  };
}

function parseObject(json: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/**
 * A lane's head is a lower bound, so the lane's first waiting row has to be looked up; but only in lanes
 * whose bound is below the best found so far, which soon are few.
 */
function openOf(
  db: Db,
  flow: string,
  { steadyNowMs, held, inOrder }: { steadyNowMs: number; held: number; inOrder: boolean },
): Pick<FlowFigures, "openLanes" | "oldest" | "oldestFree"> {
  const lanes = db.prepare("SELECT id, head FROM lanes WHERE flow = ? AND open > 0").raw().all(flow) as [
    number,
    number,
  ][];
  const first = db
    .prepare(
      `SELECT seq FROM deliveries
       WHERE lane = ? AND seq >= ? AND seq < ? AND state IN ('waiting', 'sending') ORDER BY seq LIMIT 1`,
    )
    .pluck();
  let best = Number.MAX_SAFE_INTEGER;
  for (const [lane, head] of lanes) {
    if (head >= best) continue;
    best = (first.get(lane, head, best) as number | undefined) ?? best;
  }
  const oldest = describeOldest(db, best, steadyNowMs);
  const free = held > 0 ? describeOldest(db, oldestFree(db, lanes, inOrder), steadyNowMs) : oldest;
  return { openLanes: lanes.length, oldest, oldestFree: free };
}

function describeOldest(db: Db, seq: number | null, steadyNowMs: number): OldestOpen | null {
  const row = db
    .prepare(
      "SELECT seq, id, device, accepted_at AS acceptedAtMs, steady_at AS steadyAtMs FROM messages WHERE seq = ?",
    )
    .get(seq) as (Omit<OldestOpen, "ageMs"> & { steadyAtMs: number }) | undefined;
  if (!row) return null;
  const { steadyAtMs, ...oldest } = row;
  return { ...oldest, ageMs: Math.max(0, steadyNowMs - steadyAtMs) };
}

export interface DeviceBacklog {
  readonly device: string;
  /** Its deliveries that are waiting, sending or unknown. */
  readonly open: number;
  readonly oldestSeq: number;
  readonly oldestAgeMs: number;
}

export interface Devices {
  /** Most first. */
  readonly devices: readonly DeviceBacklog[];
  /** Devices with something open, listed or not. */
  readonly total: number;
  /** False where there was too much to read: figures are then lower bounds. */
  readonly complete: boolean;
}

/**
 * What each device has open. Where a lane is ordered by device its key is the device, and its count is the
 * device's; rows of other lanes are looked up one by one, within a budget.
 */
export function devices(
  db: Db,
  { steadyNowMs, limit = 100 }: { readonly steadyNowMs: number; readonly limit?: number },
): Devices {
  const lanes = db
    .prepare("SELECT id, key, head, open FROM lanes WHERE open > 0 ORDER BY open DESC LIMIT ?")
    .raw()
    .all(LANES_READ_MAX + 1) as [number, string, number, number][];
  let complete = lanes.length <= LANES_READ_MAX;
  let rowsLeft = ROWS_READ_MAX;
  const rows = db
    .prepare(
      `SELECT d.seq, m.device, m.steady_at FROM deliveries d JOIN messages m ON m.seq = d.seq
       WHERE d.lane = ? AND d.seq >= ? AND d.state IN ('waiting', 'sending', 'unknown') ORDER BY d.seq LIMIT ?`,
    )
    .raw();
  const byDevice = new Map<string, { open: number; oldestSeq: number; oldestSteadyMs: number }>();
  const add = (device: string, open: number, seq: number, steadyMs: number) => {
    const found = byDevice.get(device);
    if (!found) byDevice.set(device, { open, oldestSeq: seq, oldestSteadyMs: steadyMs });
    else {
      found.open += open;
      if (seq < found.oldestSeq) Object.assign(found, { oldestSeq: seq, oldestSteadyMs: steadyMs });
    }
  };
  for (const [lane, key, head, open] of lanes.slice(0, LANES_READ_MAX)) {
    const [first] = rows.all(lane, head, 1) as [number, string, number][];
    if (!first) continue;
    if (first[1] === key) {
      add(key, open, first[0], first[2]);
      continue;
    }
    const read = rows.all(lane, head, Math.max(1, rowsLeft)) as [number, string, number][];
    rowsLeft -= read.length;
    complete &&= read.length >= open;
    for (const [seq, device, steadyMs] of read) add(device, 1, seq, steadyMs);
  }
  const sorted = [...byDevice].sort(([, a], [, b]) => b.open - a.open || a.oldestSeq - b.oldestSeq);
  return {
    devices: sorted.slice(0, limit).map(([device, { open, oldestSeq, oldestSteadyMs }]) => ({
      device,
      open,
      oldestSeq,
      oldestAgeMs: Math.max(0, steadyNowMs - oldestSteadyMs),
    })),
    total: sorted.length,
    complete,
  };
}
