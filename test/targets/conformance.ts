/**
 * The suite that every target runs against its misbehaving backend, and its scenarios by themselves, so that
 * a lying target can be held against them too (conformance-liars.test.ts).
 *
 * A scenario resolves to a list of problems; none is a pass.
 */
import { describe, expect, it } from "vitest";
import type { Backend, BackendMode } from "../../simulators/backends/backend.ts";
import type { LinkMode, TcpProxy } from "../../simulators/backends/tcp-proxy.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Target, TargetDelivery } from "../../src/targets/target.ts";
import { noAbort, nth } from "./deliveries.ts";
import { Witness, within } from "./witness.ts";

/** A target with its backend. */
export interface Bench {
  readonly backend: Backend;
  /** The link between the two, where they are on a network. */
  readonly link: TcpProxy | null;
  /** What the backend can do to us. */
  readonly modes: readonly BackendMode[];
  /** True where the backend can say of one message that it will never take it. */
  readonly canReject: boolean;
  /** A started target. `hasty`: gives up soon, for backends that never answer. */
  createTarget(patience: "hasty" | "patient"): Promise<Target>;
  dispose(): Promise<void>;
}

export interface Scenario {
  readonly title: string;
  /** False where the bench has no use for it. */
  readonly fits: (bench: Pick<Bench, "link" | "modes" | "canReject">) => boolean;
  readonly run: (bench: Bench) => Promise<string[]>;
}

const LANES = ["a", "b", "c"];

function batchOf(lanes: readonly string[], from: number, to: number): TargetDelivery[] {
  const batch: TargetDelivery[] = [];
  for (let n = from; n <= to; n++) for (const lane of lanes) batch.push(nth(lane, n));
  return batch;
}

async function withTarget(
  bench: Bench,
  patience: "hasty" | "patient",
  work: (target: Target, witness: Witness) => Promise<void>,
): Promise<string[]> {
  const target = await bench.createTarget(patience);
  const witness = new Witness(bench.backend);
  try {
    await work(target, witness);
  } finally {
    await target.stop();
  }
  return witness.problems();
}

const wellBehaved: Scenario = {
  title: "answers each delivery in the batch's order, once in effect and in order at the backend",
  fits: () => true,
  run: (bench) =>
    withTarget(bench, "patient", async (target, witness) => {
      const outcomes = await witness.deliver(target, batchOf(LANES, 1, 8));
      witness.check(
        outcomes.every(({ kind }) => kind === "delivered"),
        "not all were delivered by a backend that is well",
      );
      witness.checkAllInEffect(batchOf(LANES, 1, 8));
    }),
};

const resend: Scenario = {
  title: "sends again under the same id, so that it takes effect once",
  fits: () => true,
  run: (bench) =>
    withTarget(bench, "patient", async (target, witness) => {
      const batch = batchOf(LANES, 1, 3);
      await witness.deliver(target, batch);
      const again = batch.map((each) => ({ ...each, attempt: 2, resend: true }));
      const outcomes = await witness.deliver(target, again);
      witness.check(
        outcomes.every(({ kind }) => kind === "delivered"),
        "a resend was not delivered",
      );
      witness.checkAllInEffect(batch);
    }),
};

/** Modes in which nothing may be called delivered. */
const NEVER_CONFIRMS: readonly BackendMode[] = [
  "silent",
  "drop",
  "commit-then-silent",
  "commit-then-drop",
  "failing",
  "busy",
];

function whileBackendIs(mode: BackendMode): Scenario {
  return {
    title: `is honest while the backend is ${mode}, and loses nothing once it is well`,
    fits: ({ modes }) => modes.includes(mode),
    run: (bench) =>
      withTarget(bench, mode === "slow" ? "patient" : "hasty", async (target, witness) => {
        const batch = batchOf(LANES, 1, 4);
        await witness.drive(target, batchOf(LANES, 0, 0)); // the connection is up when it goes wrong
        bench.backend.setMode(mode);
        const outcomes = await witness.deliver(target, batch);
        for (const [at, { kind }] of outcomes.entries()) {
          const id = batch[at]!.message.id;
          if (NEVER_CONFIRMS.includes(mode)) witness.check(kind !== "delivered", `${id}: delivered`);
          if (mode === "slow")
            witness.check(kind === "delivered", `${id}: ${kind} by a backend that is only slow`);
        }
        bench.backend.setMode("ok");
        await witness.drive(target, batch, outcomes);
        witness.checkAllInEffect(batch);
      }),
  };
}

const hiccup: Scenario = {
  title: "does not go on with a lane behind a message that did not get through",
  fits: ({ link }) => link !== null,
  run: (bench) =>
    withTarget(bench, "hasty", async (target, witness) => {
      const batch = batchOf(["a"], 1, 6);
      await witness.drive(target, batchOf(LANES, 0, 0));
      bench.backend.setMode("drop");
      bench.backend.onArrival = () => bench.backend.setMode("ok");
      const outcomes = await witness.deliver(target, batch);
      bench.backend.onArrival = null;
      await witness.drive(target, batch, outcomes);
      witness.checkAllInEffect(batch);
    }),
};

const poison: Scenario = {
  title: "lets one bad message hold up nobody but its own lane",
  fits: ({ modes }) => modes.includes("reject-one"),
  run: (bench) =>
    withTarget(bench, "hasty", async (target, witness) => {
      const batch = batchOf(LANES, 1, 6);
      const at = batch.findIndex(({ message }) => message.id === "b-3");
      batch[at] = nth("b", 3, "poison");
      bench.backend.setMode("reject-one");
      const last = await witness.drive(target, batch, undefined, { roundsMax: 40 });
      const fate = last.get("b-3")?.kind;
      if (bench.canReject) witness.check(fate === "reject", `the bad message was answered with ${fate}`);
      const held = bench.canReject ? ["b-3"] : ["b-3", "b-4", "b-5", "b-6"];
      witness.checkAllInEffect(batch.filter(({ message }) => !held.includes(message.id)));
      witness.check(
        !bench.backend.arrivals().some(({ id, taken }) => id === "b-3" && taken),
        "the double took poison",
      );
    }),
};

const switchedOff: Scenario = {
  title: "tells a backend that is switched off from one that is there",
  fits: () => true,
  run: (bench) =>
    withTarget(bench, "hasty", async (target, witness) => {
      const batch = batchOf(LANES, 1, 4);
      await witness.drive(target, batchOf(LANES, 0, 0));
      await bench.link?.stop();
      await bench.backend.goAway();
      // The first call may still find a connection that it takes for alive.
      await witness.deliver(target, batchOf(["x"], 1, 1));
      const outcomes = await witness.deliver(target, batch);
      for (const [at, outcome] of outcomes.entries()) {
        witness.check(
          outcome.kind === "retry",
          `${batch[at]!.message.id}: ${outcome.kind} though nobody was there`,
        );
      }
      witness.check(
        outcomes.some((outcome) => outcome.kind === "retry" && outcome.fault === "target"),
        "no outcome says that it is the target",
      );
      const away = await target.probe(noAbort);
      witness.check(!away.reachable && away.detail.length > 0, "the probe calls it reachable");
      await bench.backend.comeBack();
      await bench.link?.start();
      const back = await target.probe(noAbort);
      witness.check(back.reachable, `the probe does not see it come back: ${back.detail}`);
      await witness.drive(target, batch, outcomes);
      witness.checkAllInEffect(batch);
    }),
};

function whileLinkIs(mode: LinkMode): Scenario {
  return {
    title: `is honest while the link is ${mode}, and loses nothing once it carries again`,
    fits: ({ link }) => link !== null,
    run: (bench) =>
      withTarget(bench, "hasty", async (target, witness) => {
        const link = bench.link!;
        const batch = batchOf(LANES, 1, 4);
        await witness.drive(target, batchOf(LANES, 0, 0));
        link.setMode(mode);
        const outcomes = await witness.deliver(target, batch);
        witness.check(
          outcomes.every(({ kind }) => kind !== "delivered"),
          "delivered over a link that carries no answer",
        );
        const { reachable } = await target.probe(noAbort);
        witness.check(!reachable, "the probe calls it reachable");
        link.setMode("pass");
        await witness.drive(target, batch, outcomes);
        witness.checkAllInEffect(batch);
      }),
  };
}

const abort: Scenario = {
  title: "answers soon and honestly when the gateway stops",
  fits: ({ modes }) => modes.includes("silent"),
  run: (bench) =>
    withTarget(bench, "patient", async (target, witness) => {
      await witness.drive(target, batchOf(LANES, 0, 0));
      bench.backend.setMode("commit-then-silent");
      const stop = new AbortController();
      const arrived = new Promise<void>((resolve) => {
        bench.backend.onArrival = () => resolve();
      });
      const answering = witness.deliver(target, batchOf(LANES, 1, 4), stop.signal);
      await within(2000, arrived, "the first arrival");
      bench.backend.onArrival = null;
      stop.abort();
      const outcomes = await within(2500, answering, "an answer after the stop signal");
      witness.check(
        outcomes.some(({ kind }) => kind === "unknown"),
        "none of what was sent is unknown",
      );
      const before = bench.backend.arrivals().length;
      const late = await witness.deliver(target, batchOf(["late"], 1, 3), stop.signal);
      witness.check(
        late.every(({ kind }) => kind === "retry"),
        "sent after the stop signal",
      );
      witness.check(bench.backend.arrivals().length === before, "something arrived after the stop signal");
    }),
};

const stopping: Scenario = {
  title: "stops twice, answers after it, and leaves nothing open",
  fits: () => true,
  run: async (bench) => {
    const witness = new Witness(bench.backend);
    const before = openHandles();
    const target = await bench.createTarget("patient");
    await witness.deliver(target, batchOf(LANES, 1, 2));
    await Promise.all([target.stop(), target.stop()]);
    await target.stop();
    const outcomes = await witness.deliver(target, batchOf(LANES, 3, 4));
    witness.check(
      outcomes.every(({ kind }) => kind === "retry"),
      "delivered after it was stopped",
    );
    witness.check(
      !(await target.probe(noAbort)).reachable,
      "the probe of a stopped target calls it reachable",
    );
    // The other side's end of a connection takes a moment longer to close.
    for (let waits = 0; waits < 100 && !fewer(openHandles(), before); waits++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const after = openHandles();
    witness.check(
      fewer(after, before),
      `left open: ${JSON.stringify(after)}, before: ${JSON.stringify(before)}`,
    );
    return witness.problems();
  },
};

/** What keeps the process alive, counted by kind. */
function openHandles(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

const WATCHED = ["TCPSocketWrap", "TLSWrap", "PipeWrap", "FSReqPromise", "FILEHANDLE", "TCPServerWrap"];

function fewer(after: Record<string, number>, before: Record<string, number>): boolean {
  return WATCHED.every((kind) => (after[kind] ?? 0) <= (before[kind] ?? 0));
}

function chaos(seed: number): Scenario {
  return {
    title: `keeps its word while everything changes at random (seed ${seed})`,
    fits: () => true,
    run: (bench) =>
      withTarget(bench, "hasty", async (target, witness) => {
        const random = seededRandom(seed);
        const pick = <T>(from: readonly T[]) => from[random.below(from.length)]!;
        const batch = batchOf(["a", "b", "c", "d", "e"], 1, 12);
        const links: readonly LinkMode[] = [
          "pass",
          "pass",
          "pass",
          "cut",
          "reset",
          "drop-answers",
          "half-open",
        ];
        const modes = bench.modes.filter((mode) => mode !== "slow" && mode !== "reject-one");
        let rounds = 0;
        let arrivals = 0;
        let turnAt = Number.POSITIVE_INFINITY;
        bench.backend.onArrival = () => {
          if (++arrivals === turnAt) bench.backend.setMode(pick(modes));
        };
        await witness.drive(target, batch, undefined, {
          perLane: 4,
          roundsMax: 60,
          beforeRound: async () => {
            const calm = ++rounds > 6;
            turnAt = calm ? Number.POSITIVE_INFINITY : arrivals + 1 + random.below(8);
            bench.backend.setMode(calm || random.below(2) === 0 ? "ok" : pick(modes));
            bench.link?.setMode(calm ? "pass" : pick(links));
          },
        });
        bench.backend.onArrival = null;
        witness.checkAllInEffect(batch);
      }),
  };
}

export const SCENARIOS = {
  wellBehaved,
  resend,
  slow: whileBackendIs("slow"),
  silent: whileBackendIs("silent"),
  drop: whileBackendIs("drop"),
  commitThenSilent: whileBackendIs("commit-then-silent"),
  commitThenDrop: whileBackendIs("commit-then-drop"),
  failing: whileBackendIs("failing"),
  busy: whileBackendIs("busy"),
  hiccup,
  poison,
  switchedOff,
  halfOpen: whileLinkIs("half-open"),
  answersLost: whileLinkIs("drop-answers"),
  cut: whileLinkIs("cut"),
  reset: whileLinkIs("reset"),
  abort,
  stopping,
  chaos: chaos(20260701),
  chaosAgain: chaos(4711),
} as const satisfies Record<string, Scenario>;
export type ScenarioName = keyof typeof SCENARIOS;

/** Runs the scenarios, or those named, each on a bench of its own. */
export function describeTarget(
  name: string,
  makeBench: () => Promise<Bench>,
  names: readonly ScenarioName[] = Object.keys(SCENARIOS) as ScenarioName[],
): void {
  describe(`the ${name} target`, () => {
    for (const each of names) {
      const scenario: Scenario = SCENARIOS[each];
      it(scenario.title, async () => {
        const bench = await makeBench();
        try {
          expect(scenario.fits(bench), "its backend can do that").toBe(true);
          expect(await scenario.run(bench)).toEqual([]);
        } finally {
          await bench.dispose();
        }
      });
    }
  });
}
