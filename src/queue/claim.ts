/**
 * Claiming and settling: how deliveries go out to a target and what comes back is recorded.
 *
 * A claim moves the head of each lane asked for from waiting (or unknown, due again) to sending, in the
 * lane's order, and commits before anything is sent: what was in the air when the power failed is known
 * at the next start. Settling moves each from sending to what the target answered.
 *
 * A lane in order is read from its head, and its first delivery that may not go yet ends the claim. A lane
 * without order is read in two places, so that what is held back costs the rest nothing however long it
 * stays: those whose time has come (by index), then the fresh ones from the lane's front on.
 */
import type { Statement } from "better-sqlite3";
import { commandState } from "../core/command-message.ts";
import { type DeliveryState, isOpen } from "../core/outcome.ts";
import type { CommandRecord } from "./command-record.ts";
import { isIntact } from "./content-sum.ts";
import type { Db } from "./database.ts";
import { type EditRow, type EditTable, withEdit } from "./edits.ts";
import type { Expiry } from "./expiry.ts";
import { NEVER_DUE_MS } from "./exports.ts";
import type { Lane, LaneTable } from "./lanes.ts";
import { MESSAGE_COLUMNS, type MessageRow, messageOf } from "./message-row.ts";
import type {
  ClaimedDelivery,
  ClaimedLane,
  ClaimLane,
  ClaimReply,
  ClaimRequest,
  Settlement,
} from "./requests.ts";
import type { Superseding } from "./superseding.ts";
import type { Tally } from "./tally.ts";

export interface ClaimContext {
  readonly db: Db;
  readonly lanes: LaneTable;
  readonly tally: Tally;
  readonly bootOf: (number: number) => string;
  readonly wallMs: () => number;
  readonly expiry: Expiry;
  readonly edits: EditTable;
  readonly superseding: Superseding;
  readonly record: Pick<CommandRecord, "reached">;
}

/** Why a delivery is dead whose message on the disk is not the one that was accepted (content-sum.ts). */
const CONTENT_DAMAGED =
  "its content was damaged on the disk: its checksum is not that of what was accepted, so it is not sent";

interface Row extends MessageRow {
  state: DeliveryState;
  attempts: number;
  late: number;
  resend: number;
  due_at: number | null;
  expire_at: number | null;
  replay: number | null;
  renewed_at: number | null;
  crc: number | null;
  edit: number | null;
  export: number | null;
}

const EDIT_DAMAGED =
  "its edit was damaged or lost on the disk, so it is not sent; to edit it again or to discard it takes a person";

/** Not "LIMIT ?": for a bare parameter SQLite compiles the statement anew each time it is bound, to plan by its value. */
const LIMIT = "LIMIT ? + 0";

const ROWS = `SELECT d.state, d.attempts, d.late, d.resend, d.due_at, d.expire_at, d.edit, d.replay, d.renewed_at, d.export, m.crc, ${MESSAGE_COLUMNS}`;

export class Claimer {
  readonly #context: ClaimContext;
  readonly #openRows: Statement;
  readonly #dueRows: Statement;
  readonly #freshRows: Statement;
  readonly #nextDue: Statement;
  readonly #held: Statement;
  readonly #oldestHeldBack: Statement;
  readonly #setSending: Statement;
  readonly #setDead: Statement;
  readonly #settle: Statement;
  readonly #note: Statement;

  constructor(context: ClaimContext) {
    this.#context = context;
    const { db } = context;
    this.#openRows = db.prepare(
      `${ROWS} FROM deliveries AS d CROSS JOIN messages AS m ON m.seq = d.seq
       WHERE d.lane = ? AND d.seq >= ? AND d.state IN ('waiting', 'sending', 'unknown')
       ORDER BY d.seq ${LIMIT}`,
    );
    const heldBack = "deliveries AS d INDEXED BY deliveries_held_back";
    this.#dueRows = db.prepare(
      `${ROWS} FROM ${heldBack} CROSS JOIN messages AS m ON m.seq = d.seq
       WHERE d.lane = ? AND d.due_at IS NOT NULL AND d.due_at <= ? ORDER BY d.due_at ${LIMIT}`,
    );
    const fresh = "d.lane = ? AND d.seq >= ? AND d.state = 'waiting' AND d.due_at IS NULL";
    this.#freshRows = db.prepare(
      `${ROWS} FROM deliveries AS d CROSS JOIN messages AS m ON m.seq = d.seq
       WHERE ${fresh} ORDER BY d.seq ${LIMIT}`,
    );
    this.#nextDue = db
      .prepare(`SELECT min(d.due_at) FROM ${heldBack} WHERE d.lane = ? AND d.due_at IS NOT NULL`)
      .pluck();
    this.#held = db
      .prepare(
        `SELECT EXISTS (SELECT 1 FROM ${heldBack} WHERE d.lane = @lane AND d.due_at IS NULL AND d.state = 'unknown')
           OR EXISTS (SELECT 1 FROM ${heldBack} WHERE d.lane = @lane AND d.due_at IS NOT NULL AND d.export IS NOT NULL)`,
      )
      .pluck();
    this.#oldestHeldBack = db
      .prepare(
        `SELECT min(d.seq) FROM ${heldBack} WHERE d.lane = ? AND (d.due_at IS NOT NULL OR d.state = 'unknown')`,
      )
      .pluck();
    this.#setSending = db.prepare(
      "UPDATE deliveries SET state = 'sending', due_at = NULL, updated_at = ? WHERE lane = ? AND seq = ?",
    );
    this.#setDead = db.prepare(
      `UPDATE deliveries SET state = 'dead', due_at = NULL, updated_at = ?, reason = ? WHERE lane = ? AND seq = ?`,
    );
    this.#settle = db.prepare(
      `UPDATE deliveries SET state = ?, attempts = ?, resend = ?, due_at = ?, reason = ?, updated_at = ?
       WHERE lane = ? AND seq = ? AND state = 'sending'`,
    );
    this.#note = db.prepare("INSERT INTO history (seq, lane, at, kind, detail) VALUES (?, ?, ?, ?, ?)");
  }

  claim(request: ClaimRequest): ClaimReply {
    const deliveries: ClaimedDelivery[] = [];
    const lanes: ClaimedLane[] = [];
    let bytes = 0;
    const taking: Taking = {
      room: () => deliveries.length < request.limit && (bytes < request.bytesMax || bytes === 0),
      take: (delivery) => {
        bytes += delivery.message.payload.length;
        deliveries.push(delivery);
      },
      nowMs: request.nowMs,
      wallMs: this.#context.wallMs(),
    };
    for (const wanted of request.lanes) {
      const lane = this.#context.lanes.get(wanted.lane);
      if (!lane) continue;
      const limit = Math.min(wanted.limit, request.limit);
      lanes.push(
        wanted.unordered
          ? this.#claimUnordered(lane, limit, wanted, taking)
          : this.#claimInOrder(lane, limit, wanted, taking),
      );
    }
    return { lanes, deliveries };
  }

  #claimInOrder(lane: Lane, limit: number, wanted: ClaimLane, taking: Taking): ClaimedLane {
    const { expiry } = this.#context;
    const rows = this.#openRows.all(lane.id, lane.head, limit) as Row[];
    let expired = 0;
    let blockedUntilMs: number | null = null;
    let held = false;
    let head = rows[0]?.seq ?? lane.head;
    for (const row of rows) {
      if (row.state === "sending") break;
      held = row.export !== null;
      if (held) break;
      if (expiry.tooLate(lane, row, wanted, taking.nowMs)) {
        expired += 1;
        passFront(lane, row);
        if (head === row.seq) head = row.seq + 1;
        continue;
      }
      const damage = this.#damageOf(lane, row);
      if (damage !== null) {
        this.#setAside(lane, row, taking.wallMs, damage);
        passFront(lane, row);
        if (head === row.seq) head = row.seq + 1;
        continue;
      }
      held = row.state === "unknown" && row.due_at === null;
      if (row.due_at !== null && row.due_at > taking.nowMs) blockedUntilMs = row.due_at;
      if (held || blockedUntilMs !== null || !taking.room()) break;
      this.#take(lane, row, taking, wanted.noted);
      passFront(lane, row);
    }
    if (head !== lane.head) this.#context.lanes.change(lane, 0, head);
    return { lane: lane.id, open: lane.open, expired, blockedUntilMs, held };
  }

  #claimUnordered(lane: Lane, limit: number, wanted: ClaimLane, taking: Taking): ClaimedLane {
    const { expiry } = this.#context;
    const due = this.#dueRows.all(lane.id, taking.nowMs, limit) as Row[];
    const fresh = this.#freshRows.all(lane.id, lane.front, limit - due.length) as Row[];
    let more = due.length + fresh.length === limit;
    let expired = 0;
    let oldestTaken = Number.POSITIVE_INFINITY;
    for (const row of [...due, ...fresh]) {
      if (expiry.tooLate(lane, row, wanted, taking.nowMs)) expired += 1;
      else {
        const damage = this.#damageOf(lane, row);
        if (damage !== null) this.#setAside(lane, row, taking.wallMs, damage);
        else if (!taking.room()) {
          more = true;
          break;
        } else {
          oldestTaken = Math.min(oldestTaken, row.seq);
          this.#take(lane, row, taking, wanted.noted);
        }
      }
      if (row.due_at === null) passFront(lane, row);
    }
    const heldBack = this.#oldestHeldBack.get(lane.id) as number | null;
    const head = Math.min(lane.front, oldestTaken, heldBack ?? Number.POSITIVE_INFINITY);
    if (head !== lane.head) this.#context.lanes.change(lane, 0, head);
    const found = { lane: lane.id, open: lane.open, expired };
    if (more || oldestTaken < Number.POSITIVE_INFINITY)
      return { ...found, blockedUntilMs: null, held: false };
    const nextDueMs = this.#nextDue.get(lane.id) as number | null;
    const blockedUntilMs = nextDueMs === NEVER_DUE_MS ? null : nextDueMs;
    return { ...found, blockedUntilMs, held: this.#held.get({ lane: lane.id }) === 1 };
  }

  #take(lane: Lane, row: Row, taking: Taking, noted = false): void {
    this.#setSending.run(taking.wallMs, lane.id, row.seq);
    // Of an unknown it is to be found out first what became of it: that is no sending.
    if (noted && row.state === "waiting") this.#note.run(row.seq, lane.id, taking.wallMs, "sending", null);
    this.#context.tally.move(lane.flow, row.state, "sending");
    taking.take(this.#delivery(lane, row));
  }

  /** Why it cannot be sent; null where it is whole. */
  #damageOf(lane: Lane, row: Row): string | null {
    if (!isIntact(row)) return CONTENT_DAMAGED;
    return row.edit === null || this.#edited(lane, row) ? null : EDIT_DAMAGED;
  }

  #edited({ id }: Lane, { edit, seq }: Row): EditRow | undefined {
    return edit === null ? undefined : this.#context.edits.find(edit, id, seq);
  }

  #setAside(lane: Lane, row: Row, wallMs: number, damage: string): void {
    this.#setDead.run(wallMs, damage, lane.id, row.seq);
    this.#note.run(row.seq, lane.id, wallMs, "dead", damage);
    this.#context.tally.move(lane.flow, row.state, "dead");
    this.#context.lanes.change(lane, -1);
    this.#context.record.reached(lane, row.seq, "failed", damage);
  }

  #delivery(lane: Lane, row: Row): ClaimedDelivery {
    return {
      lane: lane.id,
      attempts: row.attempts,
      late: row.late === 1,
      resend: row.resend === 1 || row.state === "unknown",
      wasUnknown: row.state === "unknown",
      replay: row.replay !== null,
      steadyAtMs: row.renewed_at ?? row.steady_at,
      expireAtMs: row.expire_at,
      edited: row.edit !== null,
      message: messageOf(withEdit(row, this.#edited(lane, row)), this.#context.bootOf(row.boot)),
    };
  }

  /** Throws where a settlement names a delivery that is not being sent: that would be a defect of the relay. */
  settle(settlements: readonly Settlement[]): void {
    const { lanes, tally } = this.#context;
    const wallMs = this.#context.wallMs();
    for (const s of settlements) {
      const lane = lanes.get(s.lane);
      const changed = this.#settle.run(
        s.state,
        s.attempts,
        s.resend ? 1 : 0,
        s.dueAtMs,
        s.reason,
        wallMs,
        s.lane,
        s.seq,
      ).changes;
      if (!lane || changed !== 1) {
        throw new Error(`delivery ${s.lane}/${s.seq} was settled as ${s.state} but is not being sent`);
      }
      tally.move(lane.flow, "sending", s.state);
      if (!isOpen(s.state)) lanes.change(lane, -1);
      else if (s.state === "waiting" && s.dueAtMs === null) lane.front = Math.min(lane.front, s.seq);
      for (const { kind, atMs, detail } of s.trail ?? []) this.#note.run(s.seq, s.lane, atMs, kind, detail);
      if (s.note) this.#note.run(s.seq, s.lane, wallMs, s.note, s.reason);
      if (lane.commands) this.#putOnRecord(lane, s);
    }
  }

  #putOnRecord(lane: Lane, { seq, state, reason, resend, trail = [] }: Settlement): void {
    const { record, superseding } = this.#context;
    for (const { kind, atMs, detail } of trail) {
      if (kind === "sent") record.reached(lane, seq, "sent", detail, { atMs });
    }
    if (state === "waiting") {
      if (!resend) superseding.giveUpIfOlder(lane, seq);
      return;
    }
    const seenToBeDone = trail.some(({ kind }) => kind === "verified");
    record.reached(lane, seq, commandState(state, seenToBeDone), reason);
  }
}

interface Taking {
  readonly room: () => boolean;
  readonly take: (delivery: ClaimedDelivery) => void;
  readonly nowMs: number;
  readonly wallMs: number;
}

/** `row` is taken or expired, and so are all fresh ones of its lane before it. */
function passFront(lane: Lane, row: Row): void {
  lane.front = Math.max(lane.front, row.seq + 1);
}
