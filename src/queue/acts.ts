/**
 * The record of acts: what people and programs did to the gateway, by whom, when, what, and why.
 *
 * Promise: an act that changes the store is on record in the very commit that makes it, so that neither is there
 * without the other. Rows are never changed; the oldest go when there are more than 100,000.
 */
import type { Statement } from "better-sqlite3";
import { REASON_CHARS_MAX } from "../core/limits.ts";
import type { Db } from "./database.ts";

/** As migrations/004-acts.sql has it. */
const ACTS_MAX = 100_000;
/** Ids and the like that an act is about; longer ones are cut. */
const DETAIL_CHARS_MAX = 4000;

export interface Act {
  /** Name of the token, or `local`. */
  readonly who: string;
  /** As the API calls the operation. */
  readonly what: string;
  readonly detail: Readonly<Record<string, unknown>>;
  readonly reason: string | null;
}

export class ActTable {
  readonly #insert: Statement;
  readonly #forget: Statement;

  constructor(db: Db) {
    this.#insert = db.prepare("INSERT INTO acts (at, who, what, detail, reason) VALUES (?, ?, ?, ?, ?)");
    this.#forget = db.prepare("DELETE FROM acts WHERE id <= ?");
  }

  /** `came`: what came of it. */
  write({ who, what, detail, reason }: Act, came: Readonly<Record<string, unknown>>, wallMs: number): void {
    const whole = JSON.stringify({ ...detail, ...came });
    const text =
      whole.length <= DETAIL_CHARS_MAX
        ? whole
        : JSON.stringify({ ...came, cut: whole.slice(0, DETAIL_CHARS_MAX) });
    const { lastInsertRowid } = this.#insert.run(
      wallMs,
      who,
      what,
      text,
      reason?.slice(0, REASON_CHARS_MAX) ?? null,
    );
    this.#forget.run(Number(lastInsertRowid) - ACTS_MAX);
  }
}
