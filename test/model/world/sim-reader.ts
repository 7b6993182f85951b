/** The reader thread without a thread: the same questions, asked of the store's own connection between two commits. */
import type { Db } from "../../../src/queue/database.ts";
import { type QueryName, type QueryParams, type QueryResult, runQuery } from "../../../src/queue/queries.ts";
import type { Querying } from "../../../src/queue/reader.ts";
import { isCrash } from "./sim-disk.ts";
import type { VirtualTime } from "./virtual-time.ts";

const ANSWER_MS = 2;

export interface SimReaderParts {
  readonly time: VirtualTime;
  /** The gateway that it belongs to. */
  readonly process: { readonly dead: boolean };
  readonly db: () => Db;
  /** The disk killed the process. */
  readonly onDeath: () => void;
}

export class SimReader implements Querying {
  readonly #parts: SimReaderParts;

  constructor(parts: SimReaderParts) {
    this.#parts = parts;
  }

  query<N extends QueryName>(name: N, params: QueryParams<N>): Promise<QueryResult<N>> {
    const { time, process, db, onDeath } = this.#parts;
    return new Promise((resolve, reject) => {
      time.after(ANSWER_MS, () => {
        if (process.dead) return;
        try {
          resolve(runQuery(db(), name, params));
        } catch (error) {
          if (isCrash(error)) onDeath();
          else reject(error);
        }
      });
    });
  }
}
