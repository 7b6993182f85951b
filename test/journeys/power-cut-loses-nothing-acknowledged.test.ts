/**
 * A power cut takes what was written and not synced, which kill -9 does not. On a disk whose power is really cut,
 * everything that was acknowledged is there afterwards. With synchronous=NORMAL, the library's own choice for this
 * kind of store, it is not: that is why the gateway sets FULL and looks whether it is set.
 */
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { PowerCutDisk } from "../../simulators/disks/power-cut-disk.ts";
import { capability } from "../support/capabilities.ts";
import { effects, Journey, reading, scratchFolder, startBackend } from "../support/journey.ts";
import { readRows } from "../support/test-store.ts";

const MESSAGES = 40;

interface Cut {
  readonly journey: Journey;
  readonly backend: HttpBackend;
  readonly acked: readonly string[];
}

/** A gateway whose backend is away, and whose power is cut after the last acknowledgement. It is down afterwards. */
async function cutPower(fault?: string): Promise<Cut> {
  const { backend, url } = await startBackend(new HttpBackend());
  await backend.goAway();
  const disk = new PowerCutDisk(scratchFolder());
  onTestFinished(() => disk.remove());
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
  return { journey, backend, acked };
}

/** Messages that a start would find; none where not even the store's file has got to the disk. */
function storedAfter(journey: Journey): number {
  try {
    return readRows(journey.process.dataDir, "SELECT 1 FROM messages").length;
  } catch {
    return 0;
  }
}

const disk = capability("power-cut");

describe.skipIf(!disk.present)("a power cut", () => {
  test("loses nothing that was acknowledged", async () => {
    const { journey, backend, acked } = await cutPower();
    await backend.comeBack();
    await journey.process.start();
    await journey.drained();
    expect(effects(backend)).toEqual(acked);
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
  });

  test("and a store that is not synced at every commit is found out", async () => {
    const { journey, acked } = await cutPower("synchronous=NORMAL");
    expect(storedAfter(journey)).toBeLessThan(acked.length);
  });
});
