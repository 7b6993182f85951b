/** Answers that were lost: a resend under the same id, or what the flow says where the target is not idempotent. */
import { describe, expect, it } from "vitest";
import { delivered, retryTarget, unknown } from "../../src/core/outcome.ts";
import { RelayRig, type RelayRigOptions } from "../support/relay-rig.ts";
import { answers, type Knows, ScriptedTarget } from "../support/scripted-target.ts";
import { eventually } from "../support/test-store.ts";

const lost = unknown("timeout");

/** One message of `a` whose first answer is lost, beside one that is answered, and another behind it. */
async function withLostAnswer(onUnknown: string, options: { idempotent?: boolean; knows?: Knows } = {}) {
  const target = new ScriptedTarget({ idempotent: false, ...options });
  target.script = answers({ "a-1": [lost] });
  const rig = await RelayRig.open({ target, flows: { outbox: { onUnknown } } });
  await Promise.all([rig.put("a", 2), rig.put("b")]);
  await eventually(() => target.takenIds).toEqual(["b-1"]);
  await rig.calm();
  expect(rig.states()).toEqual(["a-1: unknown/1", "a-2: waiting/0", "b-1: delivered/1"]);
  return { rig, target };
}

const sentOf = (target: ScriptedTarget, id: string) =>
  target.calls.flatMap(({ batch }) => batch.filter(({ message }) => message.id === id));

describe("an idempotent target", () => {
  it.each(["retry", "probe", "hold"])(
    "is simply sent to again, under the same id, whatever the flow says (%s)",
    async (onUnknown) => {
      const { rig, target } = await withLostAnswer(onUnknown, { idempotent: true });
      await rig.advance(1000);
      expect(target.takenIds).toEqual(["b-1", "a-1", "a-2"]);
      expect(sentOf(target, "a-1").map(({ attempt, resend }) => ({ attempt, resend }))).toEqual([
        { attempt: 1, resend: false },
        { attempt: 2, resend: true },
      ]);
      expect(rig.history("a-1")).toEqual(["unknown: timeout", "delivered"]);
    },
  );
});

describe("a target that is not idempotent", () => {
  it("with `retry` is sent to again all the same, marked as a resend", async () => {
    const { rig, target } = await withLostAnswer("retry");
    await rig.advance(1000);
    expect(target.takenIds).toEqual(["b-1", "a-1", "a-2"]);
    expect(target.taken[1]!.resend).toBe(true);
  });

  it("with `probe`, where the backend has it, is not sent to again", async () => {
    const asked: string[] = [];
    const knows: Knows = (id) => {
      asked.push(id);
      return "yes";
    };
    const { rig, target } = await withLostAnswer("probe", { knows });
    await rig.advance(1000);
    expect(target.takenIds).toEqual(["b-1", "a-2"]);
    expect(asked).toEqual(["a-1"]);
    expect(rig.states()[0]).toMatch(/^a-1: delivered/);
    expect(rig.store.value("SELECT reason FROM deliveries WHERE seq = 1")).toBe(
      "the backend was asked and has it",
    );
  });

  it("with `probe`, where the backend has not, is sent to again, before the rest of the lane", async () => {
    const { rig, target } = await withLostAnswer("probe", { knows: () => "no" });
    await rig.advance(1000);
    expect(target.takenIds).toEqual(["b-1", "a-1", "a-2"]);
  });

  it("with `probe`, where the backend cannot say, is asked again later; that is no word on the target", async () => {
    let answer: ReturnType<Knows> = "cannot say";
    const { rig, target } = await withLostAnswer("probe", { knows: () => answer });
    await rig.advance(1000);
    expect(sentOf(target, "a-1")).toHaveLength(1);
    expect(sentOf(target, "a-2")).toHaveLength(1);
    expect(rig.circuit).toBe("closed");
    expect(rig.states()[0]).toMatch(/^a-1: unknown/);
    answer = "yes";
    await rig.advance(10_000);
    expect(target.takenIds).toEqual(["b-1", "a-2"]);
  });

  it("with `probe`, where asking fails altogether, goes on with the others and asks again later", async () => {
    const knows: Knows = () => {
      throw new Error("a defect of the target");
    };
    const { rig, target } = await withLostAnswer("probe", { knows });
    await rig.advance(1000);
    await rig.put("c");
    await eventually(() => target.takenIds).toEqual(["b-1", "c-1"]);
    expect(rig.states()[0]).toMatch(/^a-1: unknown/);
  });

  it("with `hold` waits for a person; its lane waits with it, and no other", async () => {
    const { rig, target } = await withLostAnswer("hold");
    await rig.advance(1000);
    expect(rig.view.lanesHeld).toBe(1);
    await rig.put("a");
    await rig.put("b");
    await eventually(() => target.takenIds).toEqual(["b-1", "b-2"]);
    await rig.advance(3_600_000);
    expect(sentOf(target, "a-1")).toHaveLength(1);
    expect(rig.store.value("SELECT due_at FROM deliveries WHERE seq = 1")).toBeNull();
    expect(rig.history("a-1").map((entry) => entry.split(":")[0])).toEqual(["unknown", "held"]);
    // The person says: send it again.
    expect((await rig.relay.redrive({ ids: ["a-1"], limit: 1 })).redriven).toBe(1);
    await eventually(() => target.takenIds).toEqual(["b-1", "b-2", "a-1", "a-2", "a-3"]);
    expect(target.taken[2]!.resend).toBe(true);
    expect(rig.store.audit().mismatches).toEqual([]);
  });

  it("keeps an unknown unknown while its target is away", async () => {
    const { rig, target } = await withLostAnswer("retry");
    target.script = () => retryTarget("ECONNREFUSED");
    target.reachable = () => false;
    await rig.advance(1000);
    expect(rig.circuit).toBe("open");
    expect(rig.states()).toEqual(["a-1: unknown/1", "a-2: waiting/0", "b-1: delivered/1"]);
  });
});

it("a flow that wants to probe a target that cannot be asked does not start", async () => {
  const target = new ScriptedTarget({ idempotent: false });
  await expect(RelayRig.open({ target, flows: { outbox: { onUnknown: "probe" } } })).rejects.toMatchObject({
    code: "HF_CONFIG",
    message: expect.stringContaining("flows.outbox.onUnknown"),
  });
});

describe("after a restart", () => {
  /** A rig whose only message was being sent when its process died. */
  async function diedWhileSending(options: Omit<RelayRigOptions, "target"> = {}) {
    const target = new ScriptedTarget({ idempotent: false });
    target.script = () => new Promise(() => {});
    const rig = await RelayRig.open({ target, ...options });
    await rig.put("a", 2);
    await eventually(() => target.calls.length).toBe(1);
    return rig;
  }

  it("what was being sent is sent again as a resend, in its order, under its id", async () => {
    const died = await diedWhileSending();
    const target = new ScriptedTarget();
    const rig = await RelayRig.open({ target, store: died.store, clock: died.clock });
    await eventually(() => target.takenIds).toEqual(["a-1", "a-2"]);
    expect(target.taken.map(({ resend, attempt }) => ({ resend, attempt }))).toEqual([
      { resend: true, attempt: 1 },
      { resend: true, attempt: 1 },
    ]);
    await rig.calm();
    expect(rig.history("a-1").map((entry) => entry.split(":")[0])).toEqual(["unknown", "delivered"]);
    expect(rig.store.audit().mismatches).toEqual([]);
  });

  it("it is held where the flow wants that", async () => {
    const flows = { outbox: { onUnknown: "hold" } };
    const died = await diedWhileSending({ flows });
    const target = new ScriptedTarget({ idempotent: false });
    const rig = await RelayRig.open({ target, flows, store: died.store, clock: died.clock });
    await eventually(() => rig.view.lanesHeld).toBe(1);
    expect(target.calls).toEqual([]);
  });

  it("what waited goes on where it was", async () => {
    const target = new ScriptedTarget();
    target.script = () => retryTarget("away");
    target.reachable = () => false;
    const before = await RelayRig.open({ target });
    await before.put("a", 3);
    await eventually(() => before.circuit).toBe("open");
    await before.stop();
    const next = new ScriptedTarget();
    await RelayRig.open({ target: next, store: before.store, clock: before.clock });
    await eventually(() => next.takenIds).toEqual(["a-1", "a-2", "a-3"]);
  });
});

describe("a target that breaks its contract", () => {
  it.each<[string, (target: ScriptedTarget) => void]>([
    [
      "throws",
      (target) => {
        target.misbehave = async () => {
          throw new Error("a defect of the target");
        };
      },
    ],
    [
      "throws before it has begun",
      (target) => {
        target.deliver = () => {
          throw new Error("a defect of the target");
        };
      },
    ],
    [
      "answers for fewer than it was given",
      (target) => {
        target.misbehave = async () => [delivered()];
      },
    ],
  ])("and %s has lost the answers: nothing is taken for delivered or for not sent", async (_, spoil) => {
    const target = new ScriptedTarget();
    const sound = target.deliver.bind(target);
    spoil(target);
    const rig = await RelayRig.open({ target });
    await rig.put("a", 2);
    await eventually(() => rig.circuit).toBe("open");
    await rig.calm();
    expect(rig.states()).toEqual(["a-1: unknown/0", "a-2: unknown/0"]);
    target.misbehave = undefined;
    target.deliver = sound;
    await rig.advance(500);
    await rig.advance(1000);
    await eventually(() => target.takenIds).toEqual(["a-1", "a-2"]);
  });
});
