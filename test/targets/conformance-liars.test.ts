/** The negative control: targets that lie, each held against the scenario that has to catch it. */
import { afterAll, describe, expect, it } from "vitest";
import { delivered, type Outcome, retryTarget } from "../../src/core/outcome.ts";
import type { Target, TargetDelivery } from "../../src/targets/target.ts";
import { fileBench, httpBench, mqttBench } from "./benches.ts";
import { type Bench, SCENARIOS, type ScenarioName } from "./conformance.ts";

type Deliver = Target["deliver"];

/** `target` with another deliver(), or another stop(). */
function twin(target: Target, lie: { deliver?: (truth: Deliver) => Deliver; stop?: Target["stop"] }): Target {
  const truth: Deliver = (batch, signal) => target.deliver(batch, signal);
  return {
    name: target.name,
    type: target.type,
    idempotent: target.idempotent,
    batchMax: target.batchMax,
    batchBytesMax: target.batchBytesMax,
    concurrency: target.concurrency,
    start: () => target.start(),
    stop: lie.stop ?? (() => target.stop()),
    probe: (signal) => target.probe(signal),
    deliver: lie.deliver?.(truth) ?? truth,
  };
}

const leaked: Target[] = [];
afterAll(() => Promise.all(leaked.map((target) => target.stop())));

const changing = (change: (outcome: Outcome) => Outcome) => (target: Target) =>
  twin(target, { deliver: (truth) => async (batch, signal) => (await truth(batch, signal)).map(change) });

const LIARS: Record<string, { lie: (target: Target) => Target; caughtBy: readonly ScenarioName[] }> = {
  "says delivered as soon as it has sent": {
    lie: changing((outcome) => (outcome.kind === "unknown" ? delivered() : outcome)),
    caughtBy: ["silent", "drop", "answersLost"],
  },
  "says delivered of what it never sent": {
    lie: changing((outcome) => (outcome.kind === "retry" ? delivered() : outcome)),
    caughtBy: ["switchedOff", "failing"],
  },
  "says retry of what the backend took": {
    lie: changing((outcome) => (outcome.kind === "unknown" ? retryTarget("lost") : outcome)),
    caughtBy: ["commitThenDrop", "commitThenSilent"],
  },
  "sends a lane backwards": {
    lie: (target) =>
      twin(target, {
        deliver: (truth) => async (batch, signal) => (await truth(batch.toReversed(), signal)).toReversed(),
      }),
    caughtBy: ["wellBehaved"],
  },
  "goes on with a lane behind one that failed": {
    lie: (target) =>
      twin(target, {
        deliver: (truth) => async (batch, signal) => {
          const outcomes: Outcome[] = [];
          for (const delivery of batch) outcomes.push(...(await truth([delivery], signal)));
          return outcomes;
        },
      }),
    caughtBy: ["hiccup"],
  },
  "gives a resend another id": {
    lie: (target) =>
      twin(target, {
        deliver: (truth) => (batch, signal) =>
          truth(
            batch.map((delivery): TargetDelivery => {
              if (delivery.attempt === 1) return delivery;
              return {
                ...delivery,
                message: { ...delivery.message, id: `${delivery.message.id}-${delivery.attempt}` },
              };
            }),
            signal,
          ),
      }),
    caughtBy: ["resend", "commitThenDrop"],
  },
  "leaves an outcome out": {
    lie: (target) =>
      twin(target, { deliver: (truth) => async (batch, signal) => (await truth(batch, signal)).slice(1) }),
    caughtBy: ["wellBehaved"],
  },
  "answers in another order than it was asked": {
    lie: (target) =>
      twin(target, {
        deliver: (truth) => async (batch, signal) => (await truth(batch, signal)).toReversed(),
      }),
    caughtBy: ["poison"],
  },
  "calls a rejected message delivered": {
    lie: changing((outcome) => (outcome.kind === "reject" ? delivered() : outcome)),
    caughtBy: ["poison"],
  },
  "does not hear the stop signal": {
    lie: (target) =>
      twin(target, { deliver: (truth) => (batch) => truth(batch, new AbortController().signal) }),
    caughtBy: ["abort"],
  },
  "keeps its connection when stopped": {
    lie: (target) => {
      leaked.push(target);
      return twin(target, { stop: async () => {} });
    },
    caughtBy: ["stopping"],
  },
};

function lying(bench: Bench, lie: (target: Target) => Target): Bench {
  return { ...bench, createTarget: async (patience) => lie(await bench.createTarget(patience)) };
}

/** A scenario that fails by an exception has caught the liar as well. */
async function problemsWith(
  scenario: ScenarioName,
  makeBench: () => Promise<Bench>,
  lie: (t: Target) => Target,
) {
  const bench = await makeBench();
  try {
    return await SCENARIOS[scenario].run(lying(bench, lie));
  } catch (error) {
    return [String(error)];
  } finally {
    await bench.dispose();
  }
}

describe("the conformance suite catches a target that", () => {
  for (const [what, { lie, caughtBy }] of Object.entries(LIARS)) {
    it(what, async () => {
      for (const scenario of caughtBy) {
        const honest = await problemsWith(
          scenario,
          () => httpBench(),
          (target) => target,
        );
        expect(honest, `${scenario}, honest`).toEqual([]);
        const found = await problemsWith(scenario, () => httpBench(), lie);
        expect(found, `${scenario}, lying`).not.toEqual([]);
      }
    });
  }

  it("pipelines past a lost answer over MQTT, and calls that retry", async () => {
    const { lie } = LIARS["says retry of what the backend took"]!;
    expect(await problemsWith("answersLost", () => mqttBench(), lie)).not.toEqual([]);
  });

  it("writes a line again to a file that has it", async () => {
    const forgetful = (target: Target) =>
      twin(target, {
        deliver: (truth) => (batch, signal) =>
          truth(
            batch.map((each) => ({ ...each, flow: `${each.flow}-${each.attempt}` })),
            signal,
          ),
      });
    expect(await problemsWith("resend", () => fileBench(), forgetful)).not.toEqual([]);
  });
});
