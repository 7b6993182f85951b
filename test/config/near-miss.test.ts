import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nearMiss, slipCount } from "../../src/core/near-miss.ts";

describe("a near miss", () => {
  const keys = ["listeners", "limits", "sessions", "attemptsMax", "to"];

  it("is found for a letter left out, added, changed or swapped", () => {
    expect(nearMiss("listners", keys)).toBe("listeners");
    expect(nearMiss("listenerss", keys)).toBe("listeners");
    expect(nearMiss("lizteners", keys)).toBe("listeners");
    expect(nearMiss("limtis", keys)).toBe("limits");
  });

  it("takes no notice of case, hyphens and underscores", () => {
    expect(nearMiss("attempts_max", keys)).toBe("attemptsMax");
    expect(nearMiss("ATTEMPTS-MAX", keys)).toBe("attemptsMax");
    expect(nearMiss("To", keys)).toBe("to");
  });

  it("is not made up where nothing is near", () => {
    expect(nearMiss("colour", keys)).toBeNull();
    expect(nearMiss("x", keys)).toBeNull();
    expect(nearMiss("", keys)).toBeNull();
    expect(nearMiss("l".repeat(10_000), keys)).toBeNull();
  });

  it("never answers with the word itself", () => {
    expect(nearMiss("limits", ["limits"])).toBeNull();
  });

  it("counts slips the same in both directions, and none between equal words", () => {
    const word = fc.string({ maxLength: 12 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        const slips = slipCount(a, b);
        expect(slips).toBe(slipCount(b, a));
        expect(slips === 0).toBe(a === b);
        expect(slips).toBeLessThanOrEqual(Math.max(a.length, b.length));
        expect(slips).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
      }),
      { seed: 1, numRuns: 300 },
    );
  });
});
