/** A dead letter that a person corrects goes out under its id, before what came later, and the rest of it is as it was. */
import { describe, expect, it } from "vitest";
import { reject } from "../../src/core/outcome.ts";
import type { Letter } from "../../src/queue/queries-letters.ts";
import { DirectReader } from "../../src/queue/reader-direct.ts";
import { Corrections, remarksOn } from "../../src/relay/corrections.ts";
import type { TargetDelivery } from "../../src/targets/target.ts";
import { RelayRig } from "../support/relay-rig.ts";
import { answers, ScriptedTarget } from "../support/scripted-target.ts";
import { eventually } from "../support/test-store.ts";

async function rejectedOnce(target = new ScriptedTarget()) {
  target.script = answers({ "a-1": [reject("HTTP 422")] });
  const rig = await RelayRig.open({ target });
  const corrections = new Corrections({
    store: rig.store.store,
    reader: new DirectReader(rig.store.dataDir),
    relay: rig.relay,
  });
  await rig.put("a", 1, { payload: Buffer.from('{"bar":3.10,"lot":7}') });
  await eventually(() => rig.states()).toEqual(["a-1: dead/1"]);
  return { rig, target, corrections };
}

const word = { by: "anna", why: "sensor off" };

it("goes out as corrected, marked as such, under its id", async () => {
  const { rig, target, corrections } = await rejectedOnce();
  const change = { set: [{ pointer: "/lot", value: 8 }], topic: "plant/other" };
  expect(await corrections.edit({ id: "a-1" }, change, word)).toEqual({
    id: "a-1",
    flow: "outbox",
    edit: 1,
    changed: ["payload", "topic"],
    remarks: [expect.stringContaining("under the same id")],
  });
  await eventually(() => target.takenIds).toEqual(["a-1"]);
  const [{ message, edited, flow } = target.taken[0]!] = target.taken;
  expect([String(message.payload), message.topic, edited, flow]).toEqual([
    '{"bar":3.10,"lot":8}',
    "plant/other",
    true,
    "outbox",
  ]);
  await rig.calm();
  expect(rig.states()).toEqual(["a-1: delivered/1"]);
  expect(rig.store.audit().mismatches).toEqual([]);
});

it("is of a dead letter alone", async () => {
  const { rig, corrections } = await rejectedOnce();
  await rig.store.store.call("discard", { ids: ["a-1"], limit: 1, word });
  await expect(corrections.edit({ id: "a-1" }, { topic: "x" }, word)).rejects.toMatchObject({
    code: "HF_DELIVERY_STATE",
    message: "message a-1 is no dead letter: it is discarded",
  });
});

it("is told what may come of it where the backend may have the message as it was", () => {
  const letter = { resend: true } as Letter;
  expect(remarksOn(letter, new ScriptedTarget({ idempotent: false }))).toEqual([
    expect.stringContaining("an earlier answer of backend was lost"),
  ]);
  expect(remarksOn({ ...letter, resend: false }, new ScriptedTarget({ idempotent: false }))).toEqual([]);
});

it.each([
  [{}, "nothing of it would be another one"],
  [{ set: [{ pointer: "/lot", value: 7 }], payload: Buffer.from('{"bar":3.10,"lot":7}') }, "nothing of it"],
  [{ topic: "plant/+" }, 'topic "plant/+"'],
  [{ set: [{ pointer: "/none/x", value: 1 }] }, 'there is no "none"'],
  [{ payload: Buffer.from("text"), set: [{ pointer: "/a", value: 1 }] }, "the payload is no JSON"],
])("refuses %j, and leaves it dead", async (change, problem) => {
  const { rig, corrections } = await rejectedOnce();
  await expect(corrections.edit({ id: "a-1" }, change, word)).rejects.toMatchObject({
    code: "HF_REQUEST",
    message: expect.stringContaining(problem),
  });
  expect(rig.states()).toEqual(["a-1: dead/1"]);
  expect(rig.store.value("SELECT count(*) FROM edits")).toBe(0);
});

describe("a dry run", () => {
  it("sends and changes nothing, and says what the target would say", async () => {
    const target = new ScriptedTarget();
    const { rig, corrections } = await rejectedOnce(target);
    const seen: string[] = [];
    Object.assign(target, {
      check: ({ message, edited }: TargetDelivery) => {
        seen.push(`${message.id} ${message.topic} ${message.payload} ${edited}`);
        return message.topic === "bad" ? ["bad is no place to go"] : [];
      },
    });
    expect(await corrections.check({ id: "a-1" }, {})).toMatchObject({
      changed: [],
      problems: [],
      remarks: [],
    });
    const change = { topic: "bad", set: [{ pointer: "/lot", value: 8 }] };
    expect(await corrections.check({ id: "a-1" }, change)).toMatchObject({
      changed: ["payload", "topic"],
      problems: ["bad is no place to go"],
    });
    expect(seen).toEqual(['a-1 plant/a {"bar":3.10,"lot":7} false', 'a-1 bad {"bar":3.10,"lot":8} true']);
    await rig.relay.pauses.pause({ kind: "flow", name: "outbox" }, word);
    const { remarks } = await corrections.check({ id: "a-1" }, {});
    expect(remarks).toEqual(["it would wait: its flow, target or device is paused"]);
    expect([rig.states(), target.calls.length]).toEqual([["a-1: dead/1"], 1]);
    expect(rig.store.value("SELECT count(*) FROM edits")).toBe(0);
  });

  it("knows that what is put back lives anew", async () => {
    const target = new ScriptedTarget();
    target.script = answers({ "a-1": [reject("HTTP 422")] });
    const rig = await RelayRig.open({ target, flows: { outbox: { ttl: "10s" } } });
    const corrections = new Corrections({
      store: rig.store.store,
      reader: new DirectReader(rig.store.dataDir),
      relay: rig.relay,
    });
    await rig.put("a");
    await eventually(() => rig.states()).toEqual(["a-1: dead/1"]);
    const left: (number | null)[] = [];
    Object.assign(target, {
      check: ({ expiresInMs }: TargetDelivery) => {
        left.push(expiresInMs);
        return [];
      },
    });
    await rig.advance(60_000);
    expect(await corrections.check({ id: "a-1" }, {})).toMatchObject({ remarks: [] });
    // It is so: put back, it goes out.
    await rig.relay.redrive({ ids: ["a-1"], limit: 1 });
    await rig.calm();
    expect([left, rig.states()]).toEqual([[10_000], ["a-1: delivered/1"]]);
  });

  it("is of what is dead or held alone", async () => {
    const { rig, corrections } = await rejectedOnce();
    await rig.put("b");
    await eventually(() => rig.states()[1]).toBe("b-1: delivered/1");
    await expect(corrections.check({ id: "b-1" }, {})).rejects.toMatchObject({ code: "HF_DELIVERY_STATE" });
  });
});
