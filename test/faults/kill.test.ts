/**
 * Acknowledged means stored: whatever a machine was answered for arrives, once in effect and in its order, though
 * the gateway and its backends are killed again and again at random moments.
 */
import { describe, expect, test } from "vitest";
import { kill } from "../../simulators/torture/trials/kill.ts";
import { capability } from "../support/capabilities.ts";
import { tryOut } from "../support/trials.ts";

const long = capability("long");
/** Each kill costs a start of everything, so by default as many are tried as fit into a moment. */
const SLICE = capability("wide").present
  ? { cyclesMin: 20, acked: 200, repeats: 10 }
  : { cyclesMin: 3, withinMs: 6_000, acked: 20, repeats: 0 };
const HOUR_MS = 3_600_000;

describe("what was acknowledged survives kill -9 of the gateway and of its backends", () => {
  test("up to twenty times", async () => {
    const { cycles, figures, findings } = await tryOut(kill, {
      cycles: 20,
      ...SLICE,
      seed: 1,
    });
    expect(findings).toEqual([]);
    // It would prove nothing if nothing had been sent twice.
    expect(cycles).toBeGreaterThanOrEqual(SLICE.cyclesMin);
    expect(figures.acked).toBeGreaterThan(SLICE.acked);
    expect(figures.repeatsSent).toBeGreaterThan(SLICE.repeats);
  });

  test.skipIf(!long.present)("a thousand times", { timeout: HOUR_MS }, async () => {
    for (let round = 0; round < 20; round++) {
      const { findings } = await tryOut(kill, { cycles: 50, seed: 1000 + round });
      expect(findings, `seed ${1000 + round}`).toEqual([]);
    }
  });
});
