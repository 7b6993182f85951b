/** A target that is away: the circuit opens, one probe asks, nobody is charged, and one message tries the way. */
import { describe, expect, it } from "vitest";
import {
  delivered,
  type Outcome,
  reject,
  retryMessage,
  retryTarget,
  unknown,
} from "../../src/core/outcome.ts";
import { RelayRig } from "../support/relay-rig.ts";
import { answers, ScriptedTarget, type ScriptedTargetOptions } from "../support/scripted-target.ts";
import { eventually } from "../support/test-store.ts";

/** A target that is away from its first call on, until it is told to be back. */
function outage(away: Outcome, options: ScriptedTargetOptions = {}) {
  const target = new ScriptedTarget(options);
  let back = false;
  target.script = () => (back ? delivered() : away);
  target.reachable = () => back || target.calls.length === 0;
  return {
    target,
    comeBack: () => {
      back = true;
    },
  };
}

const refused = retryTarget("ECONNREFUSED");

describe("while a target is away", () => {
  it("nothing is sent, and no message is charged for it, however long it lasts", async () => {
    const { target, comeBack } = outage(refused);
    const rig = await RelayRig.open({ target, flows: { outbox: { retry: { attemptsMax: 3 } } } });
    await rig.put("a", 3);
    await eventually(() => rig.circuit).toBe("open");
    for (let minute = 0; minute < 30; minute++) await rig.advance(60_000);
    await rig.put("b", 2);
    await rig.calm();
    expect(target.calls).toHaveLength(1);
    expect(rig.states()).toEqual([
      "a-1: waiting/0",
      "a-2: waiting/0",
      "a-3: waiting/0",
      "b-1: waiting/0",
      "b-2: waiting/0",
    ]);
    comeBack();
    await rig.advance(30_000);
    await eventually(() => target.taken.length).toBe(5);
    await rig.calm();
    expect(rig.circuit).toBe("closed");
    expect(rig.states().every((state) => state.endsWith("delivered/1"))).toBe(true);
    expect(rig.store.audit().mismatches).toEqual([]);
  });

  it("a message that it took on its way is charged once, not again for what others got just before", async () => {
    const target = new ScriptedTarget({ concurrency: 2 });
    const slow = Promise.withResolvers<Outcome>();
    target.script = ({ message: { device } }) =>
      device === "a" ? unknown("no answer") : device === "c" ? slow.promise : delivered();
    const rig = await RelayRig.open({ target });
    await Promise.all(["a", "b", "c"].map((device) => rig.put(device)));
    await rig.advance(10);
    expect(rig.states()).toEqual(["a-1: unknown/1", "b-1: delivered/1", "c-1: sending/0"]);
    // Sent before the link broke, and answered after the other was lost.
    slow.resolve(delivered());
    await rig.calm();
    expect(rig.circuit).toBe("closed");
    await rig.advance(1000);
    expect(target.calls).toHaveLength(3);
    expect(rig.states()[0]).toBe("a-1: unknown/1");
    expect(rig.circuit).toBe("open");
  });

  it("messages would die of it if it were taken for their fault: this is what the test above would see", async () => {
    const { target } = outage(retryMessage("500"));
    const rig = await RelayRig.open({ target, flows: { outbox: { retry: { attemptsMax: 3 } } } });
    await rig.put("a", 3);
    await rig.calm();
    for (let minute = 0; minute < 30; minute++) await rig.advance(60_000);
    expect(rig.states()).toEqual(["a-1: dead/3", "a-2: dead/3", "a-3: dead/3"]);
  });

  it("it is asked less and less often, by one probe at a time", async () => {
    const { target } = outage(refused);
    const rig = await RelayRig.open({ target, relay: { probeDelayMin: "1s", probeDelayMax: "8s" } });
    await rig.put("a");
    await eventually(() => rig.circuit).toBe("open");
    const probesAt: number[] = [];
    const before = target.probes;
    for (let second = 1; second <= 31; second++) {
      const probes = target.probes;
      await rig.advance(1000);
      if (target.probes > probes) probesAt.push(second);
    }
    expect(probesAt).toEqual([1, 3, 7, 15, 23, 31]);
    expect(target.probes - before).toBe(6);
  });

  it("a probe that takes its time is waited for, not joined by another", async () => {
    const { target } = outage(refused);
    const rig = await RelayRig.open({ target });
    await rig.put("a");
    await eventually(() => rig.circuit).toBe("open");
    const answer = Promise.withResolvers<boolean>();
    target.reachable = () => answer.promise;
    const before = target.probes;
    await rig.advance(600_000);
    expect(target.probes).toBe(before + 1);
    answer.resolve(false);
    await rig.calm();
    await rig.advance(600_000);
    expect(target.probes).toBeGreaterThan(before + 1);
  });

  it("calls that were in the air together count as one failure", async () => {
    const { target } = outage(refused, { concurrency: 8, batchMax: 1 });
    const gate = Promise.withResolvers<void>();
    target.script = async () => {
      await gate.promise;
      return refused;
    };
    const rig = await RelayRig.open({ target });
    await Promise.all(Array.from({ length: 8 }, (_, at) => rig.put(`d${at}`)));
    await eventually(() => target.calls.length).toBe(8);
    gate.resolve();
    await rig.calm();
    expect(rig.view.circuit).toMatchObject({ state: "open", failures: 1 });
  });

  it("it is left alone for as long as it asked for", async () => {
    const { target, comeBack } = outage(retryTarget("503", 60_000));
    const rig = await RelayRig.open({ target });
    await rig.put("a");
    await eventually(() => rig.circuit).toBe("open");
    comeBack();
    const before = target.probes;
    await rig.advance(59_999);
    expect(target.probes).toBe(before);
    await rig.advance(1);
    await eventually(() => target.takenIds).toEqual(["a-1"]);
  });

  it("other targets are not", async () => {
    const { target } = outage(refused);
    const other = new ScriptedTarget({ name: "other" });
    const rig = await RelayRig.open({
      target,
      others: [other],
      flows: { outbox: {}, copy: { to: "other" } },
    });
    await rig.put("a", 2, { flow: "outbox" });
    await eventually(() => rig.circuit).toBe("open");
    await rig.put("b", 2, { flow: "copy" });
    await eventually(() => other.takenIds).toEqual(["b-1", "b-2"]);
  });

  it("its view says since when, why, and how often it failed", async () => {
    const { target } = outage(refused);
    const rig = await RelayRig.open({ target });
    const sinceMs = rig.clock.wallMs();
    await rig.put("a");
    await eventually(() => rig.circuit).toBe("open");
    await rig.advance(500);
    expect(rig.view).toMatchObject({
      circuit: { state: "open", sinceMs, failures: 2, reason: "ECONNREFUSED" },
      lastError: "ECONNREFUSED",
      lastDeliveredAtMs: null,
      callsInFlight: 0,
      canBeAsked: false,
    });
  });
});

describe("when a probe is answered", () => {
  it("one message is let through, and only when it is taken the rest follows", async () => {
    const { target } = outage(refused);
    const rig = await RelayRig.open({ target });
    for (const device of ["a", "b"]) await rig.put(device, 5);
    await eventually(() => rig.circuit).toBe("open");
    const gate = Promise.withResolvers<void>();
    target.reachable = () => true;
    target.script = async () => {
      await gate.promise;
      return delivered();
    };
    const before = target.calls.length;
    await rig.advance(500);
    expect(rig.circuit).toBe("half-open");
    expect(target.callSizes.slice(before)).toEqual([1]);
    gate.resolve();
    await eventually(() => target.taken.length).toBe(10);
    expect(rig.circuit).toBe("closed");
  });

  it("and the one message is not taken, the circuit opens again, for longer, and the message is not charged", async () => {
    const { target } = outage(refused);
    target.reachable = () => true;
    const rig = await RelayRig.open({ target });
    await rig.put("a", 3);
    await eventually(() => rig.circuit).toBe("open");
    await rig.advance(500);
    expect(rig.view.circuit).toMatchObject({ state: "open", failures: 2 });
    await rig.advance(999);
    expect(target.callSizes).toEqual([3, 1]);
    await rig.advance(1);
    expect(target.callSizes).toEqual([3, 1, 1]);
    expect(rig.states()).toEqual(["a-1: waiting/0", "a-2: waiting/0", "a-3: waiting/0"]);
  });

  it("a rejection is an answer too: it closes the circuit", async () => {
    const { target } = outage(refused);
    target.reachable = () => true;
    const rig = await RelayRig.open({ target });
    await rig.put("a", 2);
    await eventually(() => rig.circuit).toBe("open");
    target.script = answers({ "a-1": [reject("422")] });
    await rig.advance(500);
    await eventually(() => target.takenIds).toEqual(["a-2"]);
    expect(rig.circuit).toBe("closed");
  });

  it("and nothing waits any more, the answer is all the proof there can be", async () => {
    const { target, comeBack } = outage(refused);
    const rig = await RelayRig.open({ target, flows: { outbox: { ttl: "1s" } } });
    await rig.put("a");
    await eventually(() => rig.circuit).toBe("open");
    comeBack();
    await rig.advance(2000);
    await eventually(() => rig.circuit).toBe("closed");
  });
});

describe("silence", () => {
  it("in answer to all of a batch is an outage; nobody is charged", async () => {
    const { target, comeBack } = outage(unknown("timeout"));
    const rig = await RelayRig.open({ target });
    await Promise.all([rig.put("a"), rig.put("b")]);
    await eventually(() => rig.circuit).toBe("open");
    await rig.calm();
    expect(rig.states()).toEqual(["a-1: unknown/0", "b-1: unknown/0"]);
    comeBack();
    await rig.advance(2000);
    await eventually(() => target.taken.length).toBe(2);
    expect(target.taken.every(({ resend }) => resend)).toBe(true);
  });

  it("in answer to one while others are answered is charged to that one, until it is dead", async () => {
    const target = new ScriptedTarget();
    target.script = ({ message }) => (message.id === "poison-1" ? unknown("timeout") : delivered());
    const rig = await RelayRig.open({ target, flows: { outbox: { retry: { attemptsMax: 3 } } } });
    for (let round = 0; round < 8; round++) {
      await Promise.all([round === 0 ? rig.put("poison") : [], rig.put("good")]);
      await rig.advance(1000);
    }
    const poison = rig.states()[0]!;
    expect(poison).toBe("poison-1: dead/3");
    expect(rig.history("poison-1").at(-1)).toBe("dead: gave up after 3 tries; the last: timeout");
    // Whoever redrives it is told that the backend may have it.
    expect(rig.store.value("SELECT resend FROM deliveries WHERE state = 'dead'")).toBe(1);
    expect(rig.circuit).toBe("closed");
  });
});

describe("health", () => {
  it("rests on evidence: a target that was given nothing is probed", async () => {
    const target = new ScriptedTarget();
    const rig = await RelayRig.open({ target, relay: { probeIdleEvery: "10s" } });
    await rig.calm();
    expect(target.probes).toBe(1);
    expect(rig.view).toMatchObject({ lastProbeOkAtMs: rig.clock.wallMs(), lastDeliveredAtMs: null });
    await rig.advance(5000);
    await rig.put("a");
    await eventually(() => target.takenIds).toEqual(["a-1"]);
    expect(rig.view.lastDeliveredAtMs).toBe(rig.clock.wallMs());
    await rig.advance(5000);
    expect(target.probes).toBe(1);
    await rig.advance(10_000);
    expect(target.probes).toBe(2);
  });

  it("an idle target that is gone opens its circuit before anything is sent to it", async () => {
    const target = new ScriptedTarget();
    const rig = await RelayRig.open({ target, relay: { probeIdleEvery: "10s" } });
    target.reachable = () => false;
    await rig.advance(10_000);
    expect(rig.view).toMatchObject({ circuit: { state: "open" }, lastError: "ECONNREFUSED" });
    expect(target.calls).toEqual([]);
  });

  it("a probe that throws is a probe that was not answered", async () => {
    const target = new ScriptedTarget();
    const rig = await RelayRig.open({ target, relay: { probeIdleEvery: "10s" } });
    target.probe = () => {
      throw new Error("a defect of the target");
    };
    await rig.advance(10_000);
    expect(rig.view).toMatchObject({ circuit: { state: "open" }, lastError: "a defect of the target" });
  });
});
