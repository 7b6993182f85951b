/** What stands in an export's file, page by page within a budget. */
import type { Statement } from "better-sqlite3";
import { systemClock } from "../core/clock.ts";
import { isBuiltInFlow } from "../core/command-message.ts";
import type { DeliveryState } from "../core/outcome.ts";
import { type Content, isIntact } from "./content-sum.ts";
import type { Db } from "./database.ts";
import { EditTable } from "./edits.ts";
import { MESSAGE_COLUMNS } from "./message-row.ts";
import { exportById, flowsOf, type StoredExport } from "./queries-exports.ts";

const PAGE_MS_MAX = 25;
const CLOCK_EVERY_ROWS = 64;
/** Payloads on one page of a file. */
const PAGE_BYTES_MAX = 2 * 2 ** 20;
const PAGE_MESSAGES_MAX = 500;
/** What is told of a message's past there. */
const HISTORY_MAX = 50;

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
  readonly #content: Statement;
  readonly #deliveriesOf: Statement;
  readonly #historyOf: Statement;

  constructor(db: Db, of: StoredExport) {
    this.#db = db;
    this.#export = of;
    this.#flows = flowsOf(db, of.selection);
    this.#edits = new EditTable(db);
    this.#content = db.prepare(`SELECT ${MESSAGE_COLUMNS}, m.crc FROM messages m WHERE m.seq = ?`);
    this.#deliveriesOf = db.prepare(
      `SELECT l.flow, l.key, d.lane, d.state, d.attempts, d.late, d.resend, d.replay, d.reason,
              d.updated_at AS updatedAtMs, d.edit, d.export
       FROM messages m, json_each(m.routes) r
       JOIN deliveries d ON d.lane = json_extract(r.value, '$[0]') AND d.seq = m.seq JOIN lanes l ON l.id = d.lane
       WHERE m.seq = ?`,
    );
    this.#historyOf = db.prepare(
      `SELECT h.at AS atMs, l.flow, h.kind, h.detail FROM history h LEFT JOIN lanes l ON l.id = h.lane
       WHERE h.seq = ? ORDER BY h.id DESC LIMIT ${HISTORY_MAX}`,
    );
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
    const all = this.#deliveriesOf.all(seq) as DeliveryRow[];
    const deliveries = all.filter((row) => this.#isMeant(row));
    if (deliveries.length === 0) return null;
    const content = this.#content.get(seq) as Content & { crc: number | null };
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
    const rows = this.#historyOf.all(seq) as ExportedMessage["history"];
    return rows.toReversed();
  }
}
