/**
 * The thread in which the nuisances run, so that what they take of this process is not counted as the gateway's
 * slowness. Begins with its first message and says so, ends with its second, and answers with what was got.
 */
import { parentPort } from "node:worker_threads";
import { systemClock } from "../../../src/core/clock.ts";
import { seededRandom } from "../../../src/core/random.ts";
import type { MobFigures } from "./nuisance.ts";
import { NUISANCES } from "./nuisances.ts";

export interface MobOrders {
  readonly names: readonly string[];
  readonly port: number;
  readonly wsPort: number;
  readonly seed: number;
}

const over = new AbortController();
const figures: MobFigures = { opened: 0, closed: 0, bytesSent: 0, bytesReceived: 0 };

parentPort!.once("message", (orders: MobOrders) => {
  const running = orders.names
    .filter((name) => NUISANCES[name])
    .map(async (name, at) => {
      const { run, address } = NUISANCES[name]!;
      const random = seededRandom(orders.seed + at);
      const { port, wsPort } = orders;
      await run({ port, wsPort, clock: systemClock, random, signal: over.signal, address, figures });
    });
  parentPort!.postMessage("begun");
  parentPort!.once("message", async () => {
    over.abort();
    await Promise.allSettled(running);
    // Closes are counted when they have happened.
    setImmediate(() => setImmediate(() => parentPort!.postMessage(figures)));
  });
});
