/**
 * SIGTERM in the midst of traffic: what was acknowledged is stored, what was being sent has its answer, the exit
 * code is 0 and the store closed cleanly; the next start carries on, and nothing is sent twice for it.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { arrivalsOf, effects, eventually, Journey, reading, startBackend } from "../support/journey.ts";
import { readRows } from "../support/test-store.ts";

describe("a gateway that is told to stop in the midst of traffic", () => {
  test("ends with 0, and the next one has the rest", async () => {
    const { backend, url } = await startBackend(new HttpBackend({ mode: "slow", slowMs: 100 }));
    const journey = await Journey.start({
      config: { targets: { backend: { type: "http", url } }, relay: { drainTimeout: "5s" } },
    });
    const client = await journey.client("press");
    const acked: string[] = [];
    let n = 0;
    const publishing = (async () => {
      for (;;) {
        n++;
        await client.publish({ topic: "plant/press", payload: reading("press", n), qos: 1 });
        acked.push(`press-${n}`);
      }
    })();
    await eventually("some have arrived", () => backend.arrivals().length >= 3);
    process.kill(journey.process.pid!, "SIGTERM");
    const [{ how }] = await Promise.all([journey.crashed(), expect(publishing).rejects.toThrow()]);
    expect(how).toBe("with exit code 0");
    const { dataDir } = journey.process;
    expect(existsSync(join(dataDir, "gateway.json"))).toBe(false);
    expect(readRows(dataDir, "SELECT stopped_clean FROM boots")).toEqual([{ stopped_clean: 1 }]);
    expect(readRows(dataDir, "SELECT 1 FROM deliveries WHERE state IN ('sending', 'unknown')")).toEqual([]);
    const before = backend.arrivals().length;
    expect(before).toBeLessThan(acked.length);
    backend.setMode("ok");
    await journey.process.start();
    await journey.drained();
    // The last one sent may be there without having been answered for.
    expect(effects(backend).slice(0, acked.length)).toEqual(acked);
    for (const id of acked) expect(arrivalsOf(backend, id)).toHaveLength(1);
  });
});
