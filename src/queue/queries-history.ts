/** One message and everything that happened to it. */
import { wallClockTrusted } from "../core/clock.ts";
import type { DeliveryState } from "../core/outcome.ts";
import type { Db } from "./database.ts";
import { describeVersion } from "./queries-flows.ts";
import { knowsExports } from "./queries-held.ts";

/** Bytes of the payload that are shown. */
const PREVIEW_BYTES = 4096;
/** History rows shown; the newest of a longer one. */
const HISTORY_MAX = 1000;
/** How far a place in the line is counted. */
const BEHIND_MAX = 100_000;

export interface HistoryEntry {
  /** Wall clock, epoch ms. */
  readonly atMs: number;
  /** The flow whose delivery it concerns; null where it concerns the message itself. */
  readonly flow: string | null;
  /** As written by the queue and the relay: duplicate, retry, unknown, dead, redrive, … */
  readonly kind: string;
  readonly detail: string | null;
}

export interface DeliveryHistory {
  readonly flow: string;
  /** Digest of the flow's options when it took this message, and those options (secrets redacted). */
  readonly version: string | null;
  readonly config: unknown;
  readonly target: string | null;
  /** Order key of its lane. */
  readonly key: string | null;
  readonly state: DeliveryState;
  readonly attempts: number;
  readonly late: boolean;
  /** An earlier try's answer was lost: the backend may have it already. */
  readonly resend: boolean;
  readonly reason: string | null;
  /** Not before this it is tried again; null for at once, or never. */
  readonly dueInMs: number | null;
  /** Wall clock of the last change of state. */
  readonly updatedAtMs: number;
  /** Deliveries before it in its lane that are still open: it waits for them. Counted up to 100,000. */
  readonly behind: number;
  /** The export that it is held for (exports.ts). */
  readonly export: string | null;
  /** When that export began: wall clock, epoch ms. */
  readonly heldSinceMs: number | null;
  /** What people changed of it on this flow, oldest first: the last one is what its target is given. */
  readonly edits: readonly EditView[];
}

/** A message as somebody has edited it; `message` has it as it was accepted. */
export interface EditView {
  readonly edit: number;
  /** Wall clock, epoch ms. */
  readonly atMs: number;
  readonly who: string;
  readonly reason: string;
  readonly topic: string;
  readonly contentType: string | null;
  readonly payloadBytes: number;
  readonly preview: MessageHistory["message"]["preview"];
}

export interface MessageHistory {
  readonly message: {
    readonly seq: number;
    readonly id: string;
    readonly device: string;
    readonly source: string;
    readonly topic: string;
    readonly contentType: string | null;
    readonly qos: 0 | 1 | 2;
    readonly retain: boolean;
    readonly producedAtMs: number | null;
    readonly acceptedAtMs: number;
    readonly clockTrusted: boolean;
    readonly ageMs: number;
    readonly boot: string;
    readonly traceparent: string | null;
    readonly headers: Readonly<Record<string, string>>;
    readonly duplicates: number;
    readonly payloadBytes: number;
    /** The payload's beginning: as text where it is valid UTF-8, else as hexadecimal. */
    readonly preview: { readonly form: "text" | "hex"; readonly text: string; readonly cut: boolean };
  };
  readonly deliveries: readonly DeliveryHistory[];
  /** Oldest first. Being accepted and delivered at the first try is in the rows above, not here. */
  readonly history: readonly HistoryEntry[];
  /** True where older entries were left out. */
  readonly historyCut: boolean;
}

export interface MessageHistoryParams {
  /** The message's id; its sequence number (`17` or `#17`) where no message has that as its id. */
  readonly id: string;
  readonly steadyNowMs: number;
}

/** Null where the store has no such message (any more). */
export function messageHistory(db: Db, { id, steadyNowMs }: MessageHistoryParams): MessageHistory | null {
  const row = findMessage(db, id);
  if (!row) return null;
  const history = db
    .prepare(
      `SELECT h.at AS atMs, l.flow, h.kind, h.detail
       FROM history h LEFT JOIN lanes l ON l.id = h.lane
       WHERE h.seq = ? ORDER BY h.id DESC LIMIT ?`,
    )
    .all(row.seq, HISTORY_MAX + 1) as HistoryEntry[];
  const { preview, retain, headers, routes, steadyAtMs, ...message } = row;
  return {
    message: {
      ...message,
      retain: retain === 1,
      // By the message, not by the boot, as claims decide it: the time may be learnt, or lost, while the gateway runs.
      clockTrusted: wallClockTrusted(row.acceptedAtMs),
      ageMs: Math.max(0, steadyNowMs - steadyAtMs),
      headers: headers === null ? {} : JSON.parse(headers),
      preview: previewOf(preview, row.payloadBytes),
    },
    deliveries: (JSON.parse(routes) as [number, number][]).flatMap(
      ([lane, version]) => deliveryOf(db, row.seq, lane, version, steadyNowMs) ?? [],
    ),
    history: history.slice(0, HISTORY_MAX).reverse(),
    historyCut: history.length > HISTORY_MAX,
  };
}

interface MessageRow
  extends Omit<MessageHistory["message"], "retain" | "clockTrusted" | "ageMs" | "headers" | "preview"> {
  readonly retain: number;
  readonly steadyAtMs: number;
  readonly headers: string | null;
  readonly routes: string;
  readonly preview: Buffer;
}

function findMessage(db: Db, id: string): MessageRow | undefined {
  const find = (column: "id" | "seq") =>
    db.prepare(
      `SELECT m.seq, m.id, m.device, m.source, m.topic, m.content_type AS contentType, m.qos, m.retain,
              m.produced_at AS producedAtMs, m.accepted_at AS acceptedAtMs, m.steady_at AS steadyAtMs,
              b.boot, m.traceparent, m.headers, m.duplicates, m.routes,
              length(m.payload) AS payloadBytes, substr(m.payload, 1, ${PREVIEW_BYTES}) AS preview
       FROM messages m JOIN boots b ON b.id = m.boot WHERE m.${column} = ?`,
    );
  const byId = find("id").get(id) as MessageRow | undefined;
  const seq = /^#?(\d{1,15})$/.exec(id)?.[1];
  return byId ?? (seq ? (find("seq").get(Number(seq)) as MessageRow | undefined) : undefined);
}

type DeliveryRow = Pick<DeliveryHistory, "state" | "attempts" | "reason" | "updatedAtMs"> & {
  late: number;
  resend: number;
  dueMs: number | null;
};

function exportOf(
  db: Db,
  lane: number,
  seq: number,
): { readonly id: string; readonly atMs: number } | undefined {
  if (!knowsExports(db)) return undefined;
  return db
    .prepare(
      "SELECT e.id, e.at AS atMs FROM deliveries d JOIN exports e ON e.number = d.export WHERE d.lane = ? AND d.seq = ?",
    )
    .get(lane, seq) as { id: string; atMs: number } | undefined;
}

function deliveryOf(
  db: Db,
  seq: number,
  lane: number,
  versionId: number,
  steadyNowMs: number,
): DeliveryHistory | null {
  const row = db
    .prepare(
      `SELECT state, attempts, late, resend, due_at AS dueMs, updated_at AS updatedAtMs, reason
       FROM deliveries WHERE lane = ? AND seq = ?`,
    )
    .get(lane, seq) as DeliveryRow | undefined;
  if (!row) return null;
  const version = db.prepare("SELECT flow, hash, config FROM flow_versions WHERE id = ?").get(versionId) as
    | { flow: string; hash: string; config: string }
    | undefined;
  const place = db.prepare("SELECT flow, key, head FROM lanes WHERE id = ?").get(lane) as
    | { flow: string; key: string; head: number }
    | undefined;
  const { dueMs, late, resend, ...delivery } = row;
  const described = describeVersion(version);
  const exported = exportOf(db, lane, seq);
  const waitsInLine = row.state === "waiting" && place && described.orderBy !== "none";
  return {
    flow: version?.flow ?? place?.flow ?? "(unknown flow)",
    version: described.version,
    config: version ? JSON.parse(version.config) : null,
    target: described.target,
    key: place?.key ?? null,
    ...delivery,
    late: late === 1,
    resend: resend === 1,
    dueInMs: dueMs === null || exported ? null : Math.max(0, dueMs - steadyNowMs),
    behind: waitsInLine ? countBehind(db, lane, place.head, seq) : 0,
    export: exported?.id ?? null,
    heldSinceMs: exported?.atMs ?? null,
    edits: editsOf(db, lane, seq),
  };
}

function editsOf(db: Db, lane: number, seq: number): EditView[] {
  // With the gateway down the store may be one of an earlier version.
  if (!db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'edits'").get()) return [];
  const rows = db
    .prepare(
      `SELECT id AS edit, at AS atMs, who, reason, topic, content_type AS contentType,
              length(payload) AS payloadBytes, substr(payload, 1, ${PREVIEW_BYTES}) AS beginning
       FROM edits WHERE seq = ? AND lane = ? ORDER BY id`,
    )
    .all(seq, lane) as (Omit<EditView, "preview"> & { readonly beginning: Buffer })[];
  return rows.map(({ beginning, ...edit }) => ({
    ...edit,
    preview: previewOf(beginning, edit.payloadBytes),
  }));
}

function countBehind(db: Db, lane: number, head: number, seq: number): number {
  return db
    .prepare(
      `SELECT count(*) FROM (SELECT 1 FROM deliveries
       WHERE lane = ? AND seq >= ? AND seq < ? AND state IN ('waiting', 'sending', 'unknown') LIMIT ${BEHIND_MAX})`,
    )
    .pluck()
    .get(lane, head, seq) as number;
}

function previewOf(bytes: Buffer, payloadBytes: number): MessageHistory["message"]["preview"] {
  const cut = bytes.length < payloadBytes;
  const text = utf8Of(bytes, cut);
  return text === null
    ? {
        form: "hex",
        text: bytes.subarray(0, PREVIEW_BYTES / 8).toString("hex"),
        cut: bytes.length > PREVIEW_BYTES / 8 || cut,
      }
    : { form: "text", text, cut };
}

/** The bytes as text, or null where they are none; a character that the cut went through is left out. */
export function utf8Of(bytes: Buffer, cut: boolean): string | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: cut });
    return text.includes("\u0000") ? null : text;
  } catch {
    return null;
  }
}
