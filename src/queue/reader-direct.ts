/** The same questions as the reader's, answered on the caller's own thread: for the CLI with the gateway down. */
import { join } from "node:path";
import { type Db, openForReading, STORE_FILE } from "./database.ts";
import { type QueryName, type QueryParams, type QueryResult, runQuery } from "./queries.ts";
import type { Querying } from "./reader.ts";

export class DirectReader implements Querying {
  readonly file: string;
  readonly #db: Db;

  /** Throws HF_NOT_FOUND where there is no store, otherwise HF_STORE_*. */
  constructor(dataDir: string) {
    this.file = join(dataDir, STORE_FILE);
    this.#db = openForReading(dataDir);
  }

  async query<N extends QueryName>(name: N, params: QueryParams<N>): Promise<QueryResult<N>> {
    return runQuery(this.#db, name, params);
  }

  close(): void {
    this.#db.close();
  }
}
