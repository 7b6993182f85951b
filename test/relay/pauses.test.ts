/** What is paused takes messages and delivers none, over restarts too; everything else goes on. */
import { describe, expect, it } from "vitest";
import { delivered, type Outcome, retryMessage } from "../../src/core/outcome.ts";
import { RelayRig } from "../support/relay-rig.ts";
import { answers, ScriptedTarget } from "../support/scripted-target.ts";
import { eventually } from "../support/test-store.ts";

const word = { by: "anna", why: "migrated tonight" };
const flow = { kind: "flow", name: "outbox" } as const;

describe("a flow that is paused", () => {
  it("claims nothing, takes messages, and goes on in order when it is resumed", async () => {
    const target = new ScriptedTarget();
    const rig = await RelayRig.open({ target });
    expect(await rig.relay.pauses.pause(flow, word)).toMatchObject({ changed: true, passing: [] });
    await rig.put("a", 2);
    await rig.put("b");
    await rig.advance(60_000);
    expect([rig.claims, target.calls]).toEqual([[], []]);
    expect(await rig.relay.pauses.resume(flow, "anna", null)).toMatchObject({ changed: true, pauses: [] });
    await eventually(() => target.takenIds.length).toBe(3);
    expect(target.takenIds.filter((id) => id.startsWith("a"))).toEqual(["a-1", "a-2"]);
    await rig.calm();
    expect(rig.store.audit().mismatches).toEqual([]);
    const acts = rig.store.rows<{ what: string; reason: string }>(
      "SELECT what, reason FROM acts ORDER BY id",
    );
    expect(acts).toEqual([
      { what: "pause", reason: word.why },
      { what: "resume", reason: null },
    ]);
  });

  it("ends what is in the air as usual, and sends nothing after it", async () => {
    const target = new ScriptedTarget();
    const answer = Promise.withResolvers<Outcome>();
    target.script = () => answer.promise;
    const rig = await RelayRig.open({ target });
    await rig.put("a");
    await eventually(() => target.calls.length).toBe(1);
    await rig.relay.pauses.pause(flow, word);
    await rig.put("a");
    answer.resolve(delivered());
    await eventually(() => rig.states()).toEqual(["a-1: delivered/1", "a-2: waiting/0"]);
    await rig.calm();
    expect(target.calls).toHaveLength(1);
  });

  it("holds what waits for its next try beyond its time, and tries it when it is resumed", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-1": [retryMessage("locked")] });
    const rig = await RelayRig.open({ target });
    await rig.put("a");
    await eventually(() => rig.view.lanesDelayed).toBe(1);
    await rig.relay.pauses.pause(flow, word);
    await rig.advance(60_000);
    expect(target.calls).toHaveLength(1);
    await rig.relay.pauses.resume(flow, "anna", null);
    await eventually(() => target.takenIds).toEqual(["a-1"]);
  });

  it("is paused after a restart, with who and why", async () => {
    const before = await RelayRig.open({ target: new ScriptedTarget() });
    await before.relay.pauses.pause(flow, word);
    await before.put("a");
    await before.stop();
    const target = new ScriptedTarget();
    const rig = await RelayRig.open({ target, store: before.store, clock: before.clock });
    await rig.advance(60_000);
    expect(target.calls).toEqual([]);
    expect(rig.relay.pauses.all).toMatchObject([{ ...flow, who: "anna", reason: word.why }]);
    await rig.relay.pauses.resume(flow, "anna", null);
    await eventually(() => target.takenIds).toEqual(["a-1"]);
  });

  it("by the config is not for a person to resume", async () => {
    const target = new ScriptedTarget();
    const rig = await RelayRig.open({ target, flows: { outbox: { paused: true } } });
    await rig.put("a");
    await rig.advance(60_000);
    expect(target.calls).toEqual([]);
    expect(rig.relay.pauses.all).toEqual([
      { ...flow, sinceMs: null, who: "config", reason: "flows.outbox.paused" },
    ]);
    await expect(rig.relay.pauses.resume(flow, "anna", null)).rejects.toMatchObject({
      code: "HF_PAUSED_BY_CONFIG",
    });
  });

  it("lets what has a time to live expire meanwhile", async () => {
    const rig = await RelayRig.open({ target: new ScriptedTarget(), flows: { outbox: { ttl: "5s" } } });
    await rig.relay.pauses.pause(flow, word);
    await rig.put("a");
    await rig.advance(7000);
    await rig.advance(1000);
    expect(rig.states()).toEqual(["a-1: expired/0"]);
    expect(rig.store.audit().mismatches).toEqual([]);
  });
});

it("a target that is paused holds all its flows, and no other target", async () => {
  const [target, other] = [new ScriptedTarget({ name: "mes" }), new ScriptedTarget({ name: "cloud" })];
  const flows = { one: {}, two: {}, three: { to: "cloud" } };
  const rig = await RelayRig.open({ target, others: [other], flows });
  await rig.relay.pauses.pause({ kind: "target", name: "mes" }, word);
  for (const name of Object.keys(flows)) await rig.store.put({ device: "a", id: `a-${name}`, flow: name });
  await eventually(() => other.takenIds).toEqual(["a-three"]);
  await rig.advance(60_000);
  expect(target.calls).toEqual([]);
  await rig.relay.pauses.resume({ kind: "target", name: "mes" }, "anna", null);
  await eventually(() => target.takenIds.length).toBe(2);
});

it("a device that is paused holds what it has sent in flows that keep its order, and says in which it goes on", async () => {
  const target = new ScriptedTarget();
  const flows = { outbox: {}, topics: { orderBy: "topic" }, any: { orderBy: "none" } };
  const rig = await RelayRig.open({ target, flows });
  const device = { kind: "device", name: "a" } as const;
  expect((await rig.relay.pauses.pause(device, word)).passing).toEqual(["topics", "any"]);
  await rig.put("a");
  await rig.put("b");
  await rig.store.put({ device: "a", id: "a-topic", flow: "topics", key: "plant/a" });
  await eventually(() => target.takenIds.toSorted()).toEqual(["a-topic", "b-1"]);
  await rig.advance(60_000);
  expect(rig.states()[0]).toBe("a-1: waiting/0");
  await rig.relay.pauses.resume(device, "anna", null);
  await eventually(() => target.takenIds).toContain("a-1");
});

it("pausing twice keeps the first reason, and what is not there is not paused", async () => {
  const rig = await RelayRig.open({ target: new ScriptedTarget() });
  await rig.relay.pauses.pause(flow, word);
  const again = await rig.relay.pauses.pause(flow, { by: "bert", why: "why not" });
  expect([again.changed, again.pauses[0]!.who]).toEqual([false, "anna"]);
  expect((await rig.relay.pauses.resume(flow, "bert", null)).changed).toBe(true);
  expect((await rig.relay.pauses.resume(flow, "bert", null)).changed).toBe(false);
  for (const kind of ["flow", "target"] as const) {
    const nothing = { kind, name: "nothing" };
    await expect(rig.relay.pauses.pause(nothing, word)).rejects.toMatchObject({ code: "HF_NOT_FOUND" });
  }
});
