/**
 * The newest wins: a command that was never sent is given up for a newer one of its topic, where that one was sent to
 * replace it. Looked at when the newer one comes, and when an older one that was being tried comes back to wait.
 */
import type { Statement } from "better-sqlite3";
import type { Db } from "./database.ts";
import type { Ending } from "./ending.ts";
import type { Lane } from "./lanes.ts";

export interface SupersedingContext {
  readonly db: Db;
  readonly ending: Ending;
}

export class Superseding {
  readonly #ending: Ending;
  readonly #older: Statement;
  readonly #newer: Statement;

  constructor({ db, ending }: SupersedingContext) {
    this.#ending = ending;
    // `resend`: an earlier try's answer was lost, so it may have been done.
    this.#older = db
      .prepare(
        `SELECT d.seq FROM deliveries AS d CROSS JOIN messages AS m ON m.seq = d.seq
         WHERE d.lane = ? AND d.seq >= ? AND d.seq < ? AND d.state = 'waiting' AND d.resend = 0 AND m.topic = ?`,
      )
      .pluck();
    this.#newer = db
      .prepare(
        `SELECT m.id FROM deliveries AS d CROSS JOIN messages AS m ON m.seq = d.seq
         WHERE d.lane = ? AND d.seq > ? AND d.state = 'waiting'
           AND m.topic = (SELECT topic FROM messages WHERE seq = ?) AND json_extract(m.headers, '$.newestWins') IS NOT NULL
         ORDER BY d.seq DESC LIMIT 1`,
      )
      .pluck();
  }

  /** `seq` has come, to replace those of its topic that wait before it. */
  giveUpOlder(lane: Lane, seq: number, { id, topic }: { readonly id: string; readonly topic: string }): void {
    for (const older of this.#older.all(lane.id, lane.head, seq, topic) as number[]) {
      this.#giveUp(lane, older, id);
    }
  }

  /** `seq` waits again: while it was being tried, one that replaces it may have come. */
  giveUpIfOlder(lane: Lane, seq: number): void {
    const newer = this.#newer.get(lane.id, seq, seq) as string | undefined;
    if (newer !== undefined) this.#giveUp(lane, seq, newer);
  }

  #giveUp(lane: Lane, seq: number, newer: string): void {
    const detail = `superseded by ${newer}`;
    this.#ending.end(lane, seq, "waiting", {
      state: "discarded",
      kind: "cancelled",
      detail,
      event: "cancelled",
    });
  }
}
