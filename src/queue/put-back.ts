/**
 * A delivery goes back to waiting, under its message's id and at its place in the lane, and its history says so. Whoever
 * puts it back means it: its flow's ttl counts anew from then on.
 */
import type { Statement } from "better-sqlite3";
import type { DeliveryState } from "../core/outcome.ts";
import { isOpen } from "../core/outcome.ts";
import type { Db } from "./database.ts";
import type { Lane, LaneTable } from "./lanes.ts";
import type { Tally } from "./tally.ts";

export interface PutBackContext {
  readonly db: Db;
  readonly lanes: LaneTable;
  readonly tally: Tally;
  readonly wallMs: () => number;
  readonly steadyMs: () => number;
}

export interface PuttingBack {
  readonly lane: number;
  readonly seq: number;
  /** The state it is in. */
  readonly state: DeliveryState;
  /** Kind and detail of its history's entry. */
  readonly kind: string;
  readonly detail: string;
  /** The job that has it delivered again. */
  readonly replay?: number;
}

export class PutBack {
  readonly #context: PutBackContext;
  readonly #toWaiting: Statement;
  readonly #note: Statement;

  constructor(context: PutBackContext) {
    this.#context = context;
    this.#toWaiting = context.db.prepare(
      `UPDATE deliveries SET state = 'waiting', attempts = 0, due_at = NULL, updated_at = ?, replay = coalesce(?, replay),
         renewed_at = ? WHERE lane = ? AND seq = ?`,
    );
    this.#note = context.db.prepare(
      "INSERT INTO history (seq, lane, at, kind, detail) VALUES (?, ?, ?, ?, ?)",
    );
  }

  one({ lane: id, seq, state, kind, detail, replay }: PuttingBack): Lane {
    const { lanes, tally } = this.#context;
    const lane = lanes.get(id)!;
    const wallMs = this.#context.wallMs();
    const renewedAtMs = Math.trunc(this.#context.steadyMs());
    this.#toWaiting.run(wallMs, replay ?? null, renewedAtMs, id, seq);
    this.note(seq, id, kind, detail);
    tally.move(lane.flow, state, "waiting");
    this.stands(lane, seq, isOpen(state) ? 0 : 1);
    return lane;
  }

  /** One more, or the same one, waits in the lane at this place. */
  stands(lane: Lane, seq: number, more: 0 | 1): void {
    this.#context.lanes.change(lane, more, Math.min(lane.head, seq));
    lane.front = Math.min(lane.front, seq);
  }

  note(seq: number, lane: number, kind: string, detail: string): void {
    this.#note.run(seq, lane, this.#context.wallMs(), kind, detail);
  }
}
