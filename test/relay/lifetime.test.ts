/** Expiry, redrive, pausing, starting and stopping. */
import { describe, expect, it } from "vitest";
import { delivered, reject, retryMessage, retryTarget, unknown } from "../../src/core/outcome.ts";
import { RelayRig } from "../support/relay-rig.ts";
import { answers, ScriptedTarget } from "../support/scripted-target.ts";
import { eventually } from "../support/test-store.ts";

describe("a message with a time to live", () => {
  const flows = { outbox: { ttl: "10s" } };

  it("expires instead of being delivered too late, and the next one goes on", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-1": [retryMessage("locked", 12_000)] });
    const rig = await RelayRig.open({ target, flows });
    await rig.put("a");
    await rig.calm();
    await rig.advance(5000);
    await rig.put("a");
    await rig.advance(7000);
    expect(target.takenIds).toEqual(["a-2"]);
    expect(rig.states()).toEqual(["a-1: expired/1", "a-2: delivered/1"]);
    expect(rig.store.value("SELECT reason FROM deliveries WHERE state = 'expired'")).toContain("ttl");
  });

  it("expires while its target is away, all that are too old and none that is not", async () => {
    const target = new ScriptedTarget();
    target.script = () => retryTarget("away");
    target.reachable = () => false;
    const rig = await RelayRig.open({ target, flows });
    await Promise.all([rig.put("a", 1500), rig.put("b", 1500)]);
    await eventually(() => rig.circuit).toBe("open");
    await rig.advance(8000);
    await rig.put("a");
    for (let second = 0; second < 3; second++) await rig.advance(1000);
    const count = () =>
      rig.store.rows("SELECT state, count(*) AS n FROM deliveries GROUP BY state ORDER BY state");
    await eventually(count).toEqual([
      { state: "expired", n: 3000 },
      { state: "waiting", n: 1 },
    ]);
    expect(rig.store.audit().mismatches).toEqual([]);
  });

  it("does not keep those behind it waiting for its next try when it has expired", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-1": [retryMessage("locked", 60_000)] });
    const rig = await RelayRig.open({ target, flows });
    await rig.put("a");
    await rig.advance(5000);
    await rig.put("a");
    for (let second = 0; second < 7; second++) await rig.advance(1000);
    expect(rig.states()).toEqual(["a-1: expired/1", "a-2: delivered/1"]);
  });

  it("lives anew from when a person puts it back, and then no longer than any other", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-1": [reject("order unknown")], "b-1": [reject("order unknown")] });
    const rig = await RelayRig.open({ target, flows });
    await Promise.all([rig.put("a"), rig.put("b")]);
    await rig.calm();
    for (let second = 0; second < 12; second++) await rig.advance(1000);
    expect(rig.states()).toEqual(["a-1: dead/1", "b-1: dead/1"]);
    // Long past its ttl. It is meant all the same.
    await rig.relay.redrive({ ids: ["a-1"], limit: 1 });
    await rig.calm();
    expect(rig.states()).toEqual(["a-1: delivered/1", "b-1: dead/1"]);
    expect(target.taken.at(-1)!.expiresInMs).toBe(10_000);
    target.script = answers({ "b-1": [retryMessage("locked", 60_000)] });
    await rig.relay.redrive({ ids: ["b-1"], limit: 1 });
    for (let second = 0; second < 9; second++) await rig.advance(1000);
    expect(rig.states().at(-1)).toBe("b-1: waiting/1");
    for (let second = 0; second < 3; second++) await rig.advance(1000);
    expect(rig.states().at(-1)).toBe("b-1: expired/1");
    expect(rig.store.audit().mismatches).toEqual([]);
  });

  it("is told to the target with what is left of it", async () => {
    const target = new ScriptedTarget();
    const rig = await RelayRig.open({ target, flows }, { start: false });
    await rig.put("a");
    rig.clock.advance(4000);
    await rig.relay.start();
    await eventually(() => target.taken.map(({ expiresInMs }) => expiresInMs)).toEqual([6000]);
  });

  it("does not expire by a wall clock that jumps", async () => {
    const target = new ScriptedTarget();
    const rig = await RelayRig.open({ target, flows }, { start: false });
    await rig.put("a");
    rig.clock.setWallMs(rig.clock.wallMs() + 86_400_000);
    await rig.relay.start();
    await eventually(() => target.takenIds).toEqual(["a-1"]);
  });
});

describe("redrive", () => {
  it("sends a dead letter again under its id, before what waits behind it in its lane", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-1": [reject("422")], "a-2": [retryMessage("locked", 60_000)] });
    const rig = await RelayRig.open({ target });
    await rig.put("a", 2);
    await eventually(() => rig.view.lanesDelayed).toBe(1);
    expect((await rig.relay.redrive({ flow: "outbox", limit: 100 })).redriven).toBe(1);
    // At once, and the one that has to wait for its time still does.
    await eventually(() => target.takenIds).toEqual(["a-1"]);
    await rig.calm();
    expect(target.takenIds).toEqual(["a-1"]);
    await rig.advance(60_000);
    expect(target.takenIds).toEqual(["a-1", "a-2"]);
    expect(target.taken[0]!.attempt).toBe(1);
    expect(rig.history("a-1").map((entry) => entry.split(":")[0])).toEqual(["dead", "redrive"]);
  });

  it("reaches a lane that is in a call just then, and whose head comes back to wait", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-1": [reject("422")] });
    const rig = await RelayRig.open({ target });
    await rig.put("a");
    await eventually(() => rig.states()).toEqual(["a-1: dead/1"]);
    const gate = Promise.withResolvers<void>();
    let first = true;
    target.script = async ({ message }) => {
      if (message.id !== "a-2" || !first) return delivered();
      first = false;
      await gate.promise;
      return retryMessage("locked", 60_000);
    };
    await rig.put("a");
    await eventually(() => target.calls.length).toBe(2);
    await rig.relay.redrive({ ids: ["a-1"], limit: 1 });
    gate.resolve();
    await eventually(() => target.takenIds).toEqual(["a-1"]);
  });

  it("of a dead letter reaches a lane that is held for a person", async () => {
    const target = new ScriptedTarget({ idempotent: false });
    target.script = answers({ "a-1": [reject("422")], "a-2": [unknown("timeout")] });
    const rig = await RelayRig.open({ target, flows: { outbox: { onUnknown: "hold" } } });
    await rig.put("a", 3);
    await rig.calm();
    await rig.advance(1000);
    expect(rig.view.lanesHeld).toBe(1);
    await rig.relay.redrive({ ids: ["a-1"], limit: 1 });
    await eventually(() => target.takenIds).toEqual(["a-1"]);
    await eventually(() => rig.view.lanesHeld).toBe(1);
  });
});

describe("a flow", () => {
  it("that is paused takes messages and delivers none; its target goes on for others", async () => {
    const target = new ScriptedTarget();
    const rig = await RelayRig.open({ target, flows: { outbox: { paused: true }, other: {} } });
    await rig.put("a", 2, { flow: "outbox" });
    await rig.put("b", 1, { flow: "other" });
    await eventually(() => target.takenIds).toEqual(["b-1"]);
    await rig.calm();
    expect(rig.states().slice(0, 2)).toEqual(["a-1: waiting/0", "a-2: waiting/0"]);
    await rig.stop();
    const again = await RelayRig.open({ target, flows: { outbox: {} }, store: rig.store, clock: rig.clock });
    await eventually(() => target.takenIds).toEqual(["b-1", "a-1", "a-2"]);
    expect(again.store.audit().mismatches).toEqual([]);
  });

  it("that is not in the config any more keeps what waits in it", async () => {
    const target = new ScriptedTarget();
    target.reachable = () => false;
    const rig = await RelayRig.open({ target, flows: { old: {} } }, { start: false });
    await rig.put("a", 1, { flow: "old" });
    const again = await RelayRig.open({ target, flows: { outbox: {} }, store: rig.store, clock: rig.clock });
    await again.calm();
    expect(target.calls).toEqual([]);
    expect(again.states()).toEqual(["a-1: waiting/0"]);
  });
});

describe("a relay that is not started yet", () => {
  it("sends nothing, and begins with what came meanwhile", async () => {
    const target = new ScriptedTarget();
    const rig = await RelayRig.open({ target }, { start: false });
    await rig.put("a", 2);
    await rig.calm();
    expect(target.calls).toEqual([]);
    await rig.relay.start();
    await eventually(() => target.takenIds).toEqual(["a-1", "a-2"]);
  });
});

describe("a relay that stops", () => {
  it("waits for what is in the air, records it, and sends nothing more", async () => {
    const target = new ScriptedTarget({ batchMax: 1 });
    const gate = Promise.withResolvers<void>();
    target.script = async () => {
      await gate.promise;
      return delivered();
    };
    const rig = await RelayRig.open({ target });
    await rig.put("a", 3);
    await eventually(() => target.calls.length).toBe(1);
    let stopped = false;
    const stopping = rig.relay.stop().then(() => {
      stopped = true;
    });
    await rig.put("b");
    await rig.calm();
    expect(stopped).toBe(false);
    gate.resolve();
    await stopping;
    expect(target.callSizes).toEqual([1]);
    expect(rig.states()).toEqual(["a-1: delivered/1", "a-2: waiting/0", "a-3: waiting/0", "b-1: waiting/0"]);
    expect(rig.clock.timers).toBe(1); // The store's own, for retention.
  });

  it("tells a target that takes too long to give up, and records what it says then", async () => {
    const target = new ScriptedTarget();
    target.misbehave = ({ batch, signal }) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () =>
          resolve(batch.map(() => unknown("stopped before the answer"))),
        );
      });
    const rig = await RelayRig.open({ target, relay: { drainTimeout: "5s" } });
    await rig.put("a");
    await eventually(() => target.calls.length).toBe(1);
    const stopping = rig.relay.stop();
    await rig.advance(4999);
    expect(target.calls[0]!.signal.aborted).toBe(false);
    await rig.advance(1);
    await stopping;
    expect(rig.states()).toEqual(["a-1: unknown/0"]);
  });

  it("leaves one that does not give up even then, and the next start knows what it left in the air", async () => {
    const target = new ScriptedTarget();
    target.script = () => new Promise(() => {});
    const rig = await RelayRig.open({ target, relay: { drainTimeout: "5s" } });
    await rig.put("a");
    await eventually(() => target.calls.length).toBe(1);
    const stopping = rig.relay.stop();
    await rig.advance(6000);
    await stopping;
    const next = new ScriptedTarget();
    const again = await RelayRig.open({ target: next, store: rig.store, clock: rig.clock });
    expect(again.store.store.recovered).toBe(1);
    await eventually(() => next.taken.map(({ message, resend }) => [message.id, resend])).toEqual([
      ["a-1", true],
    ]);
  });
});
