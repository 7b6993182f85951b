/**
 * What has waited too long: longer than its flow's ttl, or beyond a time of its own. It expires where a claim comes
 * upon it, and by sweeps where none does (its target is away, or its lane's head waits for its time).
 */
import type { Statement } from "better-sqlite3";
import type { DeliveryState } from "../core/outcome.ts";
import type { CommandRecord } from "./command-record.ts";
import type { Db } from "./database.ts";
import type { Lane, LaneTable } from "./lanes.ts";
import { type OpenLane, openLane } from "./repair.ts";
import type { ClaimLane } from "./requests.ts";
import type { Tally } from "./tally.ts";

/** Deliveries looked at in one read of a sweep, so that a lane with none overdue costs little. */
const OVERDUE_PAGE = 64;

const PAST_FLOWS_TTL = "waited longer than its flow's ttl";
const PAST_OWN_TIME = "its time was over before it could be sent";

export interface ExpireResult {
  readonly expired: number;
  /** Lanes whose head may have been among them: what stands behind it need not wait for its time any more. */
  readonly unblocked: readonly OpenLane[];
}

export interface ExpiryContext {
  readonly db: Db;
  readonly lanes: LaneTable;
  readonly tally: Tally;
  readonly wallMs: () => number;
  readonly record: Pick<CommandRecord, "reached">;
}

interface Aged {
  readonly seq: number;
  readonly state: DeliveryState;
  /** When its message was accepted; steady clock. */
  readonly steady_at: number;
  readonly expire_at: number | null;
  /** Somebody wants it delivered again, however old it is: the flow's ttl is not for it. */
  readonly replay: number | null;
  /** When a person put it back: the flow's ttl counts from then. */
  readonly renewed_at: number | null;
}

function bornMs({ renewed_at, steady_at }: Aged): number {
  return renewed_at ?? steady_at;
}

export class Expiry {
  readonly #context: ExpiryContext;
  readonly #delayed: Statement;
  readonly #fresh: Statement;
  readonly #outlived: Statement;
  readonly #setExpired: Statement;

  constructor(context: ExpiryContext) {
    this.#context = context;
    const { db } = context;
    // "? + 0" as in claim.ts.
    const aged = "SELECT d.seq, d.state, d.expire_at, d.replay, d.renewed_at, m.steady_at";
    this.#delayed = db.prepare(
      `${aged} FROM deliveries AS d INDEXED BY deliveries_held_back CROSS JOIN messages AS m ON m.seq = d.seq
       WHERE d.lane = ? AND d.due_at IS NOT NULL AND d.state = 'waiting' AND d.replay IS NULL AND d.export IS NULL
         AND coalesce(d.renewed_at, m.steady_at) < ? LIMIT ? + 0`,
    );
    this.#fresh = db.prepare(
      `${aged} FROM deliveries AS d CROSS JOIN messages AS m ON m.seq = d.seq
       WHERE d.lane = ? AND d.seq >= ? AND d.state = 'waiting' AND d.due_at IS NULL ORDER BY d.seq LIMIT ? + 0`,
    );
    this.#outlived = db.prepare(
      `SELECT d.lane, d.seq, d.state, d.expire_at, d.replay, d.renewed_at FROM deliveries AS d INDEXED BY deliveries_expiring
       WHERE d.expire_at IS NOT NULL AND d.state = 'waiting' AND d.expire_at <= ? ORDER BY d.expire_at LIMIT ? + 0`,
    );
    this.#setExpired = db.prepare(
      `UPDATE deliveries SET state = 'expired', due_at = NULL, updated_at = ?, reason = ? WHERE lane = ? AND seq = ?`,
    );
  }

  /** True where it is too late for it; it has expired then. */
  tooLate(lane: Lane, row: Aged, { expireBeforeMs }: ClaimLane, nowMs: number): boolean {
    if (row.state !== "waiting") return false;
    if (row.replay === null && bornMs(row) < expireBeforeMs) this.#expire(lane, row, PAST_FLOWS_TTL);
    else if (row.expire_at !== null && row.expire_at <= nowMs) this.#expire(lane, row, PAST_OWN_TIME);
    else return false;
    return true;
  }

  /** Those of a flow whose message was accepted before `beforeMs`: at most `limit`, the oldest of each lane first. */
  sweepFlow(flow: string, beforeMs: number, limit: number): ExpireResult {
    let expired = 0;
    const unblocked: OpenLane[] = [];
    for (const lane of this.#context.lanes.withOpen()) {
      if (expired >= limit) break;
      if (lane.flow !== flow) continue;
      const delayed = this.#sweepDelayed(lane, beforeMs, limit - expired);
      expired += delayed + this.#sweepFresh(lane, beforeMs, limit - expired - delayed);
      if (delayed > 0 && lane.open > 0) unblocked.push(openLane(lane));
    }
    return { expired, unblocked };
  }

  /** Those whose own time is over, in whatever flow; at most `limit`. */
  sweepOutlived(nowMs: number, limit: number): ExpireResult {
    const rows = this.#outlived.all(nowMs, limit) as (Aged & { lane: number })[];
    const touched = new Set<Lane>();
    for (const row of rows) {
      const lane = this.#context.lanes.get(row.lane)!;
      this.#expire(lane, row, PAST_OWN_TIME);
      touched.add(lane);
    }
    return { expired: rows.length, unblocked: [...touched].filter(({ open }) => open > 0).map(openLane) };
  }

  #sweepDelayed(lane: Lane, beforeMs: number, limit: number): number {
    const rows = this.#delayed.all(lane.id, beforeMs, limit) as Aged[];
    for (const row of rows) this.#expire(lane, row, PAST_FLOWS_TTL);
    return rows.length;
  }

  #sweepFresh(lane: Lane, beforeMs: number, limit: number): number {
    let expired = 0;
    let from = lane.front;
    let passed = true;
    while (expired < limit) {
      const page = Math.min(OVERDUE_PAGE, limit - expired);
      const rows = this.#fresh.all(lane.id, from, page) as Aged[];
      for (const row of rows) {
        from = row.seq + 1;
        const young = bornMs(row) >= beforeMs;
        if (row.replay !== null || (young && row.renewed_at !== null)) {
          passed = false;
          continue;
        }
        // Younger ones follow.
        if (young) return expired;
        this.#expire(lane, row, PAST_FLOWS_TTL);
        if (passed) lane.front = Math.max(lane.front, from);
        expired += 1;
      }
      if (rows.length < page) break;
    }
    return expired;
  }

  #expire(lane: Lane, { seq, state }: Pick<Aged, "seq" | "state">, why: string): void {
    const { tally, lanes, record, wallMs } = this.#context;
    this.#setExpired.run(wallMs(), why, lane.id, seq);
    tally.move(lane.flow, state, "expired");
    lanes.change(lane, -1);
    record.reached(lane, seq, "expired", why);
  }
}
