/**
 * Repairs: what is put right outside of the usual way of a delivery.
 *
 * Recovery: a crash left deliveries in the air, and nobody knows whether the backend has them: they become
 * unknown, and may be tried again at once as a resend.
 * Lost: what stands in for a message whose content damage took (salvage-books.ts) is dead until a person has seen it
 * (salvage-report.ts says how that is known), and discarded then: there is nothing in it to repair.
 * By a person, who says which (selection.ts): dead letters and held unknowns are put back to waiting, under their id
 * and at their place in the lane, or discarded; what its target may have got without our knowing is said to be
 * delivered. What is being sent is nobody's to decide on: what comes of it is not known yet.
 */
import type { Statement } from "better-sqlite3";
import { cutReason } from "../core/limits.ts";
import type { DeliveryState } from "../core/outcome.ts";
import { type Act, ActTable } from "./acts.ts";
import type { CommandRecord } from "./command-record.ts";
import { NO_SUM } from "./content-sum.ts";
import type { Db } from "./database.ts";
import type { End, Ending } from "./ending.ts";
import type { Lane, LaneTable } from "./lanes.ts";
import { PutBack } from "./put-back.ts";
import { type Candidate, type Left, type Selected, type Selection, Selector } from "./selection.ts";
import type { Tally } from "./tally.ts";

const LEFT_IN_THE_AIR = "the gateway stopped between sending it and recording the answer";

const SEEN_TO_BE_LOST = "the damaged files were moved away: a person has seen that its content is lost";

export type RedriveSelection = Selection;

/** Whose word it is, and why they say so. */
export interface Word {
  readonly by: string;
  readonly why: string;
}

export interface OpenLane {
  readonly lane: number;
  readonly flow: string;
  readonly key: string;
  readonly open: number;
}

/** What a step of a repair came to. */
export interface Repaired {
  readonly count: number;
  /** Lanes whose head may be another one now. */
  readonly lanes: readonly OpenLane[];
  /** Where there may be more: the next step goes on after this sequence. */
  readonly next?: number;
  /** Of ids that were asked for: those of which nothing was taken. */
  readonly left?: readonly Left[];
}

export interface RedriveResult extends Omit<Repaired, "count"> {
  readonly redriven: number;
}

/** What a backend said that was asked whether it has a delivery whose answer was lost. */
export interface FoundOut {
  readonly lane: number;
  readonly seq: number;
  /** Of the state that it was in when the backend was asked; what has changed since is left as it is. */
  readonly updatedAtMs: number;
  readonly found: "has it" | "has it not" | "cannot say";
  readonly detail: string;
  readonly act: Act;
}

export type FoundOutResult =
  | { readonly kind: "noted"; readonly lane: OpenLane }
  /** It has gone on meanwhile. */
  | { readonly kind: "not now"; readonly state: DeliveryState | null };

export interface RepairContext {
  readonly db: Db;
  readonly lanes: LaneTable;
  readonly tally: Tally;
  readonly wallMs: () => number;
  readonly steadyMs: () => number;
  readonly record: CommandRecord;
  readonly ending: Ending;
}

export class Repairer {
  readonly #context: RepairContext;
  readonly #selector: Selector;
  readonly #inTheAirCount: Statement;
  readonly #inTheAir: Statement;
  readonly #toUnknown: Statement;
  readonly #putBack: PutBack;
  readonly #deadOfLost: Statement;
  readonly #note: Statement;
  readonly #acts: ActTable;

  constructor(context: RepairContext) {
    this.#context = context;
    const { db, lanes } = context;
    this.#selector = new Selector(db, lanes);
    this.#acts = new ActTable(db);
    this.#inTheAirCount = db.prepare("SELECT sum(n) FROM tally WHERE what = 'sending'").pluck();
    this.#inTheAir = db.prepare("SELECT lane, seq FROM deliveries WHERE state = 'sending'");
    this.#toUnknown = db.prepare(
      "UPDATE deliveries SET state = 'unknown', resend = 1, due_at = 0, reason = ?, updated_at = ? WHERE lane = ? AND seq = ?",
    );
    this.#putBack = new PutBack(context);
    this.#deadOfLost = db.prepare(
      `SELECT d.lane, d.seq FROM lost AS l CROSS JOIN messages AS m ON m.seq = l.seq,
              json_each(m.routes) AS r CROSS JOIN deliveries AS d ON d.lane = json_extract(r.value, '$[0]') AND d.seq = m.seq
       WHERE m.crc = ${NO_SUM} AND d.state = 'dead'`,
    );
    this.#note = db.prepare("INSERT INTO history (seq, lane, at, kind, detail) VALUES (?, ?, ?, ?, ?)");
  }

  /** One delivery in whatever state; undefined where there is none (any more). */
  one(lane: number, seq: number): Candidate | undefined {
    return this.#selector.one(lane, seq);
  }

  /** At start, before the first claim; returns how many there were. */
  recover(): number {
    // The tally saves reading every delivery where there is nothing to find.
    if (!this.#inTheAirCount.get()) return 0;
    const { lanes, tally, record } = this.#context;
    const rows = this.#inTheAir.all() as { lane: number; seq: number }[];
    const wallMs = this.#context.wallMs();
    for (const { lane, seq } of rows) {
      this.#toUnknown.run(LEFT_IN_THE_AIR, wallMs, lane, seq);
      this.#note.run(seq, lane, wallMs, "unknown", LEFT_IN_THE_AIR);
      tally.move(lanes.get(lane)!.flow, "sending", "unknown");
      record.reached(lanes.get(lane)!, seq, "unknown", LEFT_IN_THE_AIR);
    }
    return rows.length;
  }

  /** At start; returns how many there were. */
  discardLost(): number {
    const { lanes, ending } = this.#context;
    const rows = this.#deadOfLost.all() as { lane: number; seq: number }[];
    const end: End = { state: "discarded", kind: "discarded", detail: SEEN_TO_BE_LOST };
    for (const { lane, seq } of rows) ending.end(lanes.get(lane)!, seq, "dead", end);
    return rows.length;
  }

  /** An act that changes nothing else here. */
  record(act: Act): undefined {
    this.#acts.write(act, {}, this.#context.wallMs());
  }

  redrive(selection: RedriveSelection): RedriveResult {
    const selected = this.#selector.select(selection, needsPerson);
    for (const candidate of selected.found) this.putBack(candidate);
    const { count: redriven, ...rest } = this.#repaired(selection, selected, "redriven");
    return { redriven, ...rest };
  }

  discard(selection: Selection & { readonly word: Word }): Repaired {
    const { by, why } = selection.word;
    return this.#end(selection, needsPerson, "discarded", ({ state, reason }) => {
      const was = `${state}${reason === null ? "" : `: ${reason}`}`;
      return {
        state: "discarded",
        kind: "discarded",
        detail: cutReason(`discarded by ${by}: ${why} (was ${was})`),
      };
    });
  }

  /**
   * Its target has it, by somebody's evidence. By id this is also for one that would be tried again by itself: nobody
   * need wait for that. A plain rejection is no lost answer: its target has said that it has not got it.
   */
  markDelivered(selection: Selection & { readonly word: Word }): Repaired {
    const { by, why } = selection.word;
    const byId = selection.ids !== undefined;
    const detail = cutReason(`marked delivered by ${by}: ${why}`);
    return this.#end(
      selection,
      ({ state, held, resend }) => (state === "unknown" && (held || byId)) || (state === "dead" && resend),
      "delivered",
      () => ({ state: "delivered", kind: "delivered", detail }),
    );
  }

  /** As a flow with `onUnknown: probe` does with it: delivered, or back in line as what may have been sent before. */
  foundOut({ lane, seq, updatedAtMs, found, detail, act }: FoundOut): FoundOutResult {
    const candidate = this.one(lane, seq);
    if (candidate?.state !== "unknown" || candidate.updatedAtMs !== updatedAtMs || candidate.exported) {
      return { kind: "not now", state: candidate?.state ?? null };
    }
    const wallMs = this.#context.wallMs();
    this.#note.run(seq, lane, wallMs, "asked", detail);
    if (found === "has it") {
      const end: End = { state: "delivered", kind: "delivered", detail: cutReason(detail) };
      this.#context.ending.end(candidate.lane, seq, "unknown", end);
    } else if (found === "has it not") this.putBack(candidate);
    this.#acts.write(act, { found }, wallMs);
    return { kind: "noted", lane: openLane(candidate.lane) };
  }

  /** Back to waiting, with its tries forgotten and its history kept. */
  putBack({ lane, seq, state }: Candidate, detail = `put back from ${state} to waiting`): void {
    this.#putBack.one({ lane: lane.id, seq, state, kind: "redrive", detail });
  }

  #end(
    selection: Selection,
    takes: (candidate: Candidate) => boolean,
    what: string,
    endOf: (candidate: Candidate) => End,
  ): Repaired {
    const selected = this.#selector.select(selection, takes);
    for (const candidate of selected.found) {
      this.#context.ending.end(candidate.lane, candidate.seq, candidate.state, endOf(candidate));
    }
    return this.#repaired(selection, selected, what);
  }

  #repaired({ act }: Selection, { found, next, left }: Selected, what: string): Repaired {
    const count = found.length;
    if (act) this.#acts.write(act, { [what]: count }, this.#context.wallMs());
    const lanes = [...new Set(found.map(({ lane }) => lane))].filter(({ open }) => open > 0).map(openLane);
    return { count, lanes, next, left };
  }
}

export function openLane({ id, flow, key, open }: Lane): OpenLane {
  return { lane: id, flow, key, open };
}

/** Dead letters and held unknowns. */
function needsPerson({ state, held }: Candidate): boolean {
  return state === "dead" || held;
}
