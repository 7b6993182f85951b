/** Lanes: what stays in order, what a stuck head holds back, and what it does not. */
import { describe, expect, it } from "vitest";
import { reject, retryMessage, unknown } from "../../src/core/outcome.ts";
import { RelayRig } from "../support/relay-rig.ts";
import { answers, ScriptedTarget } from "../support/scripted-target.ts";
import { eventually } from "../support/test-store.ts";

const busy = retryMessage("the item is locked");
const ids = (device: string, ...numbers: number[]) => numbers.map((n) => `${device}-${n}`);

describe("a lane", () => {
  it("keeps its order however often one of it is tried again", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-2": [busy, busy, busy], "a-4": [busy] });
    const rig = await RelayRig.open({ target });
    await rig.put("a", 5);
    await eventually(() => target.takenIds).toEqual(ids("a", 1));
    for (const delay of [1000, 2000, 4000, 1000]) await rig.advance(delay);
    expect(target.takenIds).toEqual(ids("a", 1, 2, 3, 4, 5));
    expect(rig.states()).toEqual([
      "a-1: delivered/1",
      "a-2: delivered/4",
      "a-3: delivered/1",
      "a-4: delivered/2",
      "a-5: delivered/1",
    ]);
    expect(rig.history("a-2")).toEqual([
      "retry: the item is locked",
      "retry: the item is locked",
      "retry: the item is locked",
      "delivered",
    ]);
    expect(rig.history("a-3")).toEqual([]);
    expect(rig.store.audit().mismatches).toEqual([]);
  });

  it("does not keep it where the flow wants none: this is what the test above would see", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-2": [busy] });
    const rig = await RelayRig.open({ target, flows: { outbox: { orderBy: "none" } } });
    await rig.put("a", 5);
    await eventually(() => target.taken.length).toBe(4);
    await rig.advance(1000);
    expect(target.takenIds).toEqual(ids("a", 1, 3, 4, 5, 2));
  });

  it("is held back by its head alone, and nobody else is", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "stuck-1": [busy, busy] });
    const rig = await RelayRig.open({ target });
    await rig.put("stuck", 2);
    await rig.put("free", 2);
    await eventually(() => target.takenIds).toEqual(ids("free", 1, 2));
    await rig.put("free", 2);
    await eventually(() => target.takenIds).toEqual(ids("free", 1, 2, 3, 4));
    expect(rig.view).toMatchObject({ lanesDelayed: 1, circuit: { state: "closed" } });
    await rig.advance(1000);
    await rig.advance(2000);
    expect(target.takenIds.slice(4)).toEqual(ids("stuck", 1, 2));
  });

  it("goes on past one that is rejected for good, which is dead with its reason", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-1": [reject("422: no such machine")] });
    const rig = await RelayRig.open({ target });
    await rig.put("a", 3);
    await eventually(() => target.takenIds).toEqual(ids("a", 2, 3));
    await rig.calm();
    expect(rig.states()).toEqual(["a-1: dead/1", "a-2: delivered/1", "a-3: delivered/1"]);
    expect(rig.history("a-1")).toEqual(["dead: 422: no such machine"]);
  });

  it("goes on past one that was tried as often as the flow allows, which is dead with its history", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-1": [busy, busy, busy, busy] });
    const rig = await RelayRig.open({ target, flows: { outbox: { retry: { attemptsMax: 3 } } } });
    await rig.put("a", 2);
    await rig.calm();
    for (const delay of [1000, 2000]) await rig.advance(delay);
    expect(rig.states()).toEqual(["a-1: dead/3", "a-2: delivered/1"]);
    expect(rig.history("a-1")).toEqual([
      "retry: the item is locked",
      "retry: the item is locked",
      "dead: gave up after 3 tries; the last: the item is locked",
    ]);
  });

  it("waits as long as the backend asks for, where that is longer than its own delay", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-1": [retryMessage("429", 30_000.5)] });
    const rig = await RelayRig.open({ target });
    await rig.put("a");
    await rig.calm();
    await rig.advance(30_000);
    expect(target.taken).toHaveLength(0);
    await rig.advance(1);
    expect(target.takenIds).toEqual(ids("a", 1));
  });

  it("does not wait for ever because a backend asks for that", async () => {
    const target = new ScriptedTarget();
    target.script = answers({
      "a-1": [retryMessage("429", Number.POSITIVE_INFINITY)],
      "b-1": [retryMessage("429", 1e300)],
    });
    const rig = await RelayRig.open({ target });
    await rig.put("a");
    await rig.put("b");
    await rig.calm();
    await rig.advance(3_600_000);
    expect(target.takenIds.toSorted()).toEqual(["a-1", "b-1"]);
  });
});

describe("by topic", () => {
  it("each topic of a device is a lane of its own", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-1": [busy] });
    const rig = await RelayRig.open({ target, flows: { outbox: { orderBy: "topic" } } });
    await rig.put("a", 1, { topic: "t/1", key: "t/1" });
    await rig.put("a", 1, { topic: "t/2", key: "t/2" });
    await eventually(() => target.takenIds).toEqual(ids("a", 2));
    expect(target.calls.flatMap(({ batch }) => batch.map(({ lane }) => lane))).toEqual([
      "outbox/t/1",
      "outbox/t/2",
    ]);
  });
});

describe("without order", () => {
  const flows = { outbox: { orderBy: "none" } };

  it("what is new goes at once, although older ones wait for their time", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-1": [busy] });
    const rig = await RelayRig.open({ target, flows });
    await rig.put("a");
    await rig.calm();
    expect(rig.view.lanesDelayed).toBe(1);
    await rig.put("a");
    await eventually(() => target.takenIds).toEqual(ids("a", 2));
    await rig.advance(1000);
    expect(target.takenIds).toEqual(ids("a", 2, 1));
    expect(rig.store.audit().mismatches).toEqual([]);
  });

  it("what is new goes at once, although one is held for a person", async () => {
    const target = new ScriptedTarget({ idempotent: false });
    target.script = answers({ "a-1": [unknown("timeout")] });
    const rig = await RelayRig.open({ target, flows: { outbox: { orderBy: "none", onUnknown: "hold" } } });
    await Promise.all([rig.put("a"), rig.put("b", 1, { key: "a" })]);
    await eventually(() => target.takenIds).toEqual(["b-1"]);
    await rig.advance(60_000);
    expect(rig.view.lanesHeld).toBe(1);
    await rig.put("a");
    await eventually(() => target.takenIds).toEqual(["b-1", "a-2"]);
  });

  it("each delivery is a lane of its own to the target", async () => {
    const target = new ScriptedTarget();
    const rig = await RelayRig.open({ target, flows });
    await rig.put("a", 2);
    await eventually(() => target.taken.map(({ lane }) => lane)).toEqual(["outbox/1", "outbox/2"]);
  });
});

describe("a batch", () => {
  it("is shared fairly among the lanes that are due", async () => {
    const target = new ScriptedTarget({ batchMax: 6 });
    const rig = await RelayRig.open({ target }, { start: false });
    for (const device of ["a", "b", "c"]) await rig.put(device, 10);
    await rig.relay.start();
    await eventually(() => target.taken.length).toBe(30);
    // The first wake-up finds one lane; from then on all three share each call.
    const shares = target.calls.slice(1, 4).map(({ batch }) => Map.groupBy(batch, ({ lane }) => lane));
    for (const share of shares) expect([...share.values()].map((of) => of.length)).toEqual([2, 2, 2]);
    for (const device of ["a", "b", "c"]) {
      const own = target.takenIds.filter((id) => id.startsWith(device));
      expect(own).toEqual(ids(device, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
    }
  });

  it("lets a newcomer in with the next call, whatever the backlog of others", async () => {
    const target = new ScriptedTarget({ batchMax: 10 });
    const rig = await RelayRig.open({ target });
    await rig.put("a", 200);
    await eventually(() => target.calls.length).toBeGreaterThan(2);
    const callsBefore = target.calls.length;
    await rig.put("late");
    await eventually(() => target.takenIds).toContain("late-1");
    const call = target.calls.findIndex(({ batch }) => batch.some(({ message }) => message.id === "late-1"));
    // At most: those in the meantime, the one that runs, and its own.
    expect(call - callsBefore).toBeLessThan(12);
    await eventually(() => target.taken.length).toBe(201);
  });

  it("is as large as the flow allows, where that is less than the target's", async () => {
    const target = new ScriptedTarget({ batchMax: 50 });
    const rig = await RelayRig.open({ target, flows: { outbox: { batchMax: 3 } } });
    await rig.put("a", 7);
    await eventually(() => target.taken.length).toBe(7);
    expect(Math.max(...target.callSizes)).toBe(3);
  });

  it("has no lane in two calls at a time, and as many calls as the target wants", async () => {
    const target = new ScriptedTarget({ batchMax: 1, concurrency: 3 });
    let inFlight = 0;
    let most = 0;
    const lanes = new Set<string>();
    target.script = async ({ lane }) => {
      expect(lanes.has(lane)).toBe(false);
      lanes.add(lane);
      most = Math.max(most, ++inFlight);
      await new Promise((resolve) => setImmediate(resolve));
      inFlight -= 1;
      lanes.delete(lane);
      return { kind: "delivered" };
    };
    const rig = await RelayRig.open({ target });
    await Promise.all(["a", "b", "c", "d", "e"].map((device) => rig.put(device, 5)));
    await eventually(() => target.taken.length).toBe(25);
    expect(most).toBe(3);
  });
});

describe("the work", () => {
  /** How many claims, and lanes in them, it takes to deliver one message beside a backlog that cannot move. */
  async function workBeside(backlog: number) {
    const target = new ScriptedTarget();
    target.script = answers(
      Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`stuck${at}-1`, [busy, busy]])),
    );
    const rig = await RelayRig.open({ target });
    for (let at = 0; at < 20; at++) await rig.put(`stuck${at}`, backlog / 20);
    await eventually(() => rig.view.lanesDelayed).toBe(20);
    await rig.calm();
    rig.claims.length = 0;
    await rig.put("free");
    await eventually(() => target.takenIds).toContain("free-1");
    await rig.calm();
    return rig.claims;
  }

  it("for a message is the same whether twenty wait elsewhere or two thousand", async () => {
    const few = await workBeside(20);
    const many = await workBeside(2000);
    expect(many).toEqual(few);
    expect(many.reduce((sum, lanes) => sum + lanes, 0)).toBeLessThanOrEqual(2);
  });
});
