/**
 * Folds the write-ahead log into the store when it has grown to its limit.
 *
 * SQLite would do that by itself after a commit (wal_autocheckpoint), but passes over its failure in silence: on a
 * disk that cannot be written any more the log would grow until the disk is full, and nobody would have been told.
 * So it is asked for by name, and a failure of the disk comes out and ends the store like any other.
 *
 * A fold that finds no room in the store's file is not the end: the log has everything, and the next one tries again.
 */
import type { Statement } from "better-sqlite3";
import { type Db, PAGE_BYTES } from "./database.ts";

interface LogState {
  /** Pages in the log, and how many of them are in the store already. */
  readonly log: number;
  readonly checkpointed: number;
}

export class LogFolding {
  readonly #state: Statement;
  readonly #fold: Statement;
  readonly #pagesMax: number;

  constructor(db: Db, walBytesMax: number) {
    this.#state = db.prepare("PRAGMA wal_checkpoint(NOOP)");
    this.#fold = db.prepare("PRAGMA wal_checkpoint(PASSIVE)");
    this.#pagesMax = Math.ceil(walBytesMax / PAGE_BYTES);
  }

  /** After each commit, outside of any transaction. Readers are not waited for. */
  whenGrown(): void {
    const { log, checkpointed } = this.#state.get() as LogState;
    if (log >= this.#pagesMax && checkpointed < log) this.fold();
  }

  fold(): void {
    this.#fold.get();
  }
}
