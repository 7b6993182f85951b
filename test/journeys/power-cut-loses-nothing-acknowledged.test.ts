/**
 * A power cut takes what was written and not synced, which kill -9 does not. On a disk whose power is really cut,
 * everything that was acknowledged is there afterwards. With synchronous=NORMAL, the library's own choice for this
 * kind of store, it is not: that is why the gateway sets FULL and looks whether it is set.
 */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { capability } from "../support/capabilities.ts";
import { effects, Journey, reading, scratchFolder, startBackend } from "../support/journey.ts";
import { PowerCutDisk } from "../support/mounted-disk.ts";

const MESSAGES = 40;

interface Cut {
  readonly acked: readonly string[];
  readonly arrived: readonly string[];
  readonly journey: Journey;
}

async function cutPower(fault?: string): Promise<Cut> {
  const { backend, url } = await startBackend(new HttpBackend());
  await backend.goAway();
  const disk = new PowerCutDisk(scratchFolder());
  const journey = await Journey.start({
    fault,
    dataDir: join(disk.folder, "data"),
    config: { targets: { backend: { type: "http", url } } },
  });
  const client = await journey.client("press");
  const acked: string[] = [];
  for (let n = 1; n <= MESSAGES; n++) {
    await client.publish({ topic: "plant/press", payload: reading("press", n), qos: n % 2 === 0 ? 2 : 1 });
    acked.push(`press-${n}`);
  }
  // It must not notice, and write on.
  process.kill(journey.process.pid!, "SIGSTOP");
  disk.cutPower();
  await journey.process.kill();
  disk.powerOn();
  await backend.comeBack();
  await journey.process.start();
  await journey.drained();
  return { acked, arrived: effects(backend), journey };
}

const disk = capability("power-cut");

describe.skipIf(!disk.present)("a power cut", () => {
  test("loses nothing that was acknowledged", async () => {
    const { acked, arrived, journey } = await cutPower();
    expect(arrived).toEqual(acked);
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
  });

  test("and a store that is not synced at every commit is found out", async () => {
    const { acked, arrived } = await cutPower("synchronous=NORMAL");
    expect(arrived.length).toBeLessThan(acked.length);
  });
});
