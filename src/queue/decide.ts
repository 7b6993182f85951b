/**
 * What a person (or whoever sent it) decides on a command: to cancel one that is still queued, or to say what came of
 * one whose answer was lost. One that is being sent cannot be decided on: what comes of it is not known yet.
 */
import type { Statement } from "better-sqlite3";
import type { DeliveryState } from "../core/outcome.ts";
import type { Db } from "./database.ts";
import type { Ending } from "./ending.ts";
import type { LaneTable } from "./lanes.ts";
import { type OpenLane, openLane } from "./repair.ts";

export interface Decision {
  readonly id: string;
  /** `cancelled` takes a queued one, the other two an unknown one. */
  readonly as: "cancelled" | "done" | "not done";
  /** Who decides, and why. */
  readonly by: string;
  readonly reason: string | null;
}

export type DecisionResult =
  /** What stands behind it in its lane, or comes later, may go now. */
  | { readonly kind: "decided"; readonly lane: OpenLane }
  /** It is in another state than this decision is about. */
  | { readonly kind: "not now"; readonly state: DeliveryState }
  | { readonly kind: "not found" };

export interface DecideContext {
  readonly db: Db;
  readonly lanes: LaneTable;
  readonly ending: Ending;
}

export class Decider {
  readonly #context: DecideContext;
  readonly #find: Statement;

  constructor(context: DecideContext) {
    this.#context = context;
    const { db } = context;
    this.#find = db.prepare(
      `SELECT d.lane, d.seq, d.state FROM messages AS m, json_each(m.routes) AS r
       JOIN deliveries AS d ON d.lane = json_extract(r.value, '$[0]') AND d.seq = m.seq WHERE m.id = ?`,
    );
  }

  decide({ id, as, by, reason }: Decision): DecisionResult {
    const { lanes, ending } = this.#context;
    const rows = this.#find.all(id) as { lane: number; seq: number; state: DeliveryState }[];
    const found = rows.find(({ lane }) => lanes.get(lane)?.commands);
    if (!found) return { kind: "not found" };
    if (found.state !== (as === "cancelled" ? "waiting" : "unknown")) {
      return { kind: "not now", state: found.state };
    }
    const lane = lanes.get(found.lane)!;
    const [state, event] =
      as === "done" ? (["delivered", "acknowledged"] as const) : (["discarded", "cancelled"] as const);
    const what = as === "cancelled" ? "cancelled" : `said to be ${as}`;
    const detail = `${what} by ${by}${reason === null ? "" : `: ${reason}`}`;
    ending.end(lane, found.seq, found.state, { state, kind: event, detail, event, by });
    return { kind: "decided", lane: openLane(lane) };
  }
}
