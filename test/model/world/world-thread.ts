/** Runs worlds on a thread of its own, one after the other, as it is told. */
import { parentPort } from "node:worker_threads";
import { SABOTEURS, type SaboteurName } from "./saboteurs.ts";
import { runWorld } from "./world.ts";

export interface WorldJob {
  readonly seed: number;
  readonly saboteur: SaboteurName | null;
}

parentPort!.on("message", async ({ seed, saboteur }: WorldJob) => {
  const result = await runWorld({ seed, saboteur: saboteur === null ? undefined : SABOTEURS[saboteur] });
  parentPort!.postMessage(result);
});
