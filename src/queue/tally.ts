/** Figures that move in the same commit as the rows they count; gathered in memory, written once a commit. */
import type { Statement } from "better-sqlite3";
import type { Db } from "./database.ts";

/** Flow name for figures of the gateway's door. */
export const DOOR = "";

export class Tally {
  readonly #deltas = new Map<string, Map<string, number>>();
  readonly #write: Statement;

  /** `table` is `tally` or `pruned`: both have the columns flow, what, n. */
  constructor(db: Db, table: "tally" | "pruned") {
    this.#write = db.prepare(
      `INSERT INTO ${table} (flow, what, n) VALUES (?, ?, ?)
       ON CONFLICT (flow, what) DO UPDATE SET n = n + excluded.n`,
    );
  }

  add(flow: string, what: string, n = 1): void {
    let ofFlow = this.#deltas.get(flow);
    if (!ofFlow) {
      ofFlow = new Map();
      this.#deltas.set(flow, ofFlow);
    }
    ofFlow.set(what, (ofFlow.get(what) ?? 0) + n);
  }

  move(flow: string, from: string, to: string, n = 1): void {
    if (from === to) return;
    this.add(flow, from, -n);
    this.add(flow, to, n);
  }

  flush(): void {
    for (const [flow, figures] of this.#deltas) {
      for (const [what, n] of figures) if (n !== 0) this.#write.run(flow, what, n);
    }
    this.#deltas.clear();
  }

  forget(): void {
    this.#deltas.clear();
  }
}
