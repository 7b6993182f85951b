/**
 * Whatever the gateway was doing to its disk when it died, the next start has everything that was acknowledged. After
 * a write or a sync has failed nobody knows what is on the disk, and a second try may lie: so it ends, with exit code
 * 74 and the reason.
 */
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { failDisk } from "../../simulators/disks/failing-disk.ts";
import { syscallKill } from "../../simulators/torture/trials/syscall-kill.ts";
import { capability } from "../support/capabilities.ts";
import { Journey, reading, startBackend, WAIT_MS } from "../support/journey.ts";
import { readRows } from "../support/test-store.ts";
import { tryOut } from "../support/trials.ts";

const strace = capability("strace");
const long = capability("long");
const wide = capability("wide");
const HOUR_MS = 3_600_000;

describe.skipIf(!wide.present || !strace.present)(
  "a gateway that is killed, or whose disk fails, at a write or a sync of its own",
  () => {
    test("at a few of them, drawn by chance", async () => {
      const { figures, findings } = await tryOut(syscallKill, {
        cycles: 1000,
        cyclesMin: 3,
        withinMs: 2_500,
        seed: 11,
      });
      expect(findings).toEqual([]);
      expect(figures.points).toBeGreaterThan(200);
    });

    test.skipIf(!long.present)("at each of them", { timeout: 4 * HOUR_MS }, async () => {
      const { cycles, figures, findings } = await tryOut(syscallKill, {
        cycles: Number.POSITIVE_INFINITY,
        seed: 12,
      });
      expect(findings).toEqual([]);
      expect(cycles).toBe(figures.points);
      // No two runs are alike to the last call.
      expect(figures.unreached).toBeLessThan(cycles / 4);
    });

    test("and a gateway that goes on as if nothing had happened is found out", async () => {
      const { backend, url } = await startBackend(new HttpBackend());
      await backend.goAway();
      const targets = { backend: { type: "http", url } };
      const journey = await Journey.start({ fault: "ignores-disk", config: { targets } });
      const { pid, dataDir } = journey.process;
      onTestFinished(await failDisk({ pid: pid!, file: join(dataDir, "store.db-wal"), call: "sync" }));
      const client = await journey.client("press");
      for (const n of [1, 2, 3]) {
        await client.publish({ topic: "plant/press", payload: reading("press", n), qos: 1 }, WAIT_MS);
      }
      expect(journey.process.up).toBe(true);
      // What its file holds is what the next start would find.
      expect(readRows(dataDir, "SELECT 1 FROM messages").length).toBeLessThan(3);
    });
  },
);
