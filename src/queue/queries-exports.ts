/**
 * Exports and imports, what an export is to hold, and what stands in its file: looked up on the reader's thread, page
 * by page within a budget, so that looking never delays an acknowledgement.
 */
import { systemClock } from "../core/clock.ts";
import { COMMAND_PREFIX, isBuiltInFlow } from "../core/command-message.ts";
import type { ExportHead, ExportSelection, ImportReceipt } from "../core/export-file.ts";
import type { DeliveryState } from "../core/outcome.ts";
import { type Content, isIntact } from "./content-sum.ts";
import type { Db } from "./database.ts";
import { EditTable } from "./edits.ts";
import { MESSAGE_COLUMNS } from "./message-row.ts";
import { describeVersion, latestVersions } from "./queries-flows.ts";

const PAGE_MS_MAX = 25;
const CLOCK_EVERY_ROWS = 64;
/** Payloads on one page of a file. */
const PAGE_BYTES_MAX = 2 * 2 ** 20;
const PAGE_MESSAGES_MAX = 500;
/** What is told of a message's past there. */
const HISTORY_MAX = 50;
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

/** Those for which deliveries are held. */
export function exportsOpen(db: Db, _params: object = {}): StoredExport[] {
  const rows = db.prepare(
    `SELECT ${EXPORT_COLUMNS} FROM exports e WHERE e.number IN
       (SELECT DISTINCT export FROM deliveries WHERE export IS NOT NULL) ORDER BY e.number`,
  );
  return (rows.all() as ExportRow[]).map(exportOf);
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
function flowsOf(db: Db, { flow, target }: ExportSelection): ReadonlySet<string> | null {
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

export interface PageParams {
  readonly id: string;
  /** Go on after this sequence. */
  readonly after: number;
}

export interface ExportedDelivery {
  readonly flow: string;
  readonly key: string;
  readonly state: "waiting" | "unknown" | "dead";
  readonly attempts: number;
  readonly late: boolean;
  readonly resend: boolean;
  readonly replay: boolean;
  readonly reason: string | null;
  readonly updatedAtMs: number;
  readonly edit: {
    readonly atMs: number;
    readonly who: string;
    readonly reason: string;
    readonly topic: string;
    readonly payload: Uint8Array;
    readonly contentType: string | null;
  } | null;
}

export interface ExportedMessage {
  readonly content: Content;
  readonly deliveries: readonly ExportedDelivery[];
  readonly history: readonly {
    readonly atMs: number;
    readonly flow: string | null;
    readonly kind: string;
    readonly detail: string | null;
  }[];
}

export interface ExportPage {
  readonly messages: readonly ExportedMessage[];
  /** Where the next page goes on; null at the end. */
  readonly next: number | null;
}

/** What stands in an export's file, in the order of acceptance. A copy has what is to be copied just now. */
export function exportPage(db: Db, { id, after }: PageParams): ExportPage {
  const found = exportById(db, { id });
  if (!found) return { messages: [], next: null };
  const untilMs = systemClock.monoMs() + PAGE_MS_MAX;
  const parts = new Parts(db, found);
  const messages: ExportedMessage[] = [];
  let bytes = 0;
  let examined = 0;
  for (const seq of parts.seqs(after)) {
    examined += 1;
    const message = parts.message(seq);
    if (message) {
      messages.push(message);
      bytes += message.content.payload.length;
    }
    const late = examined % CLOCK_EVERY_ROWS === 0 && systemClock.monoMs() > untilMs;
    if (bytes >= PAGE_BYTES_MAX || messages.length >= PAGE_MESSAGES_MAX || late)
      return { messages, next: seq };
  }
  return { messages, next: null };
}

interface DeliveryRow {
  readonly flow: string;
  readonly key: string;
  readonly lane: number;
  readonly state: DeliveryState;
  readonly attempts: number;
  readonly late: number;
  readonly resend: number;
  readonly replay: number | null;
  readonly reason: string | null;
  readonly updatedAtMs: number;
  readonly edit: number | null;
  readonly export: number | null;
}

/** The messages of one export, one by one. */
class Parts {
  readonly #db: Db;
  readonly #export: StoredExport;
  readonly #flows: ReadonlySet<string> | null;
  readonly #edits: EditTable;

  constructor(db: Db, of: StoredExport) {
    this.#db = db;
    this.#export = of;
    this.#flows = flowsOf(db, of.selection);
    this.#edits = new EditTable(db);
  }

  seqs(after: number): Iterable<number> {
    const { state, number, untilSeq } = this.#export;
    if (state !== "copied") {
      return this.#db
        .prepare(
          `SELECT DISTINCT seq FROM deliveries INDEXED BY deliveries_exported
           WHERE export IS NOT NULL AND export = ? AND seq > ? ORDER BY seq`,
        )
        .pluck()
        .iterate(number, after) as Iterable<number>;
    }
    const first = this.#db
      .prepare(
        `SELECT min(coalesce((SELECT min(head) FROM lanes WHERE open > 0), 9e15),
                    coalesce((SELECT min(seq) FROM deliveries INDEXED BY deliveries_dead WHERE state IN ('dead', 'unknown')), 9e15))`,
      )
      .pluck()
      .get() as number;
    return this.#db
      .prepare("SELECT seq FROM messages WHERE seq > ? AND seq >= ? AND seq <= ? ORDER BY seq")
      .pluck()
      .iterate(after, first, untilSeq) as Iterable<number>;
  }

  /** Null where nothing of it is meant. */
  message(seq: number): ExportedMessage | null {
    const deliveries = this.#deliveries(seq).filter((row) => this.#isMeant(row));
    if (deliveries.length === 0) return null;
    const content = this.#db
      .prepare(`SELECT ${MESSAGE_COLUMNS}, m.crc FROM messages m WHERE m.seq = ?`)
      .get(seq) as Content & { crc: number | null };
    const { device } = this.#export.selection;
    if (device !== undefined && content.device !== device) return null;
    // It would be given another sum over what is wrong.
    if (!isIntact(content)) return null;
    return {
      content,
      deliveries: deliveries.map((row) => this.#delivery(row, seq)),
      history: this.#history(seq),
    };
  }

  #deliveries(seq: number): DeliveryRow[] {
    return this.#db
      .prepare(
        `SELECT l.flow, l.key, d.lane, d.state, d.attempts, d.late, d.resend, d.replay, d.reason,
                d.updated_at AS updatedAtMs, d.edit, d.export
         FROM messages m, json_each(m.routes) r
         JOIN deliveries d ON d.lane = json_extract(r.value, '$[0]') AND d.seq = m.seq JOIN lanes l ON l.id = d.lane
         WHERE m.seq = ?`,
      )
      .all(seq) as DeliveryRow[];
  }

  #isMeant({ flow, state, export: of }: DeliveryRow): boolean {
    const { state: kind, number, selection } = this.#export;
    if (kind !== "copied") return of === number;
    if (isBuiltInFlow(flow) || (this.#flows && !this.#flows.has(flow))) return false;
    if (state === "dead") return selection.states !== "open";
    return (state === "waiting" || state === "unknown" || state === "sending") && selection.states !== "dead";
  }

  #delivery({ lane, late, resend, replay, edit: number, export: _, ...row }: DeliveryRow, seq: number) {
    const edit = number === null ? undefined : this.#edits.find(number, lane, seq);
    return {
      ...row,
      // In a copy: what is in the air may have been delivered.
      state: (row.state === "sending" ? "unknown" : row.state) as ExportedDelivery["state"],
      late: late === 1,
      resend: resend === 1,
      replay: replay !== null,
      edit: edit
        ? {
            atMs: edit.at,
            who: edit.who,
            reason: edit.reason,
            topic: edit.topic,
            payload: edit.payload,
            contentType: edit.content_type,
          }
        : null,
    };
  }

  #history(seq: number): ExportedMessage["history"] {
    const rows = this.#db
      .prepare(
        `SELECT h.at AS atMs, l.flow, h.kind, h.detail FROM history h LEFT JOIN lanes l ON l.id = h.lane
         WHERE h.seq = ? ORDER BY h.id DESC LIMIT ${HISTORY_MAX}`,
      )
      .all(seq) as ExportedMessage["history"];
    return rows.toReversed();
  }
}

export interface StoredImport {
  readonly number: number;
  readonly export: string;
  readonly state: "running" | "finished";
  readonly head: ExportHead;
  readonly total: number;
  readonly sum: string;
  readonly into: string | null;
  readonly who: string;
  readonly reason: string | null;
  readonly atMs: number;
  readonly endedAtMs: number | null;
  /** Lines taken, and the sum of theirs: where it goes on. */
  readonly taken: number;
  readonly chain: string;
  readonly stored: number;
  readonly added: number;
  readonly known: number;
  readonly left: readonly { readonly id: string; readonly why: string }[];
}

export type ImportRow = Omit<StoredImport, "head" | "left"> & {
  readonly head: string;
  readonly left: string;
};

export const IMPORT_COLUMNS = `number, export, state, head, total, sum, into_flow AS "into", who, reason, at AS atMs,
  ended_at AS endedAtMs, taken, chain, stored, added, known, left`;

export function importOf({ head, left, ...row }: ImportRow): StoredImport {
  return { ...row, head: JSON.parse(head), left: JSON.parse(left) };
}

/** Newest first. */
export function imports(db: Db, _params: object = {}): StoredImport[] {
  const rows = db.prepare(`SELECT ${IMPORT_COLUMNS} FROM imports ORDER BY number DESC LIMIT ${LISTED_MAX}`);
  return (rows.all() as ImportRow[]).map(importOf);
}

export function importByExport(db: Db, { id }: { readonly id: string }): StoredImport | null {
  const row = db.prepare(`SELECT ${IMPORT_COLUMNS} FROM imports WHERE export = ?`).get(id);
  return row ? importOf(row as ImportRow) : null;
}

export interface Arriving {
  /** Messages of these ids that are here already. */
  readonly known: number;
}

export function knownIds(db: Db, { ids }: { readonly ids: readonly string[] }): Arriving {
  const known = db
    .prepare("SELECT count(*) FROM messages WHERE id IN (SELECT value FROM json_each(?))")
    .pluck()
    .get(JSON.stringify(ids)) as number;
  return { known };
}
