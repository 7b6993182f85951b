/** What a person does to deliveries that do not get through: their lanes go on, and backends are asked at once. */
import { describe, expect, it } from "vitest";
import { reject, unknown } from "../../src/core/outcome.ts";
import { DirectReader } from "../../src/queue/reader-direct.ts";
import { Repairs } from "../../src/relay/repairs.ts";
import { RelayRig } from "../support/relay-rig.ts";
import { answers, type Knows, ScriptedTarget } from "../support/scripted-target.ts";
import { eventually } from "../support/test-store.ts";

async function rigWith(target: ScriptedTarget, onUnknown = "hold") {
  const rig = await RelayRig.open({ target, flows: { outbox: { onUnknown } } });
  return { rig, repairs: repairsOf(rig) };
}

function repairsOf(rig: RelayRig): Repairs {
  return new Repairs({
    store: rig.store.store,
    reader: new DirectReader(rig.store.dataDir),
    relay: rig.relay,
  });
}

/** `a-1` is held, its answer lost; `a-2` stands behind it. */
async function held(knows?: Knows) {
  const target = new ScriptedTarget({ idempotent: false, knows });
  target.script = answers({ "a-1": [unknown("timeout")] });
  const { rig, repairs } = await rigWith(target);
  await rig.put("a", 2);
  await eventually(() => target.calls.length).toBe(1);
  await rig.advance(1000);
  expect(rig.view.lanesHeld).toBe(1);
  return { target, rig, repairs };
}

const word = { by: "anna", why: "order 4711 is booked" };

describe("a held unknown", () => {
  it("that is marked delivered is not sent again, and what stands behind it goes on", async () => {
    const { target, rig, repairs } = await held();
    expect((await repairs.markDelivered({ ids: ["a-1"], limit: 1, word })).count).toBe(1);
    await eventually(() => target.takenIds).toEqual(["a-2"]);
    await rig.calm();
    expect(rig.states()).toEqual(["a-1: delivered/0", "a-2: delivered/1"]);
    expect(rig.store.audit().mismatches).toEqual([]);
  });

  it("that is discarded lets what stands behind it go on", async () => {
    const { target, rig, repairs } = await held();
    await repairs.discard({ ids: ["a-1"], limit: 1, word });
    await eventually(() => target.takenIds).toEqual(["a-2"]);
    expect(rig.states()[0]).toBe("a-1: discarded/0");
  });

  it("is asked about at once, and delivered where the backend has it", async () => {
    const { target, rig, repairs } = await held(() => "yes");
    expect(await repairs.probe({ id: "a-1" }, "anna")).toEqual({
      id: "a-1",
      flow: "outbox",
      target: "backend",
      found: "has it",
      detail: "the backend was asked and has it",
      state: "delivered",
    });
    await eventually(() => target.takenIds).toEqual(["a-2"]);
    await rig.calm();
    expect(rig.history("a-1").slice(-2)).toEqual([
      "asked: the backend was asked and has it (asked by anna)",
      "delivered: the backend was asked and has it (asked by anna)",
    ]);
    expect(rig.store.rows("SELECT who, what, detail FROM acts")).toEqual([
      { who: "anna", what: "probeUnknown", detail: '{"id":"a-1","flow":"outbox","found":"has it"}' },
    ]);
    expect(rig.store.audit().mismatches).toEqual([]);
  });

  it("goes out again, before what stands behind it, where the backend has it not", async () => {
    const { target, repairs } = await held(() => "no");
    expect(await repairs.probe({ id: "a-1" }, "anna")).toMatchObject({
      found: "has it not",
      state: "waiting",
    });
    await eventually(() => target.takenIds).toEqual(["a-1", "a-2"]);
    expect(target.taken[0]!.resend).toBe(true);
  });

  it("stays held where the backend cannot say, with that in its history", async () => {
    const { target, rig, repairs } = await held(() => "cannot say");
    expect(await repairs.probe({ id: "a-1" }, "anna")).toMatchObject({
      found: "cannot say",
      state: "unknown",
    });
    await rig.calm();
    expect([target.takenIds, rig.view.lanesHeld]).toEqual([[], 1]);
    expect(rig.history("a-1").at(-1)).toContain(
      "asked: the backend was asked whether it has it and could not say",
    );
  });

  it("cannot be asked about at a target that knows no such question", async () => {
    const { repairs } = await held();
    await expect(repairs.probe({ id: "a-1" }, "anna")).rejects.toMatchObject({ code: "HF_CANNOT_ASK" });
    await expect(repairs.probe({ id: "a-2" }, "anna")).rejects.toMatchObject({
      code: "HF_DELIVERY_STATE",
      message: "message a-2 has no answer that was lost: it is waiting",
    });
    await expect(repairs.probe({ id: "a-9" }, "anna")).rejects.toMatchObject({ code: "HF_NOT_FOUND" });
  });
});

it("an answer about a delivery that has gone on meanwhile is not used", async () => {
  const asked = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<"send again">();
  const { target, rig, repairs } = await held(() => "no");
  Object.assign(target, {
    findOut: () => {
      asked.resolve();
      return answered.promise;
    },
  });
  const probing = repairs.probe({ id: "a-1" }, "anna");
  await asked.promise;
  await repairs.markDelivered({ ids: ["a-1"], limit: 1, word });
  answered.resolve("send again");
  await expect(probing).rejects.toMatchObject({ code: "HF_DELIVERY_STATE" });
  await eventually(() => target.takenIds).toEqual(["a-2"]);
  await rig.calm();
  expect(rig.states()[0]).toBe("a-1: delivered/0");
});

it("what is being sent is not decided on", async () => {
  const target = new ScriptedTarget();
  const answer = Promise.withResolvers<ReturnType<typeof reject>>();
  target.script = () => answer.promise;
  const { rig, repairs } = await rigWith(target);
  await rig.put("a");
  await eventually(() => target.calls.length).toBe(1);
  expect(await repairs.discard({ ids: ["a-1"], limit: 1, word })).toMatchObject({
    count: 0,
    left: [{ id: "a-1", states: ["sending"] }],
  });
  answer.resolve(reject("no"));
  await rig.calm();
  expect(rig.states()).toEqual(["a-1: dead/1"]);
});
