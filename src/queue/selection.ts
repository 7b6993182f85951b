/**
 * Which deliveries somebody means who repairs: by id, by flow, by the reason that they have in common, or all; of
 * those that need a person. Commands are none of them: what was to be done last week must not be done because
 * somebody mended a backend (decide.ts has their own way).
 *
 * Looked for in steps: one looks at a bounded number of rows and says where the next one goes on, so that a group of
 * ten among a hundred thousand dead letters keeps no acknowledgement waiting.
 */
import type { Statement } from "better-sqlite3";
import type { DeliveryState } from "../core/outcome.ts";
import type { Act } from "./acts.ts";
import type { Db } from "./database.ts";
import type { Lane, LaneTable } from "./lanes.ts";
import { NO_REASON, reasonPattern } from "./queries-reasons.ts";

/** Rows looked at in one step. */
const EXAMINED_MAX = 10_000;

export interface Selection {
  /** Of this flow alone. */
  readonly flow?: string;
  /** Of these messages alone. */
  readonly ids?: readonly string[];
  /** Of this group of reasons alone, as queries-reasons.ts calls it. */
  readonly group?: string;
  /** Go on after this sequence: `next` of the step before. */
  readonly after?: number;
  /** At most this many, oldest first. */
  readonly limit: number;
  /** Whose doing it is: on record in the same commit. */
  readonly act?: Act;
}

export interface Candidate {
  readonly lane: Lane;
  readonly seq: number;
  readonly state: DeliveryState;
  /** It waits for a person, not for its time. */
  readonly held: boolean;
  /** An earlier answer was lost: its target may have it. */
  readonly resend: boolean;
  /** It is held for an export (exports.ts), and nobody's to repair until that has ended. */
  readonly exported: boolean;
  readonly reason: string | null;
  /** Wall clock, epoch ms, of its last change of state. */
  readonly updatedAtMs: number;
}

/** An id that was asked for and of which nothing was taken: what its deliveries are; none where there is no such message. */
export interface Left {
  readonly id: string;
  readonly states: readonly DeliveryState[];
}

export interface Selected {
  readonly found: readonly Candidate[];
  /** Where there may be more: go on after this sequence. */
  readonly next?: number;
  readonly left?: readonly Left[];
}

interface Row {
  readonly lane: number;
  readonly seq: number;
  readonly state: DeliveryState;
  readonly due_at: number | null;
  readonly resend: number;
  readonly export: number | null;
  readonly reason: string | null;
  readonly updatedAtMs: number;
}

const COLUMNS = "d.lane, d.seq, d.state, d.due_at, d.resend, d.export, d.reason, d.updated_at AS updatedAtMs";

export class Selector {
  readonly #lanes: LaneTable;
  readonly #page: Statement;
  readonly #ofMessage: Statement;
  readonly #one: Statement;

  constructor(db: Db, lanes: LaneTable) {
    this.#lanes = lanes;
    this.#page = db.prepare(
      `SELECT ${COLUMNS} FROM deliveries AS d INDEXED BY deliveries_dead
       WHERE d.state IN ('dead', 'unknown') AND d.seq > ? ORDER BY d.seq, d.lane LIMIT ${EXAMINED_MAX}`,
    );
    this.#ofMessage = db.prepare(
      `SELECT ${COLUMNS} FROM messages AS m, json_each(m.routes) AS r
       JOIN deliveries AS d ON d.lane = json_extract(r.value, '$[0]') AND d.seq = m.seq WHERE m.id = ?`,
    );
    this.#one = db.prepare(`SELECT ${COLUMNS} FROM deliveries AS d WHERE d.lane = ? AND d.seq = ?`);
  }

  /** Those of the selection that `takes` says yes to. */
  select(selection: Selection, takes: (candidate: Candidate) => boolean): Selected {
    return selection.ids ? this.#byIds(selection, takes) : this.#step(selection, takes);
  }

  #byIds({ ids, limit, ...of }: Selection, takes: (candidate: Candidate) => boolean): Selected {
    const found: Candidate[] = [];
    const left: Left[] = [];
    for (const id of new Set(ids)) {
      const rows = (this.#ofMessage.all(id) as Row[]).map((row) => this.#candidate(row));
      const taken = rows.filter((row) => isOf(row, of) && takes(row)).slice(0, limit - found.length);
      found.push(...taken);
      if (taken.length === 0) left.push({ id, states: rows.map(({ state }) => state) });
    }
    return left.length === 0 ? { found } : { found, left };
  }

  /** One delivery in whatever state; undefined where there is none (any more). */
  one(lane: number, seq: number): Candidate | undefined {
    const row = this.#one.get(lane, seq) as Row | undefined;
    return row && this.#candidate(row);
  }

  #step({ after = 0, limit, ...of }: Selection, takes: (candidate: Candidate) => boolean): Selected {
    const rows = this.#page.all(after) as Row[];
    const found: Candidate[] = [];
    for (const row of rows) {
      const candidate = this.#candidate(row);
      if (!isOf(candidate, of) || !takes(candidate)) continue;
      // What is taken is no candidate any more, so that the next step may begin at the same message.
      if (found.length === limit) return { found, next: row.seq - 1 };
      found.push(candidate);
    }
    return rows.length < EXAMINED_MAX ? { found } : { found, next: rows.at(-1)!.seq - 1 };
  }

  #candidate({ lane, due_at, resend, export: of, ...row }: Row): Candidate {
    const held = row.state === "unknown" && due_at === null;
    return { ...row, lane: this.#lanes.get(lane)!, held, resend: resend === 1, exported: of !== null };
  }
}

function isOf(
  { lane, reason, exported }: Candidate,
  { flow, group }: Pick<Selection, "flow" | "group">,
): boolean {
  if (exported || lane.commands || (flow !== undefined && lane.flow !== flow)) return false;
  return group === undefined || reasonPattern(reason ?? NO_REASON) === reasonPattern(group);
}
