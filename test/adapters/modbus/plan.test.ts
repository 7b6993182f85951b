import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { planRequests, type Span } from "../../../src/adapters/modbus/plan.ts";
import { TABLES } from "../../../src/adapters/modbus/schema.ts";

const LIMITS = { gapMax: 0, registersMax: 125, bitsMax: 2000 };
const span = (address: number, size = 1, table: Span["table"] = "holding"): Span => ({
  table,
  address,
  size,
});
const shape = (spans: readonly Span[], limits = LIMITS) =>
  planRequests(spans, limits).map(({ table, address, count }) => [table, address, count]);

/** Values of one table that do not overlap, as gaps and sizes from some address on. */
const map = fc
  .array(
    fc.record({ gap: fc.nat(6), size: fc.integer({ min: 1, max: 4 }), table: fc.constantFrom(...TABLES) }),
    {
      minLength: 1,
      maxLength: 60,
    },
  )
  .map((parts) => {
    const ends = new Map<string, number>();
    return parts.map(({ gap, size, table }): Span => {
      const address = (ends.get(table) ?? 0) + gap;
      ends.set(table, address + size);
      return { table, address, size };
    });
  });
const limits = fc.record({
  gapMax: fc.nat(5),
  registersMax: fc.integer({ min: 4, max: 20 }),
  bitsMax: fc.integer({ min: 4, max: 20 }),
});

/** Fewest requests for one table's values, by trying every way to cut the row. */
function fewest(spans: readonly Span[], gapMax: number, countMax: number): number {
  const row = spans.toSorted((a, b) => a.address - b.address);
  const best = [0];
  for (let end = 1; end <= row.length; end++) {
    best[end] = Number.POSITIVE_INFINITY;
    for (let from = end; from >= 1; from--) {
      const [first, last] = [row[from - 1]!, row[end - 1]!];
      if (from < end && row[from]!.address - (first.address + first.size) > gapMax) break;
      if (last.address + last.size - first.address > countMax) break;
      best[end] = Math.min(best[end]!, best[from - 1]! + 1);
    }
  }
  return best[row.length]!;
}

describe("a plan of requests", () => {
  it("puts neighbours together, whatever their order in the map", () => {
    expect(shape([span(4, 2), span(0, 2), span(2, 2)])).toEqual([["holding", 0, 6]]);
  });

  it("keeps tables apart", () => {
    expect(shape([span(0), span(0, 1, "input"), span(0, 1, "coil")])).toHaveLength(3);
  });

  it("reads over a gap only as far as it may", () => {
    const spans = [span(0), span(3)];
    expect(shape(spans, { ...LIMITS, gapMax: 1 })).toHaveLength(2);
    expect(shape(spans, { ...LIMITS, gapMax: 2 })).toEqual([["holding", 0, 4]]);
  });

  it("asks for 125 registers and 2000 bits at most", () => {
    const many = (table: Span["table"], n: number) =>
      Array.from({ length: n }, (_, at) => span(at, 1, table));
    expect(shape(many("input", 126))).toEqual([
      ["input", 0, 125],
      ["input", 125, 1],
    ]);
    expect(shape(many("coil", 2001))).toEqual([
      ["coil", 0, 2000],
      ["coil", 2000, 1],
    ]);
  });

  it("never cuts a value in two", () => {
    expect(shape([span(0, 3), span(3, 3)], { ...LIMITS, registersMax: 4 })).toEqual([
      ["holding", 0, 3],
      ["holding", 3, 3],
    ]);
  });

  it("reads every value once, within the limits, in the fewest requests", () => {
    fc.assert(
      fc.property(map, limits, (spans, given) => {
        const requests = planRequests(spans, given);
        expect(requests.flatMap((request) => request.spans).toSorted(byPlace)).toEqual(
          spans.toSorted(byPlace),
        );
        for (const { table, address, count, spans: own } of requests) {
          const countMax = table === "coil" || table === "discrete" ? given.bitsMax : given.registersMax;
          expect(count).toBeLessThanOrEqual(countMax);
          for (const each of own) {
            expect(each.table).toBe(table);
            expect(each.address).toBeGreaterThanOrEqual(address);
            expect(each.address + each.size).toBeLessThanOrEqual(address + count);
          }
        }
        for (const [table, own] of Map.groupBy(spans, (each) => each.table)) {
          const countMax = table === "coil" || table === "discrete" ? given.bitsMax : given.registersMax;
          const made = requests.filter((request) => request.table === table).length;
          expect(made).toBe(fewest(own, given.gapMax, countMax));
        }
      }),
    );
  });
});

function byPlace(a: Span, b: Span): number {
  return a.table.localeCompare(b.table) || a.address - b.address;
}
