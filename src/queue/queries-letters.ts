/** A message's deliveries with all that a target would be given of each. */
import { COMMAND_PREFIX } from "../core/command-message.ts";
import type { Message } from "../core/message.ts";
import type { DeliveryState } from "../core/outcome.ts";
import type { Db } from "./database.ts";
import { EditTable, withEdit } from "./edits.ts";
import { MESSAGE_COLUMNS, type MessageRow, messageOf } from "./message-row.ts";

export interface Letter {
  readonly lane: number;
  readonly flow: string;
  /** Order key of its lane. */
  readonly key: string;
  readonly state: DeliveryState;
  /** It waits for a person. */
  readonly held: boolean;
  /** It is held for an export (exports.ts), and nobody's to repair until that has ended. */
  readonly exported: boolean;
  readonly attempts: number;
  readonly late: boolean;
  readonly resend: boolean;
  /** The edit in effect, which its message has; null for none. */
  readonly edit: number | null;
  readonly edited: boolean;
  readonly replay: boolean;
  /** Steady clock: from when its flow's ttl counts. */
  readonly steadyAtMs: number;
  readonly expireAtMs: number | null;
  /** Wall clock, epoch ms, of its last change of state. */
  readonly updatedAtMs: number;
  readonly message: Message;
}

export interface LettersParams {
  readonly id: string;
  /** On this flow alone. */
  readonly flow?: string;
}

/** Null where there is no such message; commands are none. */
export function letters(db: Db, { id, flow }: LettersParams): Letter[] | null {
  if (db.prepare("SELECT 1 FROM messages WHERE id = ?").get(id) === undefined) return null;
  const rows = db
    .prepare(
      `SELECT d.lane, l.flow, l.key, d.state, d.due_at, d.attempts, d.late, d.resend, d.expire_at, d.updated_at, d.edit,
              d.replay, d.export, d.renewed_at, b.boot AS boot_name, ${MESSAGE_COLUMNS}
       FROM messages AS m, json_each(m.routes) AS r
       JOIN deliveries AS d ON d.lane = json_extract(r.value, '$[0]') AND d.seq = m.seq
       JOIN lanes AS l ON l.id = d.lane LEFT JOIN boots AS b ON b.id = m.boot
       WHERE m.id = @id AND l.flow NOT GLOB '${COMMAND_PREFIX}*' AND (@flow IS NULL OR l.flow = @flow)`,
    )
    .all({ id, flow: flow ?? null }) as Row[];
  const edits = new EditTable(db);
  return rows.map((row) => ({
    lane: row.lane,
    flow: row.flow,
    key: row.key,
    state: row.state,
    held: row.state === "unknown" && row.due_at === null,
    exported: row.export !== null,
    attempts: row.attempts,
    late: row.late === 1,
    resend: row.resend === 1 || row.state === "unknown",
    edit: row.edit,
    edited: row.edit !== null,
    replay: row.replay !== null,
    steadyAtMs: row.renewed_at ?? row.steady_at,
    expireAtMs: row.expire_at,
    updatedAtMs: row.updated_at,
    // One that is damaged is shown as it was accepted; it is never sent so (claim.ts).
    message: messageOf(
      withEdit(row, row.edit === null ? undefined : edits.find(row.edit, row.lane, row.seq)),
      row.boot_name ?? "",
    ),
  }));
}

interface Row extends MessageRow {
  readonly lane: number;
  readonly flow: string;
  readonly key: string;
  readonly state: DeliveryState;
  readonly due_at: number | null;
  readonly attempts: number;
  readonly late: number;
  readonly resend: number;
  readonly expire_at: number | null;
  readonly edit: number | null;
  readonly replay: number | null;
  readonly export: number | null;
  readonly renewed_at: number | null;
  readonly updated_at: number;
  readonly boot_name: string | null;
}
