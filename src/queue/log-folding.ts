/**
 * Folds the write-ahead log into the store when it has grown to its limit.
 *
 * SQLite would do that by itself after a commit (wal_autocheckpoint), but passes over its failure in silence: on a
 * disk that cannot be written any more the log would grow until the disk is full, and nobody would have been told.
 * So it is asked for by name, and a failure of the disk comes out and ends the store like any other.
 *
 * A fold that finds no room in the store's file is not the end: the log has everything, and the next one tries again.
 *
 * A log that is folded is written again from its head, but not while somebody reads from it: it then grows on. Where
 * there is room that does not matter.
 */
import type { Statement } from "better-sqlite3";
import { type Db, PAGE_BYTES } from "./database.ts";

interface LogState {
  /** 1 where a reader was in the way. */
  readonly busy: number;
  /** Pages in the log, and how many of them are in the store already. */
  readonly log: number;
  readonly checkpointed: number;
}

export class LogFolding {
  readonly #state: Statement;
  readonly #fold: Statement;
  readonly #foldWhole: Statement;
  readonly #pagesMax: number;
  #unfoldedPages = 0;

  constructor(db: Db, walBytesMax: number) {
    this.#state = db.prepare("PRAGMA wal_checkpoint(NOOP)");
    this.#fold = db.prepare("PRAGMA wal_checkpoint(PASSIVE)");
    this.#foldWhole = db.prepare("PRAGMA wal_checkpoint(RESTART)");
    this.#pagesMax = Math.ceil(walBytesMax / PAGE_BYTES);
  }

  /** What was in the log and not in the store when last looked at. */
  get unfoldedBytes(): number {
    return this.#unfoldedPages * PAGE_BYTES;
  }

  /** After each commit, outside of any transaction. Readers are not waited for. */
  whenGrown(): void {
    const { log, checkpointed } = this.#look(this.#state);
    if (log >= this.#pagesMax && checkpointed < log) this.#look(this.#fold);
  }

  /** All of it, so that the next commit begins at the log's head. False where a reader would not end. */
  foldWhole(): boolean {
    return this.#look(this.#foldWhole).busy === 0;
  }

  #look(pragma: Statement): LogState {
    const state = pragma.get() as LogState;
    this.#unfoldedPages = state.log - state.checkpointed;
    return state;
  }
}
