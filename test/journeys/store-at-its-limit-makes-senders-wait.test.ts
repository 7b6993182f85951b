/**
 * The store grows to queue.bytesMax and no further: then senders wait for their acknowledgement. What the backend
 * takes makes room, and intake goes on by itself, in order, with nothing lost.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { effects, eventually, Journey, startBackend, WAIT_MS } from "../support/journey.ts";

const MIB = 2 ** 20;
const PAD = "x".repeat(60 * 1024);
/** More than fits. */
const MESSAGES = 100;

describe("a store at its limit", () => {
  test("makes senders wait until the backend has taken enough, and takes the rest by itself", async () => {
    const { backend, url } = await startBackend(new HttpBackend());
    await backend.goAway();
    const journey = await Journey.start({
      config: {
        targets: { backend: { type: "http", url } },
        queue: { bytesMax: 4 * MIB, reserve: MIB, walBytesMax: MIB },
      },
    });
    const client = await journey.client("press");
    let acked = 0;
    const publishing = (async () => {
      for (let n = 1; n <= MESSAGES; n++) {
        const payload = JSON.stringify({ id: `press-${n}`, n, pad: PAD });
        await client.publish({ topic: "plant/press", payload, qos: 1 }, 3 * WAIT_MS);
        acked = n;
      }
    })();
    await eventually("it has no more room", async () => (await journey.ready()).code === 503);
    const { health } = await journey.status();
    expect(health).toMatchObject({ state: "blocked", verdict: "alarm" });
    const ackedWhileFull = acked;
    expect(ackedWhileFull).toBeGreaterThan(10);
    expect(ackedWhileFull).toBeLessThan(MESSAGES);
    expect(statSync(join(journey.process.dataDir, "store.db")).size).toBeLessThanOrEqual(4 * MIB);
    await backend.comeBack();
    await publishing;
    await journey.drained();
    expect(effects(backend)).toEqual(Array.from({ length: MESSAGES }, (_, at) => `press-${at + 1}`));
    expect(await journey.figures()).toMatchObject({
      accepted: MESSAGES,
      delivered: MESSAGES,
      balanced: true,
    });
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
    expect((await journey.ready()).code).toBe(200);
    expect(statSync(join(journey.process.dataDir, "store.db")).size).toBeLessThanOrEqual(4 * MIB);
  });
});
