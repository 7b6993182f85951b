/** Redrive: dead letters and held unknowns go back to waiting under their id, at their place in the lane. */
import { expect, it } from "vitest";
import { sharedStore, type TestStore } from "../support/test-store.ts";

const shared = sharedStore({ flows: ["outbox", "cloud"] });

/** A lane of three whose first is dead, and the rest delivered. */
async function deadLetter(device: string, flow = "outbox") {
  const store = shared();
  const first = await store.put({ device, flow, id: `${device}-dead` });
  await store.claim(first.lane);
  await store.settle(first.lane, first.seq, {
    state: "dead",
    attempts: 3,
    reason: "rejected: bad",
    note: "dead",
  });
  await store.put({ device, flow });
  await store.put({ device, flow });
  await store.deliver(first.lane);
  return { store, ...first };
}

const delivery = (store: TestStore, lane: number, seq: number) =>
  store.rows(
    "SELECT state, attempts, due_at, resend FROM deliveries WHERE lane = ? AND seq = ?",
    lane,
    seq,
  )[0];

it("puts a dead letter back, with its id, before what came later, with its tries forgotten and its history kept", async () => {
  const { store, lane, seq, id } = await deadLetter("a");
  const later = await store.put({ device: "a" });
  const result = await store.store.redrive({ ids: [id], limit: 10 });
  expect(result).toEqual({ redriven: 1, lanes: [{ lane, flow: "outbox", key: "a", open: 2 }] });
  expect(delivery(store, lane, seq)).toEqual({ state: "waiting", attempts: 0, due_at: null, resend: 0 });
  const { deliveries } = await store.claim(lane);
  expect(deliveries.map(({ message }) => message.seq)).toEqual([seq, later.seq]);
  expect(deliveries[0]!.message.id).toBe(id);
  const history = store.rows<{ kind: string }>("SELECT kind FROM history WHERE seq = ? ORDER BY id", seq);
  expect(history.map(({ kind }) => kind)).toEqual(["dead", "redrive"]);
});

it("puts a held unknown back as a resend, and leaves one that is to be tried again by itself", async () => {
  const store = shared();
  const held = await store.put({ device: "b-held" });
  const own = await store.put({ device: "b-own" });
  await store.claimMany([{ lane: held.lane }, { lane: own.lane }]);
  const unknown = { state: "unknown", attempts: 0, resend: true } as const;
  await store.settle(held.lane, held.seq, { ...unknown, dueAtMs: null });
  await store.settle(own.lane, own.seq, { ...unknown, dueAtMs: store.store.steadyMs() + 1000 });
  expect((await store.store.redrive({ ids: [held.id, own.id], limit: 10 })).redriven).toBe(1);
  expect(delivery(store, held.lane, held.seq)).toMatchObject({ state: "waiting", resend: 1 });
  expect(delivery(store, own.lane, own.seq)).toMatchObject({ state: "unknown" });
});

it("counts an id that is named twice once", async () => {
  const { store, lane, id } = await deadLetter("c");
  const result = await store.store.redrive({ ids: [id, id], limit: 10 });
  expect(result.redriven).toBe(1);
  expect(store.value("SELECT open FROM lanes WHERE id = ?", lane)).toBe(1);
  expect(store.audit().mismatches).toEqual([]);
});

it("does nothing to what is not dead, not held, or not there", async () => {
  const store = shared();
  const { id } = await store.put({ device: "d" });
  expect(await store.store.redrive({ ids: [id, "nobody"], limit: 10 })).toEqual({
    redriven: 0,
    lanes: [],
    left: [
      { id, states: ["waiting"] },
      { id: "nobody", states: [] },
    ],
  });
});

it("can be kept to a flow and to a number, oldest first", async () => {
  const store = shared();
  const first = await deadLetter("e-1", "cloud");
  const second = await deadLetter("e-2", "cloud");
  const other = await deadLetter("e-3", "outbox");
  const result = await store.store.redrive({ flow: "cloud", limit: 1 });
  expect(result.lanes.map(({ lane }) => lane)).toEqual([first.lane]);
  expect(delivery(store, second.lane, second.seq)).toMatchObject({ state: "dead" });
  expect((await store.store.redrive({ flow: "cloud", limit: 10 })).redriven).toBe(1);
  expect(delivery(store, other.lane, other.seq)).toMatchObject({ state: "dead" });
});

it("reaches a message on the flow where it is dead, and not where it arrived", async () => {
  const store = shared();
  const route = { key: "f", state: "waiting", late: false, reason: null } as const;
  const request = store.request({
    device: "f",
    routes: ["outbox", "cloud"].map((flow) => ({ ...route, version: store.version(flow) })),
  });
  const reply = await store.store.append(request);
  if (reply.kind !== "stored") throw new Error("a duplicate of nothing");
  const [outbox = 0, cloud = 0] = reply.lanes;
  await store.claimMany([{ lane: outbox }, { lane: cloud }]);
  await store.settle(outbox, reply.seq);
  await store.settle(cloud, reply.seq, { state: "dead" });
  const result = await store.store.redrive({ ids: [request.id], limit: 10 });
  expect(result.lanes).toEqual([{ lane: cloud, flow: "cloud", key: "f", open: 1 }]);
  expect(delivery(store, outbox, reply.seq)).toMatchObject({ state: "delivered" });
});

it("is found again in a lane without order, behind its front", async () => {
  const { store, lane, seq, id } = await deadLetter("g");
  await store.store.redrive({ ids: [id], limit: 10 });
  const { deliveries } = await store.claim(lane, { unordered: true });
  expect(deliveries.map(({ message }) => message.seq)).toEqual([seq]);
});

it("leaves books that balance", () => {
  expect(shared().audit().mismatches).toEqual([]);
});
