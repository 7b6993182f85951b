/**
 * The store against a model of it: whatever comes in whatever order, each delivery is in the state in which the
 * model has it, claims give the same deliveries in the same order, and the books balance.
 *
 * HOLDFAST_TEST_SEED repeats a run; a failing one prints its seed and the shortest sequence that fails.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { DeliveryState } from "../../src/core/outcome.ts";
import { BareWriter, NoRoom } from "../support/bare-writer.ts";
import { capability } from "../support/capabilities.ts";
import { auditFolder, readRows } from "../support/test-store.ts";
import { StoreModel } from "./store-model.ts";

const LONG = capability("long").present;
const RUNS = LONG ? 5000 : capability("wide").present ? 200 : 80;
const SEED = process.env.HOLDFAST_TEST_SEED;
const FLOWS = ["ordered", "loose"] as const;
const KEYS = ["a", "b", "c"] as const;
const EXPIRE_AFTER_MS = 50;
const KEEP_MS = 30;

type Command = (
  | { do: "append"; flows: readonly string[]; key: string; identity: string | null }
  | { do: "claim"; flow: string; key: string; limit: number }
  | { do: "settle"; pick: number; state: DeliveryState; delayMs: number | null }
  | { do: "redrive"; pick: number }
  | { do: "expire"; flow: string }
  | { do: "wait"; ms: number }
  | { do: "prune" }
  | { do: "restart"; crash: boolean }
) & {
  /** The first attempt to commit it finds the disk full. */
  full?: boolean;
};

const flow = fc.constantFrom(...FLOWS);
const key = fc.constantFrom(...KEYS);
const pick = fc.nat({ max: 1000 });
const plainCommand: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("append" as const),
      flows: fc.constantFrom(["ordered"], ["loose"], ["ordered", "loose"], []),
      key,
      identity: fc.option(fc.constantFrom("1", "2", "3"), { nil: null, freq: 4 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("claim" as const),
      flow,
      key,
      limit: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("settle" as const),
      pick,
      state: fc.constantFrom<DeliveryState[]>("delivered", "delivered", "waiting", "unknown", "dead"),
      delayMs: fc.option(fc.constantFrom(0, 10, 40), { nil: null }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("redrive" as const), pick }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("expire" as const), flow }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(1, 15, 45) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("prune" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("restart" as const), crash: fc.boolean() }) },
);
const command = fc
  .tuple(plainCommand, fc.nat({ max: 9 }))
  .map(([given, chance]): Command => (chance === 0 ? { ...given, full: true } : given));

type MakeStore = (dataDir: string) => BareWriter;

// What is not fsynced is lost to a power cut alone, and nobody cuts the power here.
const makeStore: MakeStore = (dataDir) =>
  new BareWriter(dataDir, { retention: { age: KEEP_MS } }, { synchronous: "OFF" });

/** The real store and its model, given the same commands. */
class Pair {
  readonly model = new StoreModel();
  readonly #dataDir: string;
  readonly #make: MakeStore;
  #real: BareWriter;
  #nowMs = 1000;
  #count = 0;

  constructor(dataDir: string, make: MakeStore) {
    this.#dataDir = dataDir;
    this.#make = make;
    this.#real = this.#open();
  }

  run(given: Command): void {
    this.#real.steadyMs = this.#nowMs;
    this.#real.fullOnce = given.full === true;
    if (given.do === "append") this.#append(given);
    else if (given.do === "claim") this.#claim(given);
    else if (given.do === "settle") this.#settle(given);
    else if (given.do === "redrive") this.#redrive(given.pick);
    else if (given.do === "expire") this.#expire(given.flow);
    else if (given.do === "prune") this.#prune();
    else if (given.do === "wait") this.#nowMs += given.ms;
    else {
      this.#real.close(!given.crash);
      this.#real = this.#open();
      this.model.restart();
    }
  }

  check(): void {
    const rows = readRows(
      this.#dataDir,
      `SELECT d.seq, m.id, l.flow, l.key, d.state, d.attempts, d.resend, d.due_at AS dueAtMs, m.steady_at AS steadyAtMs,
              d.renewed_at AS renewedAtMs
       FROM deliveries d JOIN lanes l ON l.id = d.lane JOIN messages m ON m.seq = d.seq ORDER BY d.seq, l.flow`,
    );
    const expected = this.model.deliveries
      .map((d) => ({ ...d, resend: d.resend ? 1 : 0 }))
      .sort((a, b) => a.seq - b.seq || (a.flow < b.flow ? -1 : 1));
    expect(rows).toEqual(expected);
    const tally = readRows<{ what: string; n: number }>(
      this.#dataDir,
      "SELECT what, n FROM tally WHERE flow = ''",
    );
    const door = new Map(tally.map(({ what, n }) => [what, n]));
    expect(door.get("accepted") ?? 0).toBe(this.model.accepted);
    expect(door.get("duplicate") ?? 0).toBe(this.model.duplicates);
    expect(auditFolder(this.#dataDir).mismatches).toEqual([]);
  }

  close(): void {
    this.#real.close();
  }

  #open(): BareWriter {
    const real = this.#make(this.#dataDir);
    real.registerFlows(FLOWS);
    return real;
  }

  #append({ flows, key: laneKey, identity }: Command & { do: "append" }): void {
    const id = identity === null ? `m${++this.#count}` : `own-${identity}`;
    const request = {
      id,
      flows,
      key: laneKey,
      identity,
      steadyAtMs: this.#nowMs,
    };
    try {
      expect(this.#real.appendTo(request)).toMatchObject(this.model.append(request));
    } catch (error) {
      // As the store's line does: it waits, and is offered again.
      if (!(error instanceof NoRoom)) throw error;
      expect(this.#real.appendTo(request)).toMatchObject(this.model.append(request));
    }
  }

  #expire(name: string): void {
    const beforeMs = this.#nowMs - EXPIRE_AFTER_MS;
    const { expired } = this.#real.call("expire", { flow: name, beforeMs, limit: 1000 });
    expect(expired).toBe(this.model.expire(name, beforeMs));
  }

  #prune(): void {
    let removed = 0;
    for (let sweep = true, finished = false; !finished; sweep = false) {
      const step = this.#real.call("prune", { nowMs: this.#nowMs, sweep, forRoom: false });
      removed += step.removed;
      finished = step.finished;
    }
    expect(removed).toBe(this.model.prune(this.#nowMs - KEEP_MS));
  }

  #claim({ flow: name, key: laneKey, limit }: Command & { do: "claim" }): void {
    const lane = this.#real.laneOf(name, laneKey);
    // The relay has each lane in one call at a time; in order, the store itself gives nothing meanwhile.
    const unordered = name === "loose";
    if (lane === undefined || (unordered && this.model.inTheAir(name, laneKey).length > 0)) return;
    const { deliveries, lanes } = this.#real.claim(lane, limit, this.#nowMs, unordered);
    const expected = this.model.claim(name, laneKey, limit, this.#nowMs, unordered);
    const shown = deliveries.map(({ message, attempts }) => ({ seq: message.seq, attempts }));
    expect(unordered ? shown.toSorted(bySeq) : shown).toEqual(
      (unordered ? expected.toSorted(bySeq) : expected).map(({ seq, attempts }) => ({ seq, attempts })),
    );
    expect(lanes[0]!.open).toBe(this.model.open(name, laneKey).length);
  }

  #settle({ pick: at, state, delayMs }: Command & { do: "settle" }): void {
    const inTheAir = this.model.deliveries.filter((d) => d.state === "sending");
    const chosen = inTheAir[at % Math.max(1, inTheAir.length)];
    if (!chosen) return;
    const waits = state === "waiting" || state === "unknown";
    chosen.state = state;
    chosen.attempts += 1;
    chosen.resend ||= state === "unknown";
    chosen.dueAtMs = waits && delayMs !== null ? this.#nowMs + delayMs : null;
    const { seq, attempts, resend, dueAtMs } = chosen;
    const lane = this.#real.laneOf(chosen.flow, chosen.key)!;
    this.#real.settle([{ lane, seq, state, attempts, resend, dueAtMs, reason: null, note: state }]);
  }

  #redrive(at: number): void {
    const needy = this.model.deliveries.filter((d) => d.state === "dead" || d.state === "unknown");
    const chosen = needy[at % Math.max(1, needy.length)];
    if (!chosen) return;
    const result = this.#real.call("redrive", { ids: [chosen.id], limit: 100 });
    expect(result.redriven).toBe(this.model.redrive([chosen.id], this.#nowMs).length);
  }
}

const bySeq = (a: { seq: number }, b: { seq: number }) => a.seq - b.seq;

/** Throws the shortest sequence found in which a store differs from the model. */
function holdAgainstModel(make: MakeStore, parameters: { endOnFailure?: boolean } = {}): void {
  const holds = fc.property(fc.array(command, { minLength: 1, maxLength: 60, size: "max" }), (commands) => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-model-"));
    const pair = new Pair(folder, make);
    try {
      for (const given of commands) pair.run(given);
      pair.check();
    } finally {
      pair.close();
      rmSync(folder, { recursive: true });
    }
  });
  const seed = SEED === undefined ? {} : { seed: Number(SEED) };
  fc.assert(holds, { numRuns: RUNS, ...seed, ...parameters });
}

describe("the store", () => {
  it(`does what its model does, over ${RUNS} sequences`, { timeout: LONG ? 3_600_000 : 120_000 }, () => {
    holdAgainstModel(makeStore);
  });

  it.each<[string, (store: BareWriter) => void]>([
    [
      "gives two of a lane in the wrong order",
      (store) => {
        const claim = store.claim.bind(store);
        store.claim = (...asked) => {
          const reply = claim(...asked);
          return { ...reply, deliveries: reply.deliveries.toReversed() };
        };
      },
    ],
    [
      "knows no duplicates",
      (store) => {
        const append = store.appendTo.bind(store);
        let count = 0;
        store.appendTo = (message) => append({ ...message, id: `${message.id}-${++count}`, identity: null });
      },
    ],
    [
      "forgets a settlement",
      (store) => {
        store.settle = () => {};
      },
    ],
    [
      "loses a message that found the disk full",
      (store) => {
        const append = store.appendTo.bind(store);
        store.appendTo = (message) => {
          const { fullOnce } = store;
          store.fullOnce = false;
          return append(fullOnce ? { ...message, flows: [] } : message);
        };
      },
    ],
  ])("would be seen by this if it were one that %s", { timeout: 60_000 }, (_, spoil) => {
    const make: MakeStore = (dataDir) => {
      const store = makeStore(dataDir);
      spoil(store);
      return store;
    };
    expect(() => holdAgainstModel(make, { endOnFailure: true })).toThrow(/Property failed/);
  });
});
