/** Session rows (core/session.ts) in the store: kept, never interpreted. */
import type { Statement } from "better-sqlite3";
import type { SessionChange, SessionKind, SessionRow } from "../core/session.ts";
import type { Db } from "./database.ts";

export class SessionTable {
  readonly #put: Statement;
  readonly #delete: Statement;
  readonly #clear: Statement;
  readonly #value: Statement;
  readonly #all: Statement;

  constructor(db: Db) {
    this.#put = db.prepare(
      `INSERT INTO sessions (kind, client, key, value) VALUES (?, ?, ?, ?)
       ON CONFLICT (kind, client, key) DO UPDATE SET value = excluded.value`,
    );
    this.#delete = db.prepare("DELETE FROM sessions WHERE kind = ? AND client = ? AND key = ?");
    this.#clear = db.prepare("DELETE FROM sessions WHERE kind = ? AND client = ?");
    this.#value = db.prepare("SELECT value FROM sessions WHERE kind = ? AND client = ? AND key = ?").pluck();
    this.#all = db.prepare("SELECT kind, client, key, value FROM sessions ORDER BY kind, client, key");
  }

  apply(change: SessionChange): void {
    if (change.op === "put") this.#put.run(change.kind, change.client, change.key, change.value);
    else if (change.op === "delete") this.#delete.run(change.kind, change.client, change.key);
    else this.#clear.run(change.kind, change.client);
  }

  value(kind: SessionKind, client: string, key: string): Buffer | undefined {
    return this.#value.get(kind, client, key) as Buffer | undefined;
  }

  all(): SessionRow[] {
    return this.#all.all() as SessionRow[];
  }
}
