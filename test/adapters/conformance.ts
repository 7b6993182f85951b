/**
 * The suite that every adapter runs in front of its misbehaving machines, and its scenarios by themselves, so
 * that a lying adapter can be held against them too (conformance-liars.test.ts).
 *
 * A scenario resolves to a list of problems; none is a pass.
 */
import { describe, expect, it } from "vitest";
import type { Adapter, AdapterContext } from "../../src/adapters/adapter.ts";
import { sleep, systemClock } from "../../src/core/clock.ts";
import { eventually } from "../support/journey.ts";
import { within } from "../targets/witness.ts";
import { fewer, memoryAtRest, memoryInUse, openHandles } from "./footprint.ts";
import { Observed } from "./observed.ts";

/** One of the two machines of a bench; the device in front of it has its name. */
export interface Machine {
  well(): void;
  silent(): void;
  garbling(): void;
  /** Requests that it has heard; null for one that is not asked. */
  heard(): number | null;
  /** Bytes that mean nothing, at once. */
  flood(bytes: number): Promise<void>;
}

export interface AdapterBench {
  readonly one: Machine;
  readonly two: Machine;
  /** The signal that both have, and what it always is. */
  readonly signal: string;
  readonly value: number;
  /** The line to `one` (and to `two`, where they share it) is cut, so that it cannot be reached; and mended. */
  cut(): Promise<void>;
  mend(): Promise<void>;
  /** Devices `one` and `two`, read every few ms. `patient`: an answer is waited for as long as can be. */
  createAdapter(
    context: AdapterContext,
    options: { readonly patient: boolean; readonly messagesMax: number },
  ): Adapter;
  /** How long it is waited for what an adapter owes. */
  readonly patienceMs?: number;
  dispose(): Promise<void>;
}

/** Many times what it takes, for a machine with others at work on it. */
const PATIENCE_MS = 30_000;

const owed = <T>({ patienceMs = PATIENCE_MS }: AdapterBench, what: string, look: () => T | Promise<T>) =>
  eventually(what, look, patienceMs);

export interface AdapterScenario {
  readonly title: string;
  readonly run: (bench: AdapterBench) => Promise<string[]>;
}

export type Problems = { check(holds: boolean, problem: string): void };

const START_MS_MAX = 1000;
const STOP_MS_MAX = 4000;
/** What goes on after a stop asks a few times within this. */
const GOES_ON_MS = 250;
/** What was kept for no purpose is given up within this. */
const FORGOTTEN_MS_MAX = 2000;
/** To look costs three collections of all garbage. */
const FORGOTTEN_EVERY_MS = 250;
const HELD_MAX = 8;
const FLOOD_BYTES = 3 * 2 ** 20;
/** Code that is compiled on the way takes some too. */
const GROWTH_BYTES_MAX = 1.5 * 2 ** 20;

async function observing(
  bench: AdapterBench,
  work: (observed: Observed, problems: Problems) => Promise<void>,
  options: { patient?: boolean; messagesMax?: number; start?: boolean } = {},
): Promise<string[]> {
  const { patient = false, messagesMax = 1000, start = true } = options;
  const observed = new Observed((context) => bench.createAdapter(context, { patient, messagesMax }));
  const found: string[] = [];
  try {
    if (start) await within(START_MS_MAX, observed.adapter.start(), "the start");
    await work(observed, { check: (holds, problem) => void (holds || found.push(problem)) });
  } finally {
    observed.gate.open();
    await within(STOP_MS_MAX, observed.adapter.stop(), "the stop");
  }
  return found;
}

const good = (observed: Observed, { signal }: AdapterBench, device = "one") =>
  observed.readings(device).filter((each) => each.signal === signal && each.quality === "good");

/** `n` more good readings of a device. */
async function reads(observed: Observed, bench: AdapterBench, n: number, device = "one"): Promise<void> {
  const before = good(observed, bench, device).length;
  await owed(
    bench,
    `${n} more readings of ${device}`,
    () => good(observed, bench, device).length >= before + n,
  );
}

const startsAlone: AdapterScenario = {
  title: "starts without its machine, says that it is not there, and finds it when it comes",
  async run(bench) {
    await bench.cut();
    return observing(bench, async (observed, { check }) => {
      await owed(bench, "it is offline", () => observed.report("one").state === "offline");
      check(/^unreachable: ./.test(observed.report("one").lastError ?? ""), "it does not say why");
      check(good(observed, bench).length === 0, "it read a machine that is not there");
      await bench.mend();
      await reads(observed, bench, 1);
      check(observed.report("one").state === "online", "it was read, and is not online");
    });
  },
};

const evidence: AdapterScenario = {
  title: "calls a device online by what it says, never because its line is there",
  run(bench) {
    bench.one.silent();
    return observing(bench, async (observed, { check }) => {
      const states = new Set<string>();
      const asked = bench.one.heard();
      await owed(bench, "it was asked, or silent for long enough", () => {
        states.add(observed.report("one").state);
        return asked === null ? observed.report("one").state === "offline" : bench.one.heard()! > asked + 1;
      });
      check(
        !states.has("online") && !states.has("failing"),
        `it said nothing, and was ${[...states].join(", ")}`,
      );
      bench.one.well();
      await reads(observed, bench, 2);
      check(observed.report("one").state === "online", "it answers, and is not online");
      check((observed.report("one").lastAnswerAtMs ?? 0) > 0, "it does not say when it answered");
      const before = observed.messages("one").length;
      bench.one.silent();
      await owed(bench, "it is offline", () => observed.report("one").state === "offline");
      const after = () =>
        observed
          .readings("one")
          .filter((each) => each.signal === bench.signal)
          .at(-1);
      await eventually(
        "it is told",
        () => observed.messages("one").length > before && after()?.quality !== "good",
        3000,
      );
      check(after()?.quality === "stale", `its value is ${after()?.quality} now`);
      check(after()?.value === bench.value, "its last value is lost");
      check((after()?.reason ?? "").includes(": "), "it does not say why");
    });
  },
};

const numbering: AdapterScenario = {
  title: "numbers each device's messages without a hole, under (device, boot, sequence)",
  run: (bench) =>
    observing(bench, async (observed, { check }) => {
      await Promise.all([reads(observed, bench, 6, "one"), reads(observed, bench, 6, "two")]);
      bench.one.silent();
      await owed(bench, "it is offline", () => observed.report("one").state === "offline");
      bench.one.well();
      await reads(observed, bench, 3);
      for (const device of ["one", "two"]) {
        const sequences = observed.messages(device).map(({ sequence }) => sequence);
        check(
          sequences.every((sequence, at) => sequence === at + 1),
          `${device}: ${sequences.join(" ")}`,
        );
      }
      const ids = observed.drafts.map(({ device, producerId }) => `${device} ${producerId}`);
      const wanted = observed.drafts.map(({ device, payload }) => {
        const { boot, sequence } = JSON.parse(payload.toString()) as { boot: string; sequence: number };
        return `${device} ${boot}.${sequence}`;
      });
      check(ids.join() === wanted.join(), "an id is not its boot and sequence");
    }),
};

const refusingStore: AdapterScenario = {
  title: "holds the newest, within its limit, while the store takes none, and says what was missed",
  run: (bench) =>
    observing(
      bench,
      async (observed, { check }) => {
        await reads(observed, bench, 2);
        observed.gate.shut();
        await owed(bench, "some were missed", () => observed.report("one").missed > 5);
        check(observed.report("one").held <= HELD_MAX, `${observed.report("one").held} are held`);
        observed.gate.open();
        await reads(observed, bench, 2);
        const { made, storedSequence, missed } = observed.report("one");
        check(made - storedSequence <= HELD_MAX, "the cursor does not follow");
        let next = 1;
        let inGaps = 0;
        for (const message of observed.messages("one")) {
          const from = message.kind === "gap" ? message.fromSequence : message.sequence;
          check(from === next, `${next} is followed by ${from}`);
          if (message.kind === "gap") inGaps += message.count ?? 0;
          next = message.sequence + 1;
        }
        check(inGaps === missed, `${missed} were missed, and gap records speak of ${inGaps}`);
      },
      { messagesMax: HELD_MAX },
    ),
};

const deadNeighbour: AdapterScenario = {
  title: "is not held up by a device that is dead",
  run: (bench) =>
    observing(bench, async (observed, { check }) => {
      await Promise.all([reads(observed, bench, 2, "one"), reads(observed, bench, 2, "two")]);
      bench.two.silent();
      await owed(bench, "two is offline", () => observed.report("two").state === "offline");
      await reads(observed, bench, 12, "one");
      check(observed.report("one").state === "online", "the other is not online");
      const stale = observed.readings("one").filter(({ quality }) => quality !== "good");
      check(stale.length === 0, `the other has readings that are not good: ${stale[0]?.reason}`);
    }),
};

const garbage: AdapterScenario = {
  title: "makes no reading of garbage, says that it came, and reads on when it is over",
  run: (bench) =>
    observing(bench, async (observed, { check }) => {
      await reads(observed, bench, 2);
      bench.one.garbling();
      await owed(bench, "it is not online", () => observed.report("one").state !== "online");
      check((observed.report("one").lastError ?? "") !== "", "it does not say what is wrong");
      bench.one.well();
      await reads(observed, bench, 3);
      for (const { value } of good(observed, bench)) check(value === bench.value, `it read ${String(value)}`);
    }),
};

const flood: AdapterScenario = {
  title: "keeps nothing of a flood of garbage",
  run: (bench) =>
    observing(bench, async (observed, { check }) => {
      await reads(observed, bench, 2);
      let grown = Number.POSITIVE_INFINITY;
      // Much else grows once. What keeps a flood grows with each.
      for (let n = 0; n < 3 && grown > GROWTH_BYTES_MAX; n++) {
        const before = await memoryAtRest();
        await bench.one.flood(FLOOD_BYTES);
        await reads(observed, bench, 2);
        // What is still on its way, or waits for its end, is given back. What is kept is not.
        const untilMs = performance.now() + FORGOTTEN_MS_MAX;
        do {
          await sleep(systemClock, FORGOTTEN_EVERY_MS);
          grown = (await memoryInUse()) - before;
        } while (grown > GROWTH_BYTES_MAX && performance.now() < untilMs);
      }
      check(grown <= GROWTH_BYTES_MAX, `${grown} bytes more are in use after each`);
      for (const { value } of good(observed, bench)) check(value === bench.value, `it read ${String(value)}`);
    }),
};

const comesBack: AdapterScenario = {
  title: "goes on by itself when a line that was cut is mended, as often as it happens",
  run: (bench) =>
    observing(bench, async (observed, { check }) => {
      for (let n = 0; n < 2; n++) {
        await reads(observed, bench, 2);
        await bench.cut();
        await owed(bench, "it is offline", () => observed.report("one").state === "offline");
        const says = () => /^unreachable: ./.test(observed.report("one").lastError ?? "");
        await owed(bench, "it says why", says);
        await bench.mend();
      }
      await reads(observed, bench, 2);
      check(observed.report("one").state === "online", "it is not online again");
    }),
};

const stopping: AdapterScenario = {
  title: "stops soon, twice, with a request under way, and leaves nothing running",
  async run(bench) {
    const handles = openHandles();
    const found = await observing(
      bench,
      async (observed, { check }) => {
        await reads(observed, bench, 1);
        bench.one.silent();
        const asked = bench.one.heard() ?? 0;
        if (bench.one.heard() !== null)
          await owed(bench, "a request is under way", () => bench.one.heard()! > asked);
        await within(
          STOP_MS_MAX,
          Promise.all([observed.adapter.stop(), observed.adapter.stop()]),
          "the stop",
        );
        bench.one.well();
        const seen = () => [bench.one.heard() ?? 0, bench.two.heard() ?? 0, observed.drafts.length] as const;
        const before = seen();
        await new Promise((resolve) => setTimeout(resolve, GOES_ON_MS));
        const after = seen();
        // A machine is asked one thing at a time: that may have been on its way to it, and is all that may come.
        const wentOn = after.some((count, at) => count > before[at]! + (at < 2 ? 1 : 0));
        check(!wentOn, `something went on: ${before}, then ${after}`);
      },
      { patient: true },
    );
    await eventually("nothing is left open", () => fewer(openHandles(), handles), 3000).catch(() =>
      found.push(`left open: ${JSON.stringify(openHandles())}, before: ${JSON.stringify(handles)}`),
    );
    return found;
  },
};

const stoppingEarly: AdapterScenario = {
  title: "may be stopped before, and while, it starts",
  async run(bench) {
    const early = await observing(bench, async () => {}, { start: false });
    const during = await observing(
      bench,
      async (observed, { check }) => {
        const starting = observed.adapter.start();
        await within(STOP_MS_MAX, Promise.all([observed.adapter.stop(), starting]), "the stop");
        check(observed.drafts.length === 0, "it read");
      },
      { start: false },
    );
    return [...early, ...during];
  },
};

export const ADAPTER_SCENARIOS = {
  startsAlone,
  evidence,
  numbering,
  refusingStore,
  deadNeighbour,
  garbage,
  comesBack,
  stoppingEarly,
} as const satisfies Record<string, AdapterScenario>;

/** They look at the process as a whole, so that nothing else may go on in it. */
export const LONELY_SCENARIOS = { flood, stopping } as const satisfies Record<string, AdapterScenario>;

export type ScenarioName = keyof typeof ADAPTER_SCENARIOS | keyof typeof LONELY_SCENARIOS;

const SCENARIO_NAMES = [
  ...Object.keys(ADAPTER_SCENARIOS),
  ...Object.keys(LONELY_SCENARIOS),
] as ScenarioName[];

export function scenario(name: ScenarioName): AdapterScenario {
  return { ...ADAPTER_SCENARIOS, ...LONELY_SCENARIOS }[name];
}

/** Runs the scenarios, or those named, each on a bench of its own; those that can, side by side: they mostly wait. */
export function describeAdapter(
  name: string,
  makeBench: () => Promise<AdapterBench>,
  names: readonly ScenarioName[] = SCENARIO_NAMES,
): void {
  const run = async ({ run }: AdapterScenario) => {
    const bench = await makeBench();
    try {
      expect(await run(bench)).toEqual([]);
    } finally {
      await bench.dispose();
    }
  };
  const lonely = names.filter((each) => each in LONELY_SCENARIOS);
  describe.concurrent(`the ${name} adapter`, () => {
    for (const each of names) if (!lonely.includes(each)) it(scenario(each).title, () => run(scenario(each)));
  });
  if (lonely.length === 0) return;
  describe(`the ${name} adapter, alone`, () => {
    for (const each of lonely) it(scenario(each).title, () => run(scenario(each)));
  });
}
