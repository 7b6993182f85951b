/** How many are failing, and why: dead, unknown, and those being tried again. */
import { COMMAND_PREFIX } from "../core/command-message.ts";
import { notSent } from "../core/outcome.ts";
import type { Db } from "./database.ts";
import { describeVersion, latestVersions } from "./queries-flows.ts";
import { type Failures, NO_REASON, ReasonGroups, type ReasonRow, reasonPattern } from "./queries-reasons.ts";

export const DEAD_PAGE_MAX = 1000;
const DEAD_PAGE_DEFAULT = 100;
/** Different reasons read before they are put together. */
const REASONS_READ_MAX = 2000;
/** Open lanes whose head is looked at for retries… */
const LANES_READ_MAX = 20_000;
/** …and rows of each lane: several can be in retry where a lane keeps no order. */
const ROWS_OF_LANE_MAX = 200;

/**
 * `state IN (…)` is the partial index's own condition, repeated because the planner does not see that one
 * state implies it; INDEXED BY makes a plan without the index an error rather than a scan of everything.
 * A command that failed is no dead letter: its sender has been told, and nobody is to send it again.
 */
const FAILED = `FROM deliveries d INDEXED BY deliveries_dead JOIN lanes l ON l.id = d.lane
  WHERE d.state IN ('dead', 'unknown') AND d.state = @state AND (@flow IS NULL OR l.flow = @flow)
    AND (d.state = 'unknown' OR l.flow NOT GLOB '${COMMAND_PREFIX}*')`;

export interface Failing {
  readonly dead: Failures;
  /** `held`: those that wait for a person, because their flow does not send again on its own. */
  readonly unknown: Failures & { readonly held: number };
}

/** Dead letters and unknowns, by flow and reason. */
export function failing(db: Db, { flow }: { readonly flow?: string }): Failing {
  const held = db
    .prepare(`SELECT count(*) ${FAILED} AND d.due_at IS NULL`)
    .pluck()
    .get({ state: "unknown", flow: flow ?? null }) as number;
  return { dead: byReason(db, "dead", flow), unknown: { ...byReason(db, "unknown", flow), held } };
}

function byReason(db: Db, state: "dead" | "unknown", flow: string | undefined): Failures {
  const rows = db
    .prepare(
      `SELECT l.flow, d.reason, count(*) AS count, max(d.seq) AS exampleSeq, max(d.updated_at) AS lastAtMs,
              max(d.attempts) AS attemptsMax, min(d.due_at) AS nextDueMs
       ${FAILED} GROUP BY l.flow, d.reason ORDER BY count DESC, l.flow, d.reason LIMIT ${REASONS_READ_MAX + 1}`,
    )
    .all({ state, flow: flow ?? null }) as ReasonRow[];
  const groups = new ReasonGroups();
  for (const row of rows) groups.add(row);
  if (rows.length <= REASONS_READ_MAX) return groups.list(db);
  return groups.list(
    db,
    db
      .prepare(`SELECT count(*) ${FAILED}`)
      .pluck()
      .get({ state, flow: flow ?? null }) as number,
  );
}

export interface DeadLetter {
  readonly id: string;
  readonly seq: number;
  readonly device: string;
  readonly topic: string;
  readonly flow: string;
  /** Order key of its lane. */
  readonly key: string;
  readonly reason: string | null;
  readonly attempts: number;
  readonly acceptedAtMs: number;
  /** Wall clock, epoch ms, of when it became dead. */
  readonly deadAtMs: number;
  readonly payloadBytes: number;
}

export interface DeadLettersParams {
  readonly flow?: string;
  /** Of this group alone: a reason, or what a group of them is called. `total` and `reasons` are of all groups. */
  readonly reason?: string;
  /** `next` of the page before. */
  readonly after?: string;
  /** At most DEAD_PAGE_MAX. */
  readonly limit?: number;
}

export interface DeadLettersPage {
  readonly total: number;
  /** By sequence, the newest message first. */
  readonly letters: readonly DeadLetter[];
  /** Cursor of the next page, or null at the end. */
  readonly next: string | null;
  /** Why, over all of them and not only this page. */
  readonly reasons: Failures;
}

/** A page of dead letters. Throws a RangeError for a cursor that is none. */
export function deadLetters(db: Db, params: DeadLettersParams): DeadLettersPage {
  const limit = Math.min(params.limit ?? DEAD_PAGE_DEFAULT, DEAD_PAGE_MAX);
  const [afterSeq, afterLane] = parseCursor(params.after);
  const rows = db
    .prepare(
      `SELECT d.lane, d.seq, l.flow, l.key, d.reason, d.attempts, d.updated_at AS deadAtMs
       ${FAILED} AND (d.seq, d.lane) < (@afterSeq, @afterLane)
       ORDER BY d.seq DESC, d.lane DESC`,
    )
    .iterate({ state: "dead", flow: params.flow ?? null, afterSeq, afterLane }) as Iterable<DeadRow>;
  const group = params.reason === undefined ? null : reasonPattern(params.reason);
  const found = Iterator.from(rows)
    .filter(({ reason }) => group === null || reasonPattern(reason ?? NO_REASON) === group)
    .take(limit + 1)
    .toArray();
  const messageOf = db.prepare(
    `SELECT id, device, topic, accepted_at AS acceptedAtMs, length(payload) AS payloadBytes
     FROM messages WHERE seq = ?`,
  );
  const page = found.slice(0, limit);
  const last = page.at(-1);
  const reasons = byReason(db, "dead", params.flow);
  return {
    total: reasons.count,
    letters: page.map(({ lane: _, ...row }) => ({
      ...row,
      ...((messageOf.get(row.seq) as MessagePart | undefined) ?? MESSAGE_MISSING),
    })),
    next: last && found.length > limit ? `${last.seq}.${last.lane}` : null,
    reasons,
  };
}

type MessagePart = Pick<DeadLetter, "id" | "device" | "topic" | "acceptedAtMs" | "payloadBytes">;
type DeadRow = Omit<DeadLetter, keyof MessagePart> & { readonly lane: number };

/** Only a damaged store has a delivery without its message; the list is still of use then. */
const MESSAGE_MISSING: MessagePart = {
  id: "(its message is missing from the store)",
  device: "",
  topic: "",
  acceptedAtMs: 0,
  payloadBytes: 0,
};

export const CURSOR_PATTERN = /^(\d{1,16})\.(\d{1,16})$/;

function parseCursor(cursor: string | undefined): [number, number] {
  if (cursor === undefined) return [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER];
  const match = CURSOR_PATTERN.exec(cursor);
  if (!match) throw new RangeError(`not a cursor: ${cursor}`);
  return [Number(match[1]), Number(match[2])];
}

export interface Retrying extends Failures {
  /** Deliveries that wait behind them in their lanes. */
  readonly heldBack: number;
  /** False where there were too many lanes to look at: figures are then lower bounds. */
  readonly complete: boolean;
}

/** Told of a delivery that only stood behind a failing one. */
const NOT_SENT = notSent.kind === "retry" ? notSent.reason : null;

type HeadRow = [
  seq: number,
  attempts: number,
  dueMs: number | null,
  updatedAtMs: number,
  reason: string | null,
];

/** What has been tried and will be tried again: it stands at the head of its lane and holds back the rest. */
export function retrying(db: Db, _params: object = {}): Retrying {
  const lanes = db
    .prepare("SELECT id, flow, head, open FROM lanes WHERE open > 0 ORDER BY flow, id LIMIT ?")
    .raw()
    .all(LANES_READ_MAX + 1) as [number, string, number, number][];
  const heads = db
    .prepare(
      `SELECT seq, attempts, due_at, updated_at, reason FROM deliveries
       WHERE lane = ? AND seq >= ? AND state IN ('waiting', 'sending') ORDER BY seq LIMIT ${ROWS_OF_LANE_MAX}`,
    )
    .raw();
  const versions = latestVersions(db);
  const groups = new ReasonGroups();
  let heldBack = 0;
  for (const [lane, flow, head, open] of lanes.slice(0, LANES_READ_MAX)) {
    let tried = 0;
    for (const row of heads.iterate(lane, head)) {
      const [seq, attempts, dueMs, updatedAtMs, reason] = row as HeadRow;
      // What was never tried ends the search: in an ordered lane no later one has been tried either.
      if (attempts === 0 && (reason === null || reason === NOT_SENT)) break;
      tried += 1;
      groups.add({
        flow,
        reason,
        count: 1,
        exampleSeq: seq,
        lastAtMs: updatedAtMs,
        attemptsMax: attempts,
        nextDueMs: dueMs,
      });
    }
    if (tried > 0 && describeVersion(versions.get(flow)).orderBy !== "none") heldBack += open - tried;
  }
  return { ...groups.list(db), heldBack, complete: lanes.length <= LANES_READ_MAX };
}
