/**
 * Jobs, and what is next for one: looked up on the reader's thread, so that looking never delays an acknowledgement.
 *
 * A page goes by sequence from where the job is, and ends between two messages, early where its budget is used up:
 * the next one goes on from there. Dead letters have an index; delivered ones are found by going through the messages,
 * since an index on them would cost every message at its commit.
 */

import { systemClock } from "../core/clock.ts";
import { COMMAND_PREFIX, isBuiltInFlow } from "../core/command-message.ts";
import type { Job, JobKind, JobSelection } from "../core/job.ts";
import { topicMatches } from "../core/topic.ts";
import type { Db } from "./database.ts";
import { readPruned } from "./queries-flows.ts";
import { NO_REASON, reasonPattern } from "./queries-reasons.ts";

/** A budget for one page: messages or dead letters looked at, and time. */
const ROWS_MAX = 20_000;
const PAGE_MS_MAX = 25;
const CLOCK_EVERY_ROWS = 64;
const JOBS_PAGE_MAX = 1000;
const JOBS_PAGE_DEFAULT = 100;

export const JOB_COLUMNS = `id, kind, state, selection, rate, who, reason, total, done, skipped, at_seq AS atSeq,
  until_seq AS untilSeq, started_at AS startedAtMs, updated_at AS updatedAtMs, ended_at AS endedAtMs, error`;

export type JobRow = Omit<Job, "selection"> & { readonly selection: string };

export function jobOf({ selection, ...row }: JobRow): Job {
  return { ...row, selection: JSON.parse(selection) };
}

/** Newest first. */
export function jobs(
  db: Db,
  { open = false, before, limit }: { open?: boolean; before?: number; limit?: number },
): Job[] {
  const rows = db
    .prepare(
      `SELECT ${JOB_COLUMNS} FROM jobs WHERE (@before IS NULL OR id < @before)
       AND (NOT @open OR state IN ('running', 'paused')) ORDER BY id DESC LIMIT @limit`,
    )
    .all({
      open: open ? 1 : 0,
      before: before ?? null,
      limit: Math.min(limit ?? JOBS_PAGE_DEFAULT, JOBS_PAGE_MAX),
    }) as JobRow[];
  return rows.map(jobOf);
}

export function job(db: Db, { id }: { id: number }): Job | null {
  const row = db.prepare(`SELECT ${JOB_COLUMNS} FROM jobs WHERE id = ?`).get(id) as JobRow | undefined;
  return row ? jobOf(row) : null;
}

export interface JobPageParams {
  readonly kind: JobKind;
  readonly selection: JobSelection;
  /** Of messages that this job was named one by one… */
  readonly job?: number;
  /** …or of these, where there is no job yet. */
  readonly ids?: readonly string[];
  readonly afterSeq: number;
  readonly untilSeq: number;
  readonly limit: number;
}

export interface JobPage {
  /** A delivery each; for a replay into another flow it is the one that was delivered. */
  readonly rows: readonly (readonly [lane: number, seq: number])[];
  /** All up to here have been looked at. */
  readonly toSeq: number;
  readonly ended: boolean;
  /** Of their payloads. */
  readonly bytes: number;
  /** Accepted when: wall clock, epoch ms. */
  readonly oldestMs: number | null;
  readonly newestMs: number | null;
}

export function jobPage(db: Db, params: JobPageParams): JobPage {
  const rows: (readonly [number, number])[] = [];
  const untilMs = systemClock.monoMs() + PAGE_MS_MAX;
  let [toSeq, examined, bytes] = [params.afterSeq, 0, 0];
  let [oldestMs, newestMs] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  let ended = true;
  const source = params.kind === "redrive" ? failedOnes(db, params) : deliveredOnes(db, params);
  for (const { seq, lanes, acceptedAtMs, payloadBytes } of source) {
    examined += 1;
    if (rows.length > 0 && rows.length + lanes.length > params.limit) {
      ended = false;
      break;
    }
    toSeq = seq;
    for (const lane of lanes) rows.push([lane, seq]);
    if (lanes.length > 0) {
      bytes += payloadBytes;
      oldestMs = Math.min(oldestMs, acceptedAtMs);
      newestMs = Math.max(newestMs, acceptedAtMs);
    }
    const late = examined % CLOCK_EVERY_ROWS === 0 && systemClock.monoMs() > untilMs;
    if (examined >= ROWS_MAX || late) {
      ended = false;
      break;
    }
  }
  const none = rows.length === 0;
  return {
    rows,
    toSeq: ended ? params.untilSeq : toSeq,
    ended,
    bytes,
    oldestMs: none ? null : oldestMs,
    newestMs: none ? null : newestMs,
  };
}

interface Found {
  readonly seq: number;
  /** None where it does not meet the selection. */
  readonly lanes: readonly number[];
  readonly acceptedAtMs: number;
  readonly payloadBytes: number;
}

interface MessageFacts {
  readonly seq: number;
  readonly device: string;
  readonly topic: string;
  readonly acceptedAtMs: number;
  readonly payloadBytes: number;
  readonly routes: string;
}

const FACTS =
  "m.seq, m.device, m.topic, m.accepted_at AS acceptedAtMs, length(m.payload) AS payloadBytes, m.routes";

/** Those that were named, as a condition on messages `m`; else all of them. */
function named({ job, ids }: JobPageParams): string {
  if (ids) return "AND m.id IN (SELECT value FROM json_each(@ids))";
  return job === undefined ? "" : "AND m.seq IN (SELECT seq FROM job_messages WHERE job = @job)";
}

function bound({ afterSeq, untilSeq, job, ids }: JobPageParams) {
  return {
    afterSeq,
    untilSeq,
    ...(ids ? { ids: JSON.stringify(ids) } : job === undefined ? {} : { job }),
  };
}

/** Dead letters and held unknowns. The condition and INDEXED BY are as in queries-failures.ts. */
function* failedOnes(db: Db, params: JobPageParams): Generator<Found> {
  const { selection } = params;
  const group = selection.group === undefined ? null : reasonPattern(selection.group);
  const rows = db
    .prepare(
      `SELECT d.lane, d.reason, ${FACTS}
       FROM deliveries d INDEXED BY deliveries_dead CROSS JOIN lanes l ON l.id = d.lane
       CROSS JOIN messages m ON m.seq = d.seq
       WHERE d.state IN ('dead', 'unknown') AND (d.state = 'dead' OR d.due_at IS NULL)
         AND d.seq > @afterSeq AND d.seq <= @untilSeq ${named(params)}
         AND l.flow NOT GLOB '${COMMAND_PREFIX}*' AND (@flow IS NULL OR l.flow = @flow) ORDER BY d.seq, d.lane`,
    )
    .iterate({ ...bound(params), flow: selection.flow ?? null }) as Iterable<
    MessageFacts & { lane: number; reason: string | null }
  >;
  let gathered: (Found & { lanes: number[] }) | null = null;
  for (const { lane, reason, ...facts } of rows) {
    if (gathered?.seq !== facts.seq) {
      if (gathered) yield gathered;
      gathered = { ...facts, lanes: [] };
    }
    const ofGroup = group === null || reasonPattern(reason ?? NO_REASON) === group;
    if (ofGroup && meets(facts, selection)) gathered.lanes.push(lane);
  }
  if (gathered) yield gathered;
}

function* deliveredOnes(db: Db, params: JobPageParams): Generator<Found> {
  const { selection } = params;
  const flowOf = laneFlows(db);
  const stateOf = db.prepare("SELECT state FROM deliveries WHERE lane = ? AND seq = ?").pluck();
  const rows = db
    .prepare(
      `SELECT ${FACTS} FROM messages m WHERE m.seq > @afterSeq AND m.seq <= @untilSeq ${named(params)} ORDER BY m.seq`,
    )
    .iterate(bound(params)) as Iterable<MessageFacts>;
  for (const facts of rows) {
    const lanes = meets(facts, selection) ? chosen(facts) : [];
    yield { ...facts, lanes };
  }

  function chosen({ seq, routes }: MessageFacts): number[] {
    const all = (JSON.parse(routes) as [number, number][]).map(([lane]) => ({ lane, flow: flowOf(lane) }));
    const { flow, into } = selection;
    const from = all.filter(
      (each) => !isBuiltInFlow(each.flow) && (flow === undefined || each.flow === flow),
    );
    const delivered = from.filter(({ lane }) => stateOf.get(lane, seq) === "delivered");
    if (into === undefined) return delivered.map(({ lane }) => lane);
    const there = all.find((each) => each.flow === into);
    // What waits there, or is dead there, is on its way, or another matter.
    if (there && stateOf.get(there.lane, seq) !== "delivered") return [];
    return delivered.slice(0, 1).map(({ lane }) => lane);
  }
}

function laneFlows(db: Db): (lane: number) => string {
  const find = db.prepare("SELECT flow FROM lanes WHERE id = ?").pluck();
  const known = new Map<number, string>();
  return (lane) => {
    const flow = known.get(lane) ?? (find.get(lane) as string | undefined) ?? "";
    known.set(lane, flow);
    return flow;
  };
}

function meets(
  { device, topic, acceptedAtMs }: MessageFacts,
  { device: wanted, topic: filter, fromMs, toMs }: JobSelection,
): boolean {
  if (wanted !== undefined && device !== wanted) return false;
  if (fromMs !== undefined && acceptedAtMs < fromMs) return false;
  if (toMs !== undefined && acceptedAtMs >= toMs) return false;
  return filter === undefined || topicMatches(filter, topic);
}

export interface JobScope {
  /** The newest there is: what comes later is not the job's. */
  readonly untilSeq: number;
  /** Delivered on the flow (or any) and removed by retention, ever. */
  readonly prunedDelivered: number;
  /** When the oldest message that is kept was accepted: wall clock, epoch ms. */
  readonly keptFromMs: number | null;
}

export function jobScope(db: Db, { flow }: { readonly flow?: string }): JobScope {
  let prunedDelivered = 0;
  for (const [name, figures] of readPruned(db)) {
    if (name === "" || isBuiltInFlow(name) || (flow !== undefined && name !== flow)) continue;
    prunedDelivered += figures.get("delivered") ?? 0;
  }
  const oldest = "SELECT accepted_at FROM messages ORDER BY seq LIMIT 1";
  return {
    untilSeq: db.prepare("SELECT coalesce(max(seq), 0) FROM messages").pluck().get() as number,
    prunedDelivered,
    keptFromMs: (db.prepare(oldest).pluck().get() as number | undefined) ?? null,
  };
}
