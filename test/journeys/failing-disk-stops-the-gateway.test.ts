/**
 * After a write or a sync has failed, nobody knows what is on the disk, and a second try may lie. So the gateway
 * ends, with exit code 74 and the reason, without another acknowledgement; the next start delivers everything that
 * was acknowledged.
 */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import type { RawMqttClient } from "../../simulators/machines/raw-mqtt-client.ts";
import { capability } from "../support/capabilities.ts";
import { type DiskCall, failDisk } from "../support/failing-disk.ts";
import { effects, Journey, reading, startBackend, WAIT_MS } from "../support/journey.ts";

interface Run {
  readonly journey: Journey;
  readonly backend: HttpBackend;
  readonly client: RawMqttClient;
  readonly acked: string[];
}

/** A gateway whose backend is away, with five messages acknowledged, on a disk that fails from now on. */
async function failing(call: DiskCall, more: { fault?: string; once?: boolean } = {}): Promise<Run> {
  const { backend, url } = await startBackend(new HttpBackend());
  await backend.goAway();
  const { fault, once } = more;
  const journey = await Journey.start({ fault, config: { targets: { backend: { type: "http", url } } } });
  const client = await journey.client("press");
  const run = { journey, backend, client, acked: [] as string[] };
  for (let n = 1; n <= 5; n++) await publish(run, n);
  const { pid, dataDir } = journey.process;
  await failDisk({ pid: pid!, file: join(dataDir, "store.db-wal"), call, once });
  return run;
}

async function publish({ client, acked }: Run, n: number): Promise<void> {
  await client.publish({ topic: "plant/press", payload: reading("press", n), qos: 1 }, WAIT_MS);
  acked.push(`press-${n}`);
}

/** What the next start brings to the backend. */
async function delivered({ journey, backend }: Run): Promise<string[]> {
  await journey.process.kill();
  await backend.comeBack();
  await journey.process.start();
  await journey.drained();
  return effects(backend);
}

const strace = capability("strace");

describe.skipIf(!strace.present)("a disk that fails under the store", () => {
  test.each<DiskCall>(["sync", "write"])(
    "ends the gateway with 74 and the reason, and the next one has all that was acknowledged: %s",
    async (call) => {
      const run = await failing(call);
      await expect(publish(run, 6)).rejects.toThrow();
      const { how, log } = await run.journey.crashed;
      expect(how).toBe("with exit code 74");
      expect(log).toContain('"code":"HF_STORE_IO"');
      expect(log).toMatch(/the disk failed under the store: .*disk I\/O error/);
      expect(run.acked).toHaveLength(5);
      // The sixth was not acknowledged: it may be there or not, as after any crash.
      const ids = await delivered(run);
      expect(ids.slice(0, 5)).toEqual(run.acked);
      expect(["press-6", undefined]).toContain(ids[5]);
      expect(ids.length).toBeLessThanOrEqual(6);
      expect(await run.journey.audited()).toMatchObject({ state: "balanced" });
    },
  );

  test("and a gateway that goes on as if nothing had happened is found out", async () => {
    const run = await failing("sync", { fault: "ignores-disk", once: true });
    for (let n = 6; n <= 8; n++) await publish(run, n);
    expect(run.journey.process.up).toBe(true);
    expect(await delivered(run)).not.toEqual(run.acked);
  });
});
