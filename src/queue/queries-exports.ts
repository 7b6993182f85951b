/**
 * Exports, and what one is to hold: looked up on the reader's thread, page by page within a budget, so that looking
 * never delays an acknowledgement.
 */
import { systemClock } from "../core/clock.ts";
import { COMMAND_PREFIX, isBuiltInFlow } from "../core/command-message.ts";
import type { ExportSelection, ImportReceipt } from "../core/export-file.ts";
import type { DeliveryState } from "../core/outcome.ts";
import type { Db } from "./database.ts";
import { describeVersion, latestVersions } from "./queries-flows.ts";

const PAGE_MS_MAX = 25;
const CLOCK_EVERY_ROWS = 64;
const LISTED_MAX = 100;

export type ExportState = "holding" | "held" | "copied" | "moved" | "cancelled";

export interface StoredExport {
  readonly number: number;
  readonly id: string;
  readonly state: ExportState;
  readonly selection: ExportSelection;
  readonly untilSeq: number;
  readonly who: string;
  readonly reason: string | null;
  /** Wall clock, epoch ms. */
  readonly atMs: number;
  /** The same moment on the steady clock. */
  readonly steadyAtMs: number;
  readonly endedAtMs: number | null;
  /** In its file; null while that is not known. */
  readonly messages: number | null;
  readonly sum: string | null;
  readonly receipt: ImportReceipt | null;
  /** Deliveries that are held for it now. */
  readonly holds: number;
}

export type ExportRow = Omit<StoredExport, "selection" | "receipt"> & {
  readonly selection: string;
  readonly receipt: string | null;
};

export const EXPORT_COLUMNS = `e.number, e.id, e.state, e.selection, e.until_seq AS untilSeq, e.who, e.reason, e.at AS atMs,
  e.steady_at AS steadyAtMs, e.ended_at AS endedAtMs, e.messages, e.sum, e.receipt,
  (SELECT count(*) FROM deliveries d WHERE d.export IS NOT NULL AND d.export = e.number) AS holds`;

export function exportOf({ selection, receipt, ...row }: ExportRow): StoredExport {
  return {
    ...row,
    selection: JSON.parse(selection),
    receipt: receipt === null ? null : JSON.parse(receipt),
  };
}

/** Newest first. */
export function exports(db: Db, _params: object = {}): StoredExport[] {
  const rows = db.prepare(
    `SELECT ${EXPORT_COLUMNS} FROM exports e ORDER BY e.number DESC LIMIT ${LISTED_MAX}`,
  );
  return (rows.all() as ExportRow[]).map(exportOf);
}

export function exportById(db: Db, { id }: { readonly id: string }): StoredExport | null {
  const row = db.prepare(`SELECT ${EXPORT_COLUMNS} FROM exports e WHERE e.id = ?`).get(id);
  return row ? exportOf(row as ExportRow) : null;
}

/** Messages of which something is held for it. */
export function exportMessages(db: Db, { id }: { readonly id: string }): number {
  return db
    .prepare(
      `SELECT count(DISTINCT seq) FROM deliveries INDEXED BY deliveries_exported
       WHERE export IS NOT NULL AND export = (SELECT number FROM exports WHERE id = ?)`,
    )
    .pluck()
    .get(id) as number;
}

/** Where a search for what is to be held goes on: among what waits, then among dead letters. */
export interface CandidateCursor {
  readonly part: "open" | "dead";
  readonly lane: number;
  readonly seq: number;
}

export const CANDIDATES_BEGIN: CandidateCursor = { part: "open", lane: 0, seq: 0 };

export interface CandidatesParams {
  readonly selection: ExportSelection;
  readonly untilSeq: number;
  readonly after: CandidateCursor;
  readonly limit: number;
}

export interface CandidatesPage {
  readonly rows: readonly (readonly [lane: number, seq: number])[];
  readonly payloadBytes: number;
  /** Accepted when: wall clock, epoch ms. */
  readonly oldestMs: number | null;
  /** Found that are in the air: what comes of them is not known yet. */
  readonly sending: number;
  readonly next: CandidateCursor | null;
}

interface LaneFacts {
  readonly id: number;
  readonly flow: string;
  readonly head: number;
  readonly open: number;
}

interface CandidateRow {
  readonly lane: number;
  readonly seq: number;
  readonly state: DeliveryState;
  readonly device: string;
  readonly acceptedAtMs: number;
  readonly payloadBytes: number;
}

const FACTS =
  "d.lane, d.seq, d.state, m.device, m.accepted_at AS acceptedAtMs, length(m.payload) AS payloadBytes";

/** Lane by lane, each from its oldest on: once its first is held, nothing of a lane in order can go. */
export function exportCandidates(db: Db, params: CandidatesParams): CandidatesPage {
  const { selection, after, limit } = params;
  const untilMs = systemClock.monoMs() + PAGE_MS_MAX;
  const flows = flowsOf(db, selection);
  const rows: [number, number][] = [];
  let next: CandidateCursor | null = null;
  let sending = 0;
  let payloadBytes = 0;
  let oldestMs = Number.POSITIVE_INFINITY;
  let examined = 0;
  const source = after.part === "open" ? openOnes(db, params, flows) : deadOnes(db, params, flows);
  for (const { part, row } of source) {
    examined += 1;
    const late = examined % CLOCK_EVERY_ROWS === 0 && systemClock.monoMs() > untilMs;
    if (selection.device === undefined || row.device === selection.device) {
      if (row.state === "sending") sending += 1;
      else {
        rows.push([row.lane, row.seq]);
        payloadBytes += row.payloadBytes;
        oldestMs = Math.min(oldestMs, row.acceptedAtMs);
      }
    }
    if (rows.length >= limit || late) {
      next = { part, lane: row.lane, seq: row.seq };
      break;
    }
  }
  return { rows, payloadBytes, sending, next, oldestMs: rows.length === 0 ? null : oldestMs };
}

type Part = { readonly part: CandidateCursor["part"]; readonly row: CandidateRow };

function* openOnes(db: Db, params: CandidatesParams, flows: ReadonlySet<string> | null): Generator<Part> {
  const { selection, after, untilSeq } = params;
  if (selection.states !== "dead") {
    const lanes = db
      .prepare(`SELECT id, flow, head, open FROM lanes WHERE id >= ? AND open > 0 ORDER BY id`)
      .all(after.lane) as LaneFacts[];
    const open = db.prepare(
      `SELECT ${FACTS} FROM deliveries d CROSS JOIN messages m ON m.seq = d.seq
       WHERE d.lane = ? AND d.seq >= ? AND d.seq <= ? AND d.state IN ('waiting', 'sending', 'unknown') AND d.export IS NULL
       ORDER BY d.seq`,
    );
    for (const { id, flow, head } of lanes) {
      if (isBuiltInFlow(flow) || (flows && !flows.has(flow))) continue;
      const from = id === after.lane ? Math.max(head, after.seq + 1) : head;
      for (const row of open.iterate(id, from, untilSeq)) yield { part: "open", row: row as CandidateRow };
    }
  }
  yield* deadOnes(db, { ...params, after: { part: "dead", lane: 0, seq: 0 } }, flows);
}

function* deadOnes(db: Db, params: CandidatesParams, flows: ReadonlySet<string> | null): Generator<Part> {
  const { selection, after, untilSeq } = params;
  if (selection.states === "open") return;
  const rows = db
    .prepare(
      `SELECT ${FACTS}, l.flow FROM deliveries d INDEXED BY deliveries_dead CROSS JOIN lanes l ON l.id = d.lane
       CROSS JOIN messages m ON m.seq = d.seq
       WHERE d.state IN ('dead', 'unknown') AND d.state = 'dead' AND (d.seq, d.lane) > (?, ?) AND d.seq <= ?
         AND d.export IS NULL AND l.flow NOT GLOB '${COMMAND_PREFIX}*' ORDER BY d.seq, d.lane`,
    )
    .iterate(after.seq, after.lane, untilSeq) as Iterable<CandidateRow & { flow: string }>;
  for (const { flow, ...row } of rows) {
    if (!flows || flows.has(flow)) yield { part: "dead", row };
  }
}

/** Null for all of them. A target's flows are those whose newest version goes there. */
export function flowsOf(db: Db, { flow, target }: ExportSelection): ReadonlySet<string> | null {
  if (flow === undefined && target === undefined) return null;
  const named = [...latestVersions(db)].filter(
    ([name, version]) =>
      (flow === undefined || name === flow) &&
      (target === undefined || describeVersion(version).target === target),
  );
  return new Set(named.map(([name]) => name));
}

export interface ExportScope {
  readonly untilSeq: number;
  /** False where no flow of this store is meant. */
  readonly known: boolean;
}

export function exportScope(db: Db, { selection }: { readonly selection: ExportSelection }): ExportScope {
  const flows = flowsOf(db, selection);
  return {
    untilSeq: db.prepare("SELECT coalesce(max(seq), 0) FROM messages").pluck().get() as number,
    known: flows === null || flows.size > 0,
  };
}
