/**
 * The promise, held against thousands of histories: the whole gateway in one process, under a clock, chance, disk
 * and network that are made up (world/world.ts). Whatever breaks, and whenever: what was acknowledged is stored,
 * takes effect once and in order, is accounted for, and with everything mended nothing is left over.
 *
 * `./holdfast test simulation --seeds N --seed FIRST` runs as many as one likes; a seed that fails is printed, and
 * is the same history each time.
 */
import { availableParallelism } from "node:os";
import { afterAll, describe, expect, it } from "vitest";
import { capability } from "../support/capabilities.ts";
import type { SaboteurName } from "./world/saboteurs.ts";
import type { WorldResult } from "./world/world.ts";
import { WorldPool } from "./world/world-pool.ts";

const LONG = capability("long").present;
const WIDE = capability("wide").present;
const SEEDS = Number(process.env.HOLDFAST_TEST_SEEDS ?? (LONG ? 10_000 : WIDE ? 400 : 200));
const FIRST = Number(process.env.HOLDFAST_TEST_SEED ?? 1);
/** By default other tests run beside it. */
const THREADS = SEEDS > 1000 ? availableParallelism() : 1;
/** A fault that is not found in so many is not found. */
const SABOTEUR_SEEDS_MAX = 200;
const HOURS_MS = 3_600_000;

const pool = new WorldPool(THREADS);
afterAll(() => pool.close());

describe("the whole gateway, simulated", () => {
  it(`keeps its promises in ${SEEDS} histories from seed ${FIRST} on`, {
    timeout: 12 * HOURS_MS,
  }, async () => {
    const results = await pool.run({ first: FIRST, count: SEEDS });
    const broken = results.filter(({ findings }) => findings.length > 0);
    const told = broken.map(
      ({ seed, findings }) => `./holdfast test simulation --seed ${seed} --seeds 1: ${findings[0]}`,
    );
    expect(told).toEqual([]);
    expect(results).toHaveLength(SEEDS);
    // It would prove nothing if nothing had happened.
    if (SEEDS < 100) return;
    for (const figure of ["readings", "acked", "repeats", "effects", "starts", "deaths"] as const) {
      const total = results.reduce((sum, { figures }) => sum + figures[figure], 0);
      expect(total, figure).toBeGreaterThan(SEEDS / 4);
    }
  });

  it("has one history for each seed, whatever ran before it", { timeout: 60_000 }, async () => {
    const digestOf = async (seed: number) => (await pool.run({ first: seed, count: 1 }))[0]!.digest;
    const seeds = [FIRST, FIRST + 1, FIRST + 2, FIRST + 3];
    const digests: string[] = [];
    for (const seed of seeds) digests.push(await digestOf(seed));
    expect(new Set(digests).size).toBe(seeds.length);
    for (const [at, seed] of [...seeds.entries()].toReversed())
      expect(await digestOf(seed)).toBe(digests[at]);
  });
});

const TWINS: readonly [SaboteurName, RegExp][] = [
  ["acknowledges before the commit", /was acknowledged at .* and is not in the store/],
  ["answers over HTTP before the commit", /^program-.* was acknowledged at .* and is not in the store/],
  ["runs with synchronous=NORMAL", /was acknowledged at .* and is not in the store/],
  ["believes a disk that lies about fsync", /was acknowledged at .* and is not in the store/],
  ["passes over a sync that fails", /a sync of .* failed, and the store went on/],
  ["knows duplicates outside of the transaction", /is stored twice/],
  ["moves its cursor before it has the outcome", /is called delivered and never took effect/],
  ["leaves out what a job moves last", /is finished, and has left out/],
  ["delivers to a file that it does not sync", /on archive is called delivered and never took effect/],
];

describe("a gateway with a fault", () => {
  it.each(TWINS)(
    `that %s is found out within ${SABOTEUR_SEEDS_MAX} seeds`,
    { timeout: 120_000 },
    async (saboteur, why) => {
      const isFound = ({ findings }: WorldResult) => findings.some((finding) => why.test(finding));
      const results = await pool.run({ first: 1, count: SABOTEUR_SEEDS_MAX, saboteur, until: isFound });
      expect(results.some(isFound)).toBe(true);
    },
  );
});
