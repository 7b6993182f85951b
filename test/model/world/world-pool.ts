/** Runs many seeds, on as many threads as asked for. */
import { Worker } from "node:worker_threads";
import type { SaboteurName } from "./saboteurs.ts";
import type { WorldResult } from "./world.ts";
import type { WorldJob } from "./world-thread.ts";

export interface SeedRange {
  readonly first: number;
  readonly count: number;
  readonly saboteur?: SaboteurName;
  /** No more seeds once one of these has been found. */
  readonly until?: (result: WorldResult) => boolean;
}

/** Room for what a whole world makes: what outlives it is to be looked through, what does not is not. */
const YOUNG_MB = 192;

export class WorldPool {
  readonly #workers: readonly Worker[];

  constructor(threads: number) {
    const entry = new URL("./world-thread.ts", import.meta.url);
    const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_MB };
    this.#workers = Array.from({ length: threads }, () => new Worker(entry, { resourceLimits }));
  }

  /** Results by seed. Rejects where a world could not be run to its end. */
  async run({ first, count, saboteur, until = () => false }: SeedRange): Promise<WorldResult[]> {
    const results: WorldResult[] = [];
    let next = first;
    const work = async (worker: Worker) => {
      while (next < first + count) {
        const result = await ask(worker, { seed: next++, saboteur: saboteur ?? null });
        results.push(result);
        if (until(result)) next = first + count;
      }
    };
    await Promise.all(this.#workers.map(work));
    return results.sort((a, b) => a.seed - b.seed);
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

function ask(worker: Worker, job: WorldJob): Promise<WorldResult> {
  return new Promise((resolve, reject) => {
    const onError = (cause: unknown) =>
      reject(new Error(`seed ${job.seed} breaks the simulation`, { cause }));
    worker.once("error", onError);
    worker.once("message", (result: WorldResult) => {
      worker.off("error", onError);
      resolve(result);
    });
    worker.postMessage(job);
  });
}
