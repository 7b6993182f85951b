/** A SessionLog on a real, durable SQLite file: one commit, fsynced, per write. */
import Database from "better-sqlite3";
import type { SessionChange, SessionLog, SessionRow } from "../../src/core/session.ts";

export class SqliteSessionLog implements SessionLog {
  readonly db: Database.Database;
  readonly #put;
  readonly #delete;
  readonly #clear;

  constructor(file: string) {
    this.db = new Database(file);
    this.db.pragma("journal_mode = WAL");
    this.db.pragma("synchronous = FULL");
    this.db.exec(
      `CREATE TABLE IF NOT EXISTS sessions (
         kind   TEXT NOT NULL CHECK (kind IN ('retained', 'subscription', 'outgoing', 'incoming', 'will')),
         client TEXT NOT NULL,
         key    TEXT NOT NULL,
         value  BLOB NOT NULL,
         PRIMARY KEY (kind, client, key)
       ) STRICT, WITHOUT ROWID`,
    );
    this.#put = this.db.prepare("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)");
    this.#delete = this.db.prepare("DELETE FROM sessions WHERE kind = ? AND client = ? AND key = ?");
    this.#clear = this.db.prepare("DELETE FROM sessions WHERE kind = ? AND client = ?");
  }

  async load(): Promise<SessionRow[]> {
    return this.rows();
  }

  async write(changes: readonly SessionChange[]): Promise<void> {
    this.db.transaction(() => this.apply(changes))();
  }

  rows(kind?: SessionRow["kind"]): SessionRow[] {
    const rows = this.db.prepare("SELECT * FROM sessions ORDER BY kind, client, key").all() as SessionRow[];
    return kind ? rows.filter((row) => row.kind === kind) : rows;
  }

  close(): void {
    if (this.db.open) this.db.close();
  }

  /** Within a transaction of the caller's. */
  protected apply(changes: readonly SessionChange[]): void {
    for (const change of changes) {
      if (change.op === "put") this.#put.run(change.kind, change.client, change.key, change.value);
      else if (change.op === "delete") this.#delete.run(change.kind, change.client, change.key);
      else this.#clear.run(change.kind, change.client);
    }
  }
}
