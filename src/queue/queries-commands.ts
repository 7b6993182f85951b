/** Commands: where one is, which there are, and the audit trail. */
import type { CommandValue, Precondition } from "../core/command.ts";
import {
  COMMAND_PREFIX,
  type CommandHeaders,
  type CommandOrder,
  type CommandState,
  commandFlow,
  commandState,
  isFinal,
  type TrailEvent,
  type UnknownPolicy,
} from "../core/command-message.ts";
import { parseJson } from "../core/json-pointer.ts";
import type { DeliveryState } from "../core/outcome.ts";
import type { Db } from "./database.ts";

export const COMMANDS_PAGE_MAX = 1000;
const COMMANDS_PAGE_DEFAULT = 50;
/** History rows shown; the newest of a longer one. */
const HISTORY_MAX = 200;

export interface CommandRow {
  readonly id: string;
  readonly device: string;
  readonly signal: string;
  readonly value: CommandValue;
  readonly state: CommandState;
  /** Nothing more will come of it. */
  readonly final: boolean;
  /** Evidence for what was done, or why it was not. */
  readonly detail: string | null;
  /** Its answer was lost, and its class leaves it to a person what to make of that. */
  readonly needsPerson: boolean;
  /** The door it came in by, who asked, and why. */
  readonly door: string;
  readonly by: string;
  readonly reason: string | null;
  /** Wall clock, epoch ms: when it was stored, and when it reached its state. */
  readonly queuedAtMs: number;
  readonly stateAtMs: number;
  /** While it is queued: until it expires. */
  readonly expiresInMs: number | null;
}

export interface CommandView extends CommandRow {
  readonly preconditions: readonly Precondition[];
  readonly onUnknown: UnknownPolicy;
  /** The id that its sender gave it. */
  readonly requestId: string | null;
  readonly fingerprint: string | null;
  /** How often it came again and was not taken twice. */
  readonly duplicates: number;
  /** When it reached each of its states; wall clock, epoch ms. */
  readonly times: Readonly<Partial<Record<CommandState, number>>>;
  /** Oldest first; being queued is not in it. */
  readonly history: readonly {
    readonly atMs: number;
    readonly kind: string;
    readonly detail: string | null;
  }[];
}

interface Row {
  readonly seq: number;
  readonly id: string;
  readonly device: string;
  readonly source: string;
  readonly payload: Buffer;
  readonly headers: string | null;
  readonly acceptedAtMs: number;
  readonly duplicates: number;
  readonly lane: number;
  readonly state: DeliveryState;
  readonly reason: string | null;
  readonly dueMs: number | null;
  readonly expireMs: number | null;
  readonly updatedAtMs: number;
  readonly verified: number;
}

const COLUMNS = `m.seq, m.id, m.device, m.source, m.payload, m.headers, m.accepted_at AS acceptedAtMs, m.duplicates,
  d.lane, d.state, d.reason, d.due_at AS dueMs, d.expire_at AS expireMs, d.updated_at AS updatedAtMs,
  EXISTS (SELECT 1 FROM history h WHERE h.seq = d.seq AND h.lane = d.lane AND h.kind = 'verified') AS verified`;

/** Null where there is no such command (any more). */
export function command(
  db: Db,
  { id, steadyNowMs }: { readonly id: string; readonly steadyNowMs: number },
): CommandView | null {
  const row = db
    .prepare(
      `SELECT ${COLUMNS} FROM messages m, json_each(m.routes) r
       JOIN deliveries d ON d.lane = json_extract(r.value, '$[0]') AND d.seq = m.seq
       JOIN lanes l ON l.id = d.lane WHERE m.id = ? AND l.flow GLOB '${COMMAND_PREFIX}*'`,
    )
    .get(id) as Row | undefined;
  if (!row) return null;
  const history = db
    .prepare(
      `SELECT at AS atMs, kind, detail FROM history WHERE seq = ? AND (lane = ? OR lane IS NULL)
       ORDER BY id DESC LIMIT ${HISTORY_MAX}`,
    )
    .all(row.seq, row.lane)
    .reverse() as { atMs: number; kind: string; detail: string | null }[];
  const { order, headers } = contentOf(row);
  return {
    ...rowOf(row, steadyNowMs),
    preconditions: order.preconditions ?? [],
    onUnknown: order.onUnknown ?? "hold",
    requestId: headers.requestId ?? null,
    fingerprint: headers.fingerprint ?? null,
    duplicates: row.duplicates,
    times: timesOf(row, history),
    history,
  };
}

export interface CommandsParams {
  readonly device?: string;
  readonly state?: CommandState;
  /** `next` of the page before. */
  readonly after?: number;
  readonly limit?: number;
  readonly steadyNowMs: number;
}

/** A page of commands, the newest first. */
export function commands(db: Db, { device, state, after, limit, steadyNowMs }: CommandsParams) {
  const count = Math.min(limit ?? COMMANDS_PAGE_DEFAULT, COMMANDS_PAGE_MAX);
  const rows = db
    .prepare(
      `SELECT * FROM (SELECT ${COLUMNS} FROM lanes l JOIN deliveries d ON d.lane = l.id JOIN messages m ON m.seq = d.seq
         WHERE ${device === undefined ? `l.flow GLOB '${COMMAND_PREFIX}*'` : "l.flow = @flow"}
           AND d.seq < @after AND (@delivery IS NULL OR d.state = @delivery))
       WHERE @verified IS NULL OR verified = @verified ORDER BY seq DESC LIMIT @limit`,
    )
    .all({
      flow: device === undefined ? null : commandFlow(device),
      after: after ?? Number.MAX_SAFE_INTEGER,
      delivery: state === undefined ? null : DELIVERY_OF[state],
      verified: state === "verified" ? 1 : state === "acknowledged" ? 0 : null,
      limit: count + 1,
    }) as Row[];
  const page = rows.slice(0, count);
  return {
    commands: page.map((row) => rowOf(row, steadyNowMs)),
    /** Cursor of the next page, or null at the end. */
    next: rows.length > count ? page.at(-1)!.seq : null,
  };
}

const DELIVERY_OF: Record<CommandState, DeliveryState> = {
  queued: "waiting",
  sent: "sending",
  acknowledged: "delivered",
  verified: "delivered",
  failed: "dead",
  expired: "expired",
  unknown: "unknown",
  cancelled: "discarded",
};

/** Commands to a device that are queued, being sent, or unknown. */
export function commandsOpen(db: Db, { device }: { readonly device: string }): number {
  return db
    .prepare("SELECT coalesce(sum(open), 0) FROM lanes WHERE flow = ?")
    .pluck()
    .get(commandFlow(device)) as number;
}

export interface TrailParams {
  readonly device?: string;
  readonly command?: string;
  readonly after?: number;
  readonly limit?: number;
}

export interface TrailRow {
  readonly number: number;
  readonly atMs: number;
  readonly event: TrailEvent;
  readonly command: string | null;
  readonly device: string | null;
  readonly signal: string | null;
  readonly value: CommandValue;
  readonly door: string;
  readonly by: string;
  readonly detail: string | null;
}

/** A page of the audit trail, the newest first. */
export function auditTrail(db: Db, { device, command: id, after, limit }: TrailParams) {
  const count = Math.min(limit ?? COMMANDS_PAGE_DEFAULT, COMMANDS_PAGE_MAX);
  const rows = db
    .prepare(
      `SELECT id AS number, at AS atMs, event, command, device, signal, value, door, by, detail FROM audit_trail
       WHERE id < @after AND (@device IS NULL OR device = @device) AND (@id IS NULL OR command = @id)
       ORDER BY id DESC LIMIT @limit`,
    )
    .all({
      after: after ?? Number.MAX_SAFE_INTEGER,
      device: device ?? null,
      id: id ?? null,
      limit: count + 1,
    }) as (Omit<TrailRow, "value"> & { value: string | null })[];
  const page = rows.slice(0, count);
  return {
    entries: page.map((row): TrailRow => {
      return {
        ...row,
        value: row.value === null ? null : (parseJson(Buffer.from(row.value)) as CommandValue),
      };
    }),
    next: rows.length > count ? page.at(-1)!.number : null,
  };
}

/** Of one whose content was lost to damage nothing is known. */
function contentOf(row: Row): { order: Partial<CommandOrder>; headers: Partial<CommandHeaders> } {
  return {
    order: (parseJson(row.payload) ?? {}) as Partial<CommandOrder>,
    headers: row.headers === null ? {} : JSON.parse(row.headers),
  };
}

function rowOf(row: Row, steadyNowMs: number): CommandRow {
  const { order, headers } = contentOf(row);
  const state = commandState(row.state, row.verified === 1);
  return {
    id: row.id,
    device: row.device,
    signal: order.signal ?? "",
    value: order.value ?? null,
    state,
    final: isFinal(state),
    detail: row.reason,
    needsPerson: row.state === "unknown" && row.dueMs === null,
    door: row.source,
    by: headers.by ?? "",
    reason: headers.reason ?? null,
    queuedAtMs: row.acceptedAtMs,
    stateAtMs: row.updatedAtMs,
    expiresInMs: state === "queued" && row.expireMs !== null ? Math.max(0, row.expireMs - steadyNowMs) : null,
  };
}

/** What an entry of the history says of the command's state. */
const STATE_OF_KIND: Readonly<Record<string, CommandState>> = {
  sending: "sent",
  sent: "sent",
  acknowledged: "acknowledged",
  verified: "verified",
  dead: "failed",
  unknown: "unknown",
  cancelled: "cancelled",
};

function timesOf(row: Row, history: CommandView["history"]): CommandView["times"] {
  const times: Partial<Record<CommandState, number>> = { queued: row.acceptedAtMs };
  for (const { kind, atMs } of history) {
    // It was claimed, and then could not be sent.
    if (kind === "outage") delete times.sent;
    const state = STATE_OF_KIND[kind];
    // Of several tries the last one counts, and of an unknown that stayed one, when it became one.
    if (state && !(state === "unknown" && times.unknown !== undefined)) times[state] = atMs;
  }
  times[commandState(row.state, row.verified === 1)] ??= row.updatedAtMs;
  return times;
}
