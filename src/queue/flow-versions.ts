/** Flows as they were configured when they took messages; each under a number that messages refer to. */
import type { StoreCalls } from "./calls.ts";
import type { Db } from "./database.ts";

export class FlowVersions {
  readonly #db: Db;
  readonly #flows = new Map<number, string>();
  readonly #latest = new Map<string, number>();

  constructor(db: Db) {
    this.#db = db;
    const versions = db.prepare("SELECT id, flow FROM flow_versions ORDER BY id").all() as {
      id: number;
      flow: string;
    }[];
    for (const { id, flow } of versions) this.#learn(id, flow);
  }

  flowOf(version: number): string {
    return this.#flows.get(version)!;
  }

  /** The version as of the last start; undefined for a flow that there never was. */
  latestOf(flow: string): number | undefined {
    return this.#latest.get(flow);
  }

  /** Part of a commit. Returns the number of this version, which may be known already. */
  register({ flow, hash, config }: StoreCalls["registerFlows"][0][number], wallMs: number): number {
    this.#db
      .prepare(
        "INSERT INTO flow_versions (flow, hash, config, first_used_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
      )
      .run(flow, hash, config, wallMs);
    const id = this.#db
      .prepare("SELECT id FROM flow_versions WHERE flow = ? AND hash = ?")
      .pluck()
      .get(flow, hash) as number;
    this.#learn(id, flow);
    return id;
  }

  #learn(id: number, flow: string): void {
    this.#flows.set(id, flow);
    this.#latest.set(flow, id);
  }
}
