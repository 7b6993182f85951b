/** Discarded, or said to be delivered, by a person: in one commit, on record, with the lane going on and the books balanced. */
import { afterEach, describe, expect, it } from "vitest";
import type { Settlement } from "../../src/queue/requests.ts";
import { sharedStore } from "../support/test-store.ts";

const shared = sharedStore({ flows: ["mes", "cloud", "$command/press-7"] });

afterEach(() => {
  expect(shared().audit().mismatches).toEqual([]);
});

const word = { by: "anna", why: "a test part" };
const act = { who: "anna", what: "discardDead", detail: {}, reason: word.why };
const DEAD = { state: "dead", reason: "HTTP 422: 3.1 bar is too much", note: "dead" } as const;
const HELD = { state: "unknown", resend: true, attempts: 1, reason: "timeout", note: "held" } as const;

async function settled(device: string, settlement: Partial<Settlement>, flow = "mes") {
  const put = await shared().put({ device, flow, id: `${device}-${flow}` });
  await shared().claim(put.lane);
  await shared().settle(put.lane, put.seq, settlement);
  return put;
}

const stateOf = (lane: number, seq: number) =>
  shared().rows("SELECT state, reason, resend FROM deliveries WHERE lane = ? AND seq = ?", lane, seq)[0];
const historyOf = (seq: number) =>
  shared()
    .rows<{ kind: string; detail: string }>("SELECT kind, detail FROM history WHERE seq = ? ORDER BY id", seq)
    .map(({ kind, detail }) => `${kind}: ${detail}`);
const lastAct = () => shared().rows("SELECT who, what, detail, reason FROM acts ORDER BY id DESC LIMIT 1")[0];

describe("a dead letter", () => {
  it("is discarded with who and why, on record in the same commit, and is not put back any more", async () => {
    const { id, lane, seq } = await settled("d-1", DEAD);
    const commits = shared().value<number>("SELECT max(commits) FROM boots");
    const result = await shared().store.call("discard", { ids: [id], limit: 10, word, act });
    expect(result).toEqual({ count: 1, lanes: [] });
    expect(shared().value("SELECT max(commits) FROM boots")).toBe(commits + 1);
    const detail = "discarded by anna: a test part (was dead: HTTP 422: 3.1 bar is too much)";
    expect(stateOf(lane, seq)).toEqual({ state: "discarded", reason: detail, resend: 0 });
    expect(historyOf(seq)).toEqual(["dead: HTTP 422: 3.1 bar is too much", `discarded: ${detail}`]);
    expect(lastAct()).toEqual({
      who: "anna",
      what: "discardDead",
      detail: '{"discarded":1}',
      reason: word.why,
    });
    expect((await shared().store.redrive({ ids: [id], limit: 10 })).redriven).toBe(0);
  });

  it("is met by the group of its reason, and one of another group is not", async () => {
    const one = await settled("g-1", DEAD);
    const two = await settled("g-2", { ...DEAD, reason: "HTTP 422: 99 bar is too much" });
    const other = await settled("g-3", { ...DEAD, reason: "HTTP 422: no such order" });
    const group = "HTTP 422: … bar is too much";
    const result = await shared().store.call("discard", { group, flow: "mes", limit: 10, word });
    expect(result.count).toBe(2);
    for (const { lane, seq } of [one, two]) expect(stateOf(lane, seq)).toMatchObject({ state: "discarded" });
    expect(stateOf(other.lane, other.seq)).toMatchObject({ state: "dead" });
  });

  it("is met in steps, each going on after the one before", async () => {
    for (const n of [1, 2, 3]) await settled(`s-${n}`, DEAD, "cloud");
    const first = await shared().store.call("discard", { flow: "cloud", limit: 2, word });
    expect([first.count, typeof first.next]).toEqual([2, "number"]);
    const second = await shared().store.call("discard", { flow: "cloud", limit: 2, word, after: first.next });
    expect([second.count, second.next]).toEqual([1, undefined]);
  });
});

describe("a held unknown", () => {
  it("is discarded, and what stands behind it in its lane goes on", async () => {
    const { id, lane, seq } = await settled("h-1", HELD);
    const behind = await shared().put({ device: "h-1", flow: "mes" });
    expect((await shared().claim(lane)).deliveries).toEqual([]);
    const result = await shared().store.call("discard", { ids: [id], limit: 10, word });
    expect(result.lanes).toEqual([{ lane, flow: "mes", key: "h-1", open: 1 }]);
    expect(stateOf(lane, seq)).toMatchObject({ state: "discarded", resend: 0 });
    expect(await shared().deliver(lane)).toEqual([behind.seq]);
  });

  it("is marked delivered with the evidence in its history, and counted so", async () => {
    const { id, lane, seq } = await settled("h-2", HELD);
    const evidence = { by: "anna", why: "order 4711 is booked" };
    const result = await shared().store.call("markDelivered", { ids: [id], limit: 10, word: evidence });
    expect(result.count).toBe(1);
    const detail = "marked delivered by anna: order 4711 is booked";
    expect(stateOf(lane, seq)).toEqual({ state: "delivered", reason: detail, resend: 0 });
    expect(historyOf(seq).at(-1)).toBe(`delivered: ${detail}`);
  });
});

describe("marking as delivered", () => {
  const evidence = { by: "anna", why: "seen" };
  const mark = (selection: object) =>
    shared().store.call("markDelivered", { limit: 10, word: evidence, ...selection });

  it("takes by id one that would be tried again by itself, and by flow only what waits for a person", async () => {
    const own = await settled("m-1", { ...HELD, dueAtMs: 1e15 }, "cloud");
    expect((await mark({ flow: "cloud" })).count).toBe(0);
    expect((await mark({ ids: [own.id] })).count).toBe(1);
  });

  it("takes a dead letter whose last answer was lost, and never one that was rejected", async () => {
    const lost = await settled("m-2", {
      ...DEAD,
      resend: true,
      reason: "gave up after 10 tries; the last: timeout",
    });
    const rejected = await settled("m-3", DEAD);
    expect(await mark({ ids: [lost.id, rejected.id] })).toMatchObject({
      count: 1,
      left: [{ id: rejected.id, states: ["dead"] }],
    });
  });

  it("takes nothing that waits, is being sent, is delivered, or is a command", async () => {
    const waiting = await shared().put({ device: "m-4", flow: "mes" });
    const sending = await shared().put({ device: "m-5", flow: "mes" });
    await shared().claim(sending.lane);
    const done = await settled("m-6", {});
    const command = await settled("m-7", HELD, "$command/press-7");
    const ids = [waiting, sending, done, command].map(({ id }) => id);
    const result = await mark({ ids });
    expect([result.count, result.left?.map(({ states }) => states[0])]).toEqual([
      0,
      ["waiting", "sending", "delivered", "unknown"],
    ]);
    expect((await shared().store.call("discard", { ids, limit: 10, word })).count).toBe(0);
    await shared().settle(sending.lane, sending.seq);
  });
});
