/**
 * Acknowledged means stored: whatever a machine was answered for arrives, once in effect and in its order, though
 * the gateway and its backends are killed again and again at random moments.
 */
import { describe, expect, test } from "vitest";
import { kill } from "../../simulators/torture/trials/kill.ts";
import { capability } from "../support/capabilities.ts";
import { tryOut } from "../support/trials.ts";

const long = capability("long");
/** Each kill costs a start of everything. What must be seen at least grows with how often that is. */
const LEAST = capability("wide").present
  ? { cycles: 6, acked: 50, repeats: 5 }
  : { cycles: 3, acked: 20, repeats: 0 };
const HOUR_MS = 3_600_000;

describe("what was acknowledged survives kill -9 of the gateway and of its backends", () => {
  test("up to twenty times", async () => {
    const { cycles, figures, findings } = await tryOut(kill, {
      cycles: 20,
      cyclesMin: LEAST.cycles,
      withinMs: 2_000 * LEAST.cycles,
      seed: 1,
    });
    expect(findings).toEqual([]);
    // It would prove nothing if nothing had been sent twice.
    expect(cycles).toBeGreaterThanOrEqual(LEAST.cycles);
    expect(figures.acked).toBeGreaterThan(LEAST.acked);
    expect(figures.repeatsSent).toBeGreaterThan(LEAST.repeats);
  });

  test.skipIf(!long.present)("a thousand times", { timeout: HOUR_MS }, async () => {
    for (let round = 0; round < 20; round++) {
      const { findings } = await tryOut(kill, { cycles: 50, seed: 1000 + round });
      expect(findings, `seed ${1000 + round}`).toEqual([]);
    }
  });
});
