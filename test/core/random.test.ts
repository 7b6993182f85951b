import { describe, expect, it } from "vitest";
import { seededRandom, systemRandom } from "../../src/core/random.ts";

const draw = (seed: number) => {
  const random = seededRandom(seed);
  const bytes = Buffer.alloc(8);
  random.fill(bytes);
  return [random.below(1000), random.unit(), random.below(7), bytes.toString("hex")];
};

describe("a seeded generator", () => {
  it("repeats itself under its seed, and not under another", () => {
    expect(draw(42)).toEqual(draw(42));
    const drawn = [0, 1, 2, 3, 4, 5, 42, 2 ** 31, 2 ** 32 - 1].map((seed) => JSON.stringify(draw(seed)));
    expect(new Set(drawn).size).toBe(drawn.length);
  });

  it.each([0, 1, 7, 2 ** 32 - 1])("is even enough for tests (seed %i)", (seed) => {
    const random = seededRandom(seed);
    const counts = Array.from({ length: 10 }, () => 0);
    for (let i = 0; i < 10_000; i++) counts[random.below(10)]! += 1;
    expect(Math.min(...counts)).toBeGreaterThan(850);
    expect(Math.max(...counts)).toBeLessThan(1150);
  });
});

describe.each([
  ["seeded", () => seededRandom(1)],
  ["the system's", systemRandom],
])("%s randomness", (_, make) => {
  it("stays in its range", () => {
    const random = make();
    for (let i = 0; i < 1000; i++) {
      expect(random.below(3)).toBeOneOf([0, 1, 2]);
      const unit = random.unit();
      expect(unit).toBeGreaterThanOrEqual(0);
      expect(unit).toBeLessThan(1);
    }
  });

  it("fills every byte, of any length, and differently each time", () => {
    const random = make();
    for (const length of [0, 1, 16, 8192, 10_000]) {
      const seen = new Uint8Array(length);
      // A byte may be drawn as zero; all of twenty draws are not.
      for (let i = 0; i < 20; i++) {
        const bytes = Buffer.alloc(length);
        random.fill(bytes);
        for (let at = 0; at < length; at++) seen[at]! |= bytes[at]!;
      }
      expect(seen.every((byte) => byte !== 0)).toBe(true);
    }
    const [a, b] = [Buffer.alloc(16), Buffer.alloc(16)];
    random.fill(a);
    random.fill(b);
    expect(a.equals(b)).toBe(false);
  });
});
