/**
 * A backend's list of ids on disk, however long it is, and what comes of holding a flow's own messages against it.
 * Memory is bounded; the file is a scratch table in a folder of its own, and gone afterwards.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import type { LedgerRow } from "./queries-ledger.ts";

export const FINDINGS = ["missing", "doubled", "unexpected", "not delivered here"] as const;
export type Finding = (typeof FINDINGS)[number];

export interface Compared {
  /** Listed by the backend, each id once. */
  readonly listed: number;
  /** Delivered here within the time, and listed there. */
  readonly agreed: number;
  /** Delivered here after the list was made, and not on it: it says nothing of them. */
  readonly later: number;
  /** Listed there, and here outside of the time asked about. */
  readonly outside: number;
  readonly found: Readonly<Record<Finding, number>>;
}

export interface CompareRange {
  /** Accepted from (inclusive) to (exclusive): wall clock, epoch ms. */
  readonly fromMs: number;
  readonly toMs: number;
  /** When the backend made its list. */
  readonly madeAtMs: number;
}

export class IdList {
  readonly #folder = mkdtempSync(join(tmpdir(), "holdfast-ids-"));
  readonly #db: Database.Database;
  readonly #range: CompareRange;
  readonly #add: Database.Statement;
  readonly #see: Database.Statement;
  readonly #find: Database.Statement;
  #agreed = 0;
  #later = 0;
  #outside = 0;

  constructor(range: CompareRange) {
    this.#range = range;
    this.#db = new Database(join(this.#folder, "ids.db"));
    this.#db.pragma("journal_mode = OFF");
    this.#db.pragma("synchronous = OFF");
    this.#db.exec(
      `CREATE TABLE ids (id TEXT PRIMARY KEY, n INTEGER NOT NULL, seen INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
       CREATE TABLE found (number INTEGER PRIMARY KEY, what TEXT NOT NULL, id TEXT NOT NULL, detail TEXT);`,
    );
    this.#add = this.#db.prepare(
      "INSERT INTO ids (id, n) VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET n = n + 1",
    );
    this.#see = this.#db.prepare("UPDATE ids SET seen = 1 WHERE id = ?");
    this.#find = this.#db.prepare("INSERT INTO found (what, id, detail) VALUES (?, ?, ?)");
  }

  /** What the backend has. */
  add(ids: readonly string[]): void {
    this.#db.transaction(() => {
      for (const id of ids) this.#add.run(id);
    })();
  }

  /** What the flow has; once all of the backend's is there. */
  compare(rows: readonly LedgerRow[]): void {
    this.#db.transaction(() => {
      for (const row of rows) this.#compareOne(row);
    })();
  }

  #compareOne({ id, state, acceptedAtMs, updatedAtMs }: LedgerRow): void {
    const { fromMs, toMs, madeAtMs } = this.#range;
    const listed = this.#see.run(id).changes === 1;
    if (acceptedAtMs < fromMs || acceptedAtMs >= toMs) {
      if (listed) this.#outside += 1;
    } else if (listed) {
      if (state === "delivered") this.#agreed += 1;
      else this.#find.run("not delivered here", id, state);
    } else if (state === "delivered") {
      if (updatedAtMs > madeAtMs) this.#later += 1;
      else this.#find.run("missing", id, null);
    }
  }

  /** Once all of the flow's has been compared. */
  finish(): Compared {
    this.#db.exec(
      `INSERT INTO found (what, id, detail) SELECT 'unexpected', id, NULL FROM ids WHERE seen = 0;
       INSERT INTO found (what, id, detail) SELECT 'doubled', id, n FROM ids WHERE n > 1;`,
    );
    const count = this.#db.prepare("SELECT count(*) FROM found WHERE what = ?").pluck();
    const found = Object.fromEntries(FINDINGS.map((what) => [what, count.get(what)])) as Record<
      Finding,
      number
    >;
    const listed = this.#db.prepare("SELECT count(*) FROM ids").pluck().get() as number;
    return { listed, agreed: this.#agreed, later: this.#later, outside: this.#outside, found };
  }

  /** In the order in which they were found; `after` is the number of the last one of the page before. */
  page(what: Finding, limit: number, after = 0): { number: number; id: string; detail: string | null }[] {
    return this.#db
      .prepare("SELECT number, id, detail FROM found WHERE what = ? AND number > ? ORDER BY number LIMIT ?")
      .all(what, after, limit) as { number: number; id: string; detail: string | null }[];
  }

  close(): void {
    this.#db.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
