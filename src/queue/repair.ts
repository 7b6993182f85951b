/**
 * Repairs: what is put right outside of the usual way of a delivery.
 *
 * Recovery: a crash left deliveries in the air, and nobody knows whether the backend has them: they become
 * unknown, and may be tried again at once as a resend.
 * Lost: what stands in for a message whose content damage took (salvage-books.ts) is dead until a person has seen it
 * (salvage-report.ts says how that is known), and discarded then: there is nothing in it to repair.
 * Redrive: dead letters and held unknowns go back to waiting, under their id and at their place in the lane. Commands
 * do not: what was to be done last week must not be done because somebody mended a backend (decide.ts).
 */
import type { Statement } from "better-sqlite3";
import { COMMAND_PREFIX } from "../core/command-message.ts";
import type { DeliveryState } from "../core/outcome.ts";
import { type Act, ActTable } from "./acts.ts";
import type { CommandRecord } from "./command-record.ts";
import { NO_SUM } from "./content-sum.ts";
import type { Db } from "./database.ts";
import type { LaneTable } from "./lanes.ts";
import type { Tally } from "./tally.ts";

const LEFT_IN_THE_AIR = "the gateway stopped between sending it and recording the answer";

const SEEN_TO_BE_LOST = "the damaged files were moved away: a person has seen that its content is lost";

export interface RedriveSelection {
  /** Of this flow alone. */
  readonly flow?: string;
  /** Of these messages alone. */
  readonly ids?: readonly string[];
  /** At most this many, oldest first. */
  readonly limit: number;
  /** Whose doing it is: on record in the same commit. */
  readonly act?: Act;
}

export interface OpenLane {
  readonly lane: number;
  readonly flow: string;
  readonly key: string;
  readonly open: number;
}

export interface RedriveResult {
  readonly redriven: number;
  readonly lanes: readonly OpenLane[];
}

interface Candidate {
  lane: number;
  seq: number;
  state: DeliveryState;
}

export class Repairer {
  readonly #lanes: LaneTable;
  readonly #tally: Tally;
  readonly #wallMs: () => number;
  readonly #record: CommandRecord;
  readonly #inTheAirCount: Statement;
  readonly #inTheAir: Statement;
  readonly #toUnknown: Statement;
  readonly #candidates: Statement;
  readonly #candidatesOf: Statement;
  readonly #toWaiting: Statement;
  readonly #deadOfLost: Statement;
  readonly #toDiscarded: Statement;
  readonly #note: Statement;
  readonly #acts: ActTable;

  constructor(db: Db, lanes: LaneTable, tally: Tally, wallMs: () => number, record: CommandRecord) {
    this.#record = record;
    this.#lanes = lanes;
    this.#tally = tally;
    this.#wallMs = wallMs;
    this.#acts = new ActTable(db);
    this.#inTheAirCount = db.prepare("SELECT sum(n) FROM tally WHERE what = 'sending'").pluck();
    this.#inTheAir = db.prepare("SELECT lane, seq FROM deliveries WHERE state = 'sending'");
    this.#toUnknown = db.prepare(
      "UPDATE deliveries SET state = 'unknown', resend = 1, due_at = 0, reason = ?, updated_at = ? WHERE lane = ? AND seq = ?",
    );
    const needsPerson = `(d.state = 'dead' OR (d.state = 'unknown' AND d.due_at IS NULL))
      AND l.flow NOT GLOB '${COMMAND_PREFIX}*'`;
    this.#candidates = db.prepare(
      `SELECT d.lane, d.seq, d.state FROM deliveries AS d JOIN lanes AS l ON l.id = d.lane
       WHERE d.state IN ('dead', 'unknown') AND ${needsPerson} AND (@flow IS NULL OR l.flow = @flow)
       ORDER BY d.seq LIMIT @limit`,
    );
    this.#candidatesOf = db.prepare(
      `SELECT d.lane, d.seq, d.state
       FROM messages AS m, json_each(m.routes) AS r
       JOIN deliveries AS d ON d.lane = json_extract(r.value, '$[0]') AND d.seq = m.seq
       JOIN lanes AS l ON l.id = d.lane
       WHERE m.id = @id AND ${needsPerson} AND (@flow IS NULL OR l.flow = @flow)`,
    );
    this.#toWaiting = db.prepare(
      "UPDATE deliveries SET state = 'waiting', attempts = 0, due_at = NULL, updated_at = ? WHERE lane = ? AND seq = ?",
    );
    this.#deadOfLost = db.prepare(
      `SELECT d.lane, d.seq FROM lost AS l CROSS JOIN messages AS m ON m.seq = l.seq,
              json_each(m.routes) AS r CROSS JOIN deliveries AS d ON d.lane = json_extract(r.value, '$[0]') AND d.seq = m.seq
       WHERE m.crc = ${NO_SUM} AND d.state = 'dead'`,
    );
    this.#toDiscarded = db.prepare(
      "UPDATE deliveries SET state = 'discarded', updated_at = ? WHERE lane = ? AND seq = ?",
    );
    this.#note = db.prepare("INSERT INTO history (seq, lane, at, kind, detail) VALUES (?, ?, ?, ?, ?)");
  }

  /** At start, before the first claim; returns how many there were. */
  recover(): number {
    // The tally saves reading every delivery where there is nothing to find.
    if (!this.#inTheAirCount.get()) return 0;
    const rows = this.#inTheAir.all() as { lane: number; seq: number }[];
    const wallMs = this.#wallMs();
    for (const { lane, seq } of rows) {
      this.#toUnknown.run(LEFT_IN_THE_AIR, wallMs, lane, seq);
      this.#note.run(seq, lane, wallMs, "unknown", LEFT_IN_THE_AIR);
      this.#tally.move(this.#lanes.get(lane)!.flow, "sending", "unknown");
      this.#record.reached(this.#lanes.get(lane)!, seq, "unknown", LEFT_IN_THE_AIR);
    }
    return rows.length;
  }

  /** At start; returns how many there were. */
  discardLost(): number {
    const rows = this.#deadOfLost.all() as { lane: number; seq: number }[];
    const wallMs = this.#wallMs();
    for (const { lane, seq } of rows) {
      this.#toDiscarded.run(wallMs, lane, seq);
      this.#note.run(seq, lane, wallMs, "discarded", SEEN_TO_BE_LOST);
      this.#tally.move(this.#lanes.get(lane)!.flow, "dead", "discarded");
    }
    return rows.length;
  }

  /** An act that changes nothing else here. */
  record(act: Act): undefined {
    this.#acts.write(act, {}, this.#wallMs());
  }

  redrive(selection: RedriveSelection): RedriveResult {
    const flow = selection.flow ?? null;
    const candidates = selection.ids
      ? [...new Set(selection.ids)]
          .flatMap((id) => this.#candidatesOf.all({ id, flow }) as Candidate[])
          .slice(0, selection.limit)
      : (this.#candidates.all({ flow, limit: selection.limit }) as Candidate[]);
    const touched = new Map<number, OpenLane>();
    for (const candidate of candidates) {
      const lane = this.#lanes.get(candidate.lane)!;
      const wallMs = this.#wallMs();
      this.#toWaiting.run(wallMs, candidate.lane, candidate.seq);
      const detail = `put back from ${candidate.state} to waiting`;
      this.#note.run(candidate.seq, candidate.lane, wallMs, "redrive", detail);
      this.#tally.move(lane.flow, candidate.state, "waiting");
      this.#lanes.change(lane, candidate.state === "dead" ? 1 : 0, Math.min(lane.head, candidate.seq));
      lane.front = Math.min(lane.front, candidate.seq);
      touched.set(lane.id, { lane: lane.id, flow: lane.flow, key: lane.key, open: lane.open });
    }
    const redriven = candidates.length;
    if (selection.act) this.#acts.write(selection.act, { redriven }, this.#wallMs());
    return { redriven, lanes: [...touched.values()] };
  }
}
