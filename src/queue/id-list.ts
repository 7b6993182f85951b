/**
 * A backend's list of ids on disk, however long it is, and what comes of holding a flow's own messages against it.
 * Memory is bounded; the file is SQLite's own for what is temporary: it has no name, and is gone with its connection,
 * also where the process is killed.
 */
import Database from "better-sqlite3";
import { errorText, HoldfastError } from "../core/errors.ts";
import type { LedgerPage, LedgerRow } from "./queries-ledger.ts";

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
  /** Delivered here, ever, and removed by retention since. */
  readonly pruned: number;
  readonly found: Readonly<Record<Finding, number>>;
}

export interface CompareRange {
  /** Accepted from (inclusive) to (exclusive): wall clock, epoch ms. */
  readonly fromMs: number;
  readonly toMs: number;
  /** When the backend made its list. */
  readonly madeAtMs: number;
}

export interface Found {
  readonly id: string;
  /** How often it is there, or the state that it is in here; null where the finding says it all. */
  readonly detail: string | null;
}

/** The list, and what a flow has, page by page from `after` on: held against each other. `list` has the findings then. */
export async function reconcile(
  list: IdList,
  ids: AsyncIterable<readonly string[]>,
  ledger: (after: number) => Promise<LedgerPage>,
): Promise<Compared> {
  for await (const some of ids) list.add(some);
  let pruned = 0;
  for (let after: number | null = 0; after !== null; ) {
    const page: LedgerPage = await ledger(after);
    list.compare(page.rows);
    pruned = page.prunedDelivered;
    after = page.next;
  }
  return list.finish(pruned);
}

export class IdList {
  /** No name: a temporary file of its own. */
  readonly #db = new Database("");
  readonly #range: CompareRange;
  readonly #add: Database.Statement;
  readonly #see: Database.Statement;
  readonly #find: Database.Statement;
  #sorted = false;
  #agreed = 0;
  #later = 0;
  #outside = 0;

  constructor(range: CompareRange) {
    this.#range = range;
    this.#db.pragma("journal_mode = MEMORY");
    this.#db.pragma("synchronous = OFF");
    this.#db.exec(
      `CREATE TABLE listed (id TEXT NOT NULL);
       CREATE TABLE ids (id TEXT PRIMARY KEY, n INTEGER NOT NULL, seen INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
       CREATE TABLE found (number INTEGER PRIMARY KEY, what TEXT NOT NULL, id TEXT NOT NULL, detail TEXT);`,
    );
    this.#add = this.#db.prepare("INSERT INTO listed (id) VALUES (?)");
    this.#see = this.#db.prepare("UPDATE ids SET seen = 1 WHERE id = ?");
    this.#find = this.#db.prepare("INSERT INTO found (what, id, detail) VALUES (?, ?, ?)");
  }

  /** What the backend has. */
  add(ids: readonly string[]): void {
    this.#write(() => {
      for (const id of ids) this.#add.run(id);
    });
  }

  /** What the flow has; once all of the backend's is there. */
  compare(rows: readonly LedgerRow[]): void {
    this.#write(() => {
      this.#sort();
      for (const row of rows) this.#compareOne(row);
    });
  }

  /** In one go: to keep an index while they come, in whatever order, takes several times as long. */
  #sort(): void {
    if (this.#sorted) return;
    this.#db.exec("INSERT INTO ids (id, n) SELECT id, count(*) FROM listed GROUP BY id; DELETE FROM listed;");
    this.#sorted = true;
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
  finish(pruned: number): Compared {
    this.#write(() => {
      this.#sort();
      this.#db.exec(
        `INSERT INTO found (what, id, detail) SELECT 'unexpected', id, NULL FROM ids WHERE seen = 0;
         INSERT INTO found (what, id, detail) SELECT 'doubled', id, n FROM ids WHERE n > 1;`,
      );
    });
    const count = this.#db.prepare("SELECT count(*) FROM found WHERE what = ?").pluck();
    const found = Object.fromEntries(FINDINGS.map((what) => [what, count.get(what)])) as Record<
      Finding,
      number
    >;
    const listed = this.#db.prepare("SELECT count(*) FROM ids").pluck().get() as number;
    return { listed, agreed: this.#agreed, later: this.#later, outside: this.#outside, pruned, found };
  }

  /** In the order in which they were found; `after` is the number of the last one of the page before. */
  page(what: Finding, limit: number, after = 0): (Found & { readonly number: number })[] {
    return this.#db
      .prepare("SELECT number, id, detail FROM found WHERE what = ? AND number > ? ORDER BY number LIMIT ?")
      .all(what, after, limit) as (Found & { number: number })[];
  }

  /** The first ones of each kind. */
  shown(limit: number): Record<Finding, readonly Found[]> {
    const all = FINDINGS.map((what) => [
      what,
      this.page(what, limit).map(({ id, detail }) => ({ id, detail })),
    ]);
    return Object.fromEntries(all);
  }

  /** Throws HF_SCRATCH where its file cannot grow. */
  #write(work: () => void): void {
    try {
      this.#db.transaction(work)();
    } catch (error) {
      const { code } = error as { readonly code?: unknown };
      if (!/^SQLITE_(FULL|CANTOPEN|IOERR)/.test(String(code))) throw error;
      const message = `the folder for temporary files does not take a list of this length: ${errorText(error)}`;
      throw new HoldfastError("HF_SCRATCH", message, {}, error);
    }
  }

  close(): void {
    this.#db.close();
  }
}
