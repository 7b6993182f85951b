/** Message ids: UUIDv7 as in RFC 9562, in the order in which they were made. */
import { describe, expect, it } from "vitest";
import { uuidV7Source } from "../../src/core/message.ts";
import { type Random, seededRandom, systemRandom } from "../../src/core/random.ts";

const AT = Date.UTC(2026, 5, 1, 12);
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

const timeOf = (id: string) => Number.parseInt(id.replaceAll("-", "").slice(0, 12), 16);

function sorted(ids: readonly string[]): boolean {
  return ids.every((id, at) => at === 0 || ids[at - 1]! < id);
}

describe("a UUIDv7", () => {
  it("has its version, its variant and its time", () => {
    const next = uuidV7Source(() => AT, seededRandom(1));
    for (let i = 0; i < 100; i++) {
      const id = next();
      expect(id).toMatch(UUID_V7);
      expect(timeOf(id)).toBe(AT);
    }
  });

  it("sorts after the one before: within a millisecond, beyond what one holds, and over the next", () => {
    let nowMs = AT;
    const next = uuidV7Source(() => nowMs, systemRandom());
    const ids = Array.from({ length: 20_000 }, () => next());
    expect(timeOf(ids.at(-1)!)).toBeGreaterThan(AT);
    nowMs += 1000;
    ids.push(...Array.from({ length: 100 }, () => next()));
    expect(sorted(ids)).toBe(true);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("sorts after the one before although the clock steps back", () => {
    let nowMs = AT;
    const next = uuidV7Source(() => nowMs, seededRandom(1));
    const ids = [next()];
    nowMs -= 3_600_000;
    ids.push(...Array.from({ length: 5000 }, () => next()));
    expect(sorted(ids)).toBe(true);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("cannot be told from another process's by the clock alone: the rest is random", () => {
    const one = uuidV7Source(() => AT, systemRandom());
    const other = uuidV7Source(() => AT, systemRandom());
    const ids = Array.from({ length: 1000 }, () => [one(), other()]).flat();
    expect(new Set(ids).size).toBe(2000);
  });

  it("would not sort if its counter stood still", () => {
    // The negative control: what the counter is for.
    const random: Random = { below: () => 0, unit: () => 0, fill: seededRandom(1).fill };
    const withoutCounter = () => uuidV7Source(() => AT, random)();
    expect(sorted(Array.from({ length: 100 }, withoutCounter))).toBe(false);
  });
});
