/**
 * A delivery that ends by somebody's word instead of its target's answer: discarded, cancelled, or said to be
 * delivered. Its state, history, figures and lane, and a command's record, change together, in the commit at hand.
 */
import type { Statement } from "better-sqlite3";
import type { TrailEvent } from "../core/command-message.ts";
import type { DeliveryState } from "../core/outcome.ts";
import { isOpen } from "../core/outcome.ts";
import type { CommandRecord } from "./command-record.ts";
import type { Db } from "./database.ts";
import type { Lane, LaneTable } from "./lanes.ts";
import type { Tally } from "./tally.ts";

export interface EndingContext {
  readonly db: Db;
  readonly lanes: LaneTable;
  readonly tally: Tally;
  readonly wallMs: () => number;
  readonly record: Pick<CommandRecord, "reached">;
}

export interface End {
  readonly state: Extract<DeliveryState, "delivered" | "discarded">;
  /** Kind of its entry in the history… */
  readonly kind: string;
  /** …and what that says; the delivery's reason from then on. */
  readonly detail: string;
  /** A command has reached this. */
  readonly event?: TrailEvent;
  /** Whose word it was, where a command's record is to name somebody else than its sender. */
  readonly by?: string;
}

export class Ending {
  readonly #context: EndingContext;
  readonly #set: Statement;
  readonly #note: Statement;

  constructor(context: EndingContext) {
    this.#context = context;
    const { db } = context;
    this.#set = db.prepare(
      `UPDATE deliveries SET state = ?, resend = 0, due_at = NULL, updated_at = ?, reason = ? WHERE lane = ? AND seq = ?`,
    );
    this.#note = db.prepare("INSERT INTO history (seq, lane, at, kind, detail) VALUES (?, ?, ?, ?, ?)");
  }

  /** `from` is the state that it is in; not `sending`, whose target has not spoken yet. */
  end(lane: Lane, seq: number, from: DeliveryState, { state, kind, detail, event, by }: End): void {
    const { tally, lanes, record } = this.#context;
    const wallMs = this.#context.wallMs();
    this.#set.run(state, wallMs, detail, lane.id, seq);
    this.#note.run(seq, lane.id, wallMs, kind, detail);
    tally.move(lane.flow, from, state);
    if (isOpen(from)) lanes.change(lane, -1);
    if (event) record.reached(lane, seq, event, detail, { by });
  }
}
