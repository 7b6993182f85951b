/**
 * With its disk full the gateway does not stop and does not lie: it acknowledges nothing that is not stored, says so,
 * goes on delivering, and takes messages again by itself when there is room. It starts on a full disk, too.
 */
import { describe, expect, test } from "vitest";
import { diskFull } from "../../simulators/torture/trials/disk-full.ts";
import { capability } from "../support/capabilities.ts";
import { tryOut } from "../support/trials.ts";

const mount = capability("mount");
const long = capability("long");
const HOUR_MS = 3_600_000;

describe.skipIf(!mount.present)("a disk that is filled and freed again", () => {
  test.skipIf(!capability("wide").present)("a few times", async () => {
    const { cycles, figures, findings } = await tryOut(diskFull, { cycles: 2, seed: 31 });
    expect(findings).toEqual([]);
    expect(cycles).toBe(2);
    expect(figures.acked).toBeGreaterThan(50);
  });

  test.skipIf(!long.present)("a hundred times", { timeout: HOUR_MS }, async () => {
    const { figures, findings } = await tryOut(diskFull, { cycles: 100, seed: 32 });
    expect(findings).toEqual([]);
    expect(figures.startsOnFull).toBeGreaterThan(10);
    expect(figures.kills).toBeGreaterThan(10);
  });
});
