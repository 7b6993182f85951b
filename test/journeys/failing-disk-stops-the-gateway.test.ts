/**
 * After a write or a sync has failed, nobody knows what is on the disk, and a second try may lie. So the gateway
 * ends, with exit code 74 and the reason, without another acknowledgement; the next start delivers everything that
 * was acknowledged.
 */
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { type DiskCall, failDisk } from "../../simulators/disks/failing-disk.ts";
import { capability } from "../support/capabilities.ts";
import { effects, Journey, reading, startBackend, WAIT_MS } from "../support/journey.ts";
import { readRows } from "../support/test-store.ts";

interface Run {
  readonly journey: Journey;
  readonly backend: HttpBackend;
  readonly acked: string[];
}

/** A gateway whose backend is away. */
async function start(fault?: string): Promise<Run> {
  const { backend, url } = await startBackend(new HttpBackend());
  await backend.goAway();
  const journey = await Journey.start({ fault, config: { targets: { backend: { type: "http", url } } } });
  return { journey, backend, acked: [] };
}

async function publish({ journey, acked }: Run, ...ns: number[]): Promise<void> {
  const client = await journey.client("press");
  for (const n of ns) {
    await client.publish({ topic: "plant/press", payload: reading("press", n), qos: 1 }, WAIT_MS);
    acked.push(`press-${n}`);
  }
}

async function fail({ journey }: Run, call: DiskCall): Promise<void> {
  const { pid, dataDir } = journey.process;
  onTestFinished(await failDisk({ pid: pid!, file: join(dataDir, "store.db-wal"), call }));
}

const strace = capability("strace");

describe.skipIf(!strace.present)("a disk that fails under the store", () => {
  test("ends the gateway with 74 and the reason, and the next one has all that was acknowledged", async () => {
    const run = await start();
    const calls: DiskCall[] = ["sync", "write"];
    for (const [at, call] of calls.entries()) {
      await publish(run, 10 * at + 1, 10 * at + 2);
      await fail(run, call);
      await expect(publish(run, 10 * at + 3)).rejects.toThrow();
      const { how, log } = await run.journey.crashed();
      expect(how).toBe("with exit code 74");
      expect(log).toContain('"code":"HF_STORE_IO"');
      expect(log).toMatch(/the disk failed under the store: .*disk I\/O error/);
      await run.journey.process.start();
    }
    await run.backend.comeBack();
    await run.journey.drained();
    // Those that were not acknowledged may be there or not, as after any crash.
    const arrived = effects(run.backend);
    expect(arrived.filter((id) => !/3$/.test(id))).toEqual(["press-1", "press-2", "press-11", "press-12"]);
    expect(run.acked).toEqual(["press-1", "press-2", "press-11", "press-12"]);
    expect(await run.journey.audited()).toMatchObject({ state: "balanced" });
  });

  test("and a gateway that goes on as if nothing had happened is found out", async () => {
    const run = await start("ignores-disk");
    await fail(run, "sync");
    await publish(run, 1, 2, 3);
    expect(run.journey.process.up).toBe(true);
    // What its file holds is what the next start would find.
    const stored = readRows(run.journey.process.dataDir, "SELECT 1 FROM messages");
    expect(stored.length).toBeLessThan(run.acked.length);
  });
});
