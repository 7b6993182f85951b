/**
 * A power cut takes what was written and not synced, which kill -9 does not. On a disk whose power is really cut,
 * everything that was acknowledged is there afterwards.
 */
import { describe, expect, test } from "vitest";
import { powerCut } from "../../simulators/torture/trials/power-cut.ts";
import { capability } from "../support/capabilities.ts";
import { tryOut } from "../support/trials.ts";

const disk = capability("power-cut");
const long = capability("long");
const HOUR_MS = 3_600_000;

describe.skipIf(!disk.present)("a power cut", () => {
  test("loses nothing that was acknowledged", async () => {
    const { figures, findings } = await tryOut(powerCut, {
      cycles: capability("wide").present ? 2 : 1,
      cyclesMin: 1,
      withinMs: 3_000,
      seed: 21,
    });
    expect(findings).toEqual([]);
    expect(figures.acked).toBeGreaterThan(0);
  });

  test.skipIf(!long.present)("nor do two hundred", { timeout: HOUR_MS }, async () => {
    const { figures, findings } = await tryOut(powerCut, { cycles: 200, seed: 22 });
    expect(findings).toEqual([]);
    expect(figures.cutsWhileStarting).toBeGreaterThan(10);
    expect(figures.cutsInTraffic).toBeGreaterThan(10);
  });
});
