/** Claims: what goes out of a lane, in which order, what holds it back, and what a claim costs. */
import { describe, expect, it } from "vitest";
import type { ClaimReply } from "../../src/queue/requests.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { sharedStore, type TestStore } from "../support/test-store.ts";

const clock = new ManualClock();
const shared = sharedStore({ clock, flows: ["outbox", "bulk", "short-lived"] });

/** Appends `count` messages of a device of this test's own. */
async function lane(device: string, count: number, flow = "outbox") {
  const store = shared();
  const puts = await Promise.all(
    Array.from({ length: count }, (_, at) =>
      store.put({
        device,
        flow,
        payload: Buffer.from(`${device} ${at}`),
        id: `${device}-${at}-${clock.monoMs()}`,
      }),
    ),
  );
  return { store, lane: puts[0]!.lane, seqs: puts.map(({ seq }) => seq) };
}

const seqsOf = ({ deliveries }: ClaimReply) => deliveries.map(({ message }) => message.seq);

const retryIn = (store: TestStore, ms: number) => ({
  state: "waiting" as const,
  attempts: 1,
  dueAtMs: store.store.steadyMs() + ms,
});

describe("a lane in order", () => {
  it("gives from its head, as many as asked for, with the whole message", async () => {
    const { store, lane: id, seqs } = await lane("order", 5);
    const first = await store.claim(id, { limit: 2 });
    expect(seqsOf(first)).toEqual(seqs.slice(0, 2));
    expect(first.lanes).toEqual([{ lane: id, open: 5, expired: 0, blockedUntilMs: null, held: false }]);
    expect(first.deliveries[0]!.message).toMatchObject({
      id: expect.stringMatching(/^order-0-/),
      device: "order",
      source: "mqtt",
      topic: "plant/order",
      qos: 1,
      retain: false,
      clockTrusted: true,
      headers: {},
    });
    expect(first.deliveries[0]!.message.payload.toString()).toBe("order 0");
  });

  it("gives nothing more while some of it is in the air", async () => {
    const { store, lane: id, seqs } = await lane("air", 3);
    await store.claim(id, { limit: 1 });
    expect(seqsOf(await store.claim(id))).toEqual([]);
    await store.settle(id, seqs[0]!);
    expect(seqsOf(await store.claim(id))).toEqual(seqs.slice(1));
  });

  it("is held back by its head until its time, and says until when", async () => {
    const { store, lane: id, seqs } = await lane("blocked", 2);
    await store.claim(id, { limit: 1 });
    const retry = retryIn(store, 1000);
    await store.settle(id, seqs[0]!, retry);
    const blocked = await store.claim(id);
    expect(blocked.deliveries).toEqual([]);
    expect(blocked.lanes[0]).toMatchObject({ open: 2, blockedUntilMs: retry.dueAtMs, held: false });
    clock.advance(1000);
    const due = await store.claim(id);
    expect(seqsOf(due)).toEqual(seqs);
    expect(due.deliveries.map(({ attempts }) => attempts)).toEqual([1, 0]);
  });

  it("is held by an unknown that waits for a person, and by nothing else of that kind", async () => {
    const { store, lane: id, seqs } = await lane("held", 2);
    await store.claim(id, { limit: 1 });
    await store.settle(id, seqs[0]!, { state: "unknown", resend: true, dueAtMs: null });
    const held = await store.claim(id);
    expect(held.deliveries).toEqual([]);
    expect(held.lanes[0]).toMatchObject({ open: 2, held: true, blockedUntilMs: null });
  });

  it("goes on past a dead one", async () => {
    const { store, lane: id, seqs } = await lane("dead", 2);
    await store.claim(id, { limit: 1 });
    await store.settle(id, seqs[0]!, { state: "dead", reason: "bad" });
    const next = await store.claim(id);
    expect(seqsOf(next)).toEqual(seqs.slice(1));
    expect(next.lanes[0]!.open).toBe(1);
  });

  it("holds back nobody else", async () => {
    const { store, lane: stuck, seqs } = await lane("stuck", 1);
    const other = await lane("free", 1);
    await store.claim(stuck);
    await store.settle(stuck, seqs[0]!, retryIn(store, 60_000));
    expect(seqsOf(await store.claimMany([{ lane: stuck }, { lane: other.lane }]))).toEqual(other.seqs);
  });
});

describe("a claim of several lanes", () => {
  it("gives each its share, and stops at its limit and at its bytes", async () => {
    const a = await lane("share-a", 3);
    const b = await lane("share-b", 3);
    const store = shared();
    const fair = await store.claimMany(
      [
        { lane: a.lane, limit: 2 },
        { lane: b.lane, limit: 2 },
      ],
      { limit: 3 },
    );
    expect(seqsOf(fair)).toEqual([...a.seqs.slice(0, 2), b.seqs[0]]);
    const c = await lane("share-c", 3);
    // Each payload has nine bytes; the one that goes over the limit is still taken.
    expect(seqsOf(await store.claim(c.lane, { bytesMax: 10 }))).toEqual(c.seqs.slice(0, 2));
  });

  it("takes one delivery although it alone is larger than the bytes", async () => {
    const { store, lane: id, seqs } = await lane("large", 2);
    expect(seqsOf(await store.claim(id, { bytesMax: 1 }))).toEqual(seqs.slice(0, 1));
  });

  it("leaves out a lane that is not there any more", async () => {
    const reply = await shared().claimMany([{ lane: 999_999 }]);
    expect(reply).toEqual({ lanes: [], deliveries: [] });
  });
});

describe("a lane without order", () => {
  const unordered = { unordered: true };

  it("goes past those whose time has not come, and comes back to them first", async () => {
    const { store, lane: id, seqs } = await lane("bulk-a", 4, "bulk");
    await store.claim(id, { limit: 2, ...unordered });
    await store.settle(id, seqs[0]!, retryIn(store, 1000));
    await store.settle(id, seqs[1]!, retryIn(store, 5000));
    expect(seqsOf(await store.claim(id, { limit: 1, ...unordered }))).toEqual([seqs[2]]);
    await store.settle(id, seqs[2]!);
    clock.advance(1000);
    expect(seqsOf(await store.claim(id, unordered))).toEqual([seqs[0], seqs[3]]);
    await store.settle(id, seqs[0]!);
    await store.settle(id, seqs[3]!);
    const left = await store.claim(id, unordered);
    expect(left.deliveries).toEqual([]);
    expect(left.lanes[0]).toMatchObject({
      open: 1,
      blockedUntilMs: store.store.steadyMs() + 4000,
      held: false,
    });
    expect(store.audit().mismatches).toEqual([]);
  });

  it("goes past any number of them: a crowd of delayed ones does not hide a fresh one", async () => {
    const { store, lane: id, seqs } = await lane("bulk-crowd", 601, "bulk");
    const { deliveries } = await store.claim(id, { limit: 600, ...unordered });
    const retry = { ...retryIn(store, 60_000), resend: false, reason: null, note: null };
    await store.store.settle(deliveries.map(({ message }) => ({ lane: id, seq: message.seq, ...retry })));
    expect(seqsOf(await store.claim(id, { limit: 10, ...unordered }))).toEqual([seqs[600]]);
  });

  it("goes past held ones, and says so when only they are left", async () => {
    const { store, lane: id, seqs } = await lane("bulk-held", 2, "bulk");
    await store.claim(id, { limit: 1, ...unordered });
    await store.settle(id, seqs[0]!, { state: "unknown", resend: true, dueAtMs: null });
    expect(seqsOf(await store.claim(id, unordered))).toEqual([seqs[1]]);
    await store.settle(id, seqs[1]!);
    const left = await store.claim(id, unordered);
    expect(left.lanes[0]).toMatchObject({ open: 1, blockedUntilMs: null, held: true });
  });

  it("does not lose sight of one that was given back at once, before others that wait for their time", async () => {
    const { store, lane: id, seqs } = await lane("bulk-back", 3, "bulk");
    await store.claim(id, { limit: 2, ...unordered });
    await store.settle(id, seqs[1]!, retryIn(store, 10));
    await store.settle(id, seqs[0]!, { state: "waiting", attempts: 0 });
    clock.advance(10);
    expect(seqsOf(await store.claim(id, { limit: 1, ...unordered }))).toEqual([seqs[1]]);
    await store.settle(id, seqs[1]!);
    expect(seqsOf(await store.claim(id, unordered))).toEqual([seqs[0], seqs[2]]);
    expect(store.audit().mismatches).toEqual([]);
  });

  it("does not say that it is blocked where the batch was simply full", async () => {
    const full = await lane("bulk-full", 1);
    const { store, lane: id, seqs } = await lane("bulk-more", 2, "bulk");
    await store.claim(id, { limit: 1, ...unordered });
    await store.settle(id, seqs[0]!, retryIn(store, 60_000));
    const reply = await store.claimMany([{ lane: full.lane }, { lane: id, ...unordered }], { limit: 1 });
    expect(seqsOf(reply)).toEqual(full.seqs);
    expect(reply.lanes[1]).toMatchObject({ open: 2, blockedUntilMs: null, held: false });
  });
});

describe("expiry", () => {
  it("happens in the claim: what is too old is not given, and the rest is", async () => {
    const old = await lane("old", 2);
    clock.advance(10_000);
    const young = await lane("old", 1);
    const reply = await young.store.claim(old.lane, { expireBeforeMs: young.store.store.steadyMs() - 5000 });
    expect(seqsOf(reply)).toEqual(young.seqs.map(() => old.seqs[1]! + 1));
    expect(reply.lanes[0]).toMatchObject({ expired: 2, open: 1 });
    const rows = old.store.rows<{ state: string; reason: string }>(
      "SELECT state, reason FROM deliveries WHERE lane = ? ORDER BY seq",
      old.lane,
    );
    expect(rows.map(({ state }) => state)).toEqual(["expired", "expired", "sending"]);
    expect(rows[0]!.reason).toContain("ttl");
  });

  it("never takes one whose answer was lost: the backend may have it", async () => {
    const { store, lane: id, seqs } = await lane("old-unknown", 1);
    await store.claim(id);
    await store.settle(id, seqs[0]!, { state: "unknown", resend: true, dueAtMs: store.store.steadyMs() });
    clock.advance(10_000);
    const { deliveries } = await store.claim(id, { expireBeforeMs: store.store.steadyMs() });
    expect(deliveries).toHaveLength(1);
    await store.settle(id, seqs[0]!);
  });

  it("happens by sweep where nothing is claimed: in every lane of the flow, delayed heads included", async () => {
    const a = await lane("sweep-a", 3, "short-lived");
    const b = await lane("sweep-b", 2, "short-lived");
    const { store } = a;
    await store.claim(b.lane, { limit: 1 });
    await store.settle(b.lane, b.seqs[0]!, retryIn(store, 3_600_000));
    clock.advance(5000);
    const young = await lane("sweep-a", 1, "short-lived");
    expect(await store.store.expire("short-lived", store.store.steadyMs())).toEqual({
      expired: 5,
      // Where the head was waiting for its time, and something is left behind it.
      unblocked: [],
    });
    expect((await store.store.expire("short-lived", store.store.steadyMs())).expired).toBe(0);
    const states = store.rows<{ seq: number }>(
      "SELECT seq FROM deliveries WHERE lane IN (?, ?) AND state = 'waiting'",
      a.lane,
      b.lane,
    );
    expect(states).toEqual([{ seq: Math.max(...b.seqs) + 1 }]);
    expect(young.lane).toBe(a.lane);
    expect(store.audit().mismatches).toEqual([]);
  });

  it("by sweep says which lanes need not wait any more, since their delayed head is gone", async () => {
    const { store, lane: id, seqs } = await lane("sweep-head", 1, "short-lived");
    await store.claim(id);
    await store.settle(id, seqs[0]!, retryIn(store, 3_600_000));
    clock.advance(5000);
    await lane("sweep-head", 1, "short-lived");
    expect(await store.store.expire("short-lived", store.store.steadyMs() - 1000)).toMatchObject({
      unblocked: [{ lane: id, flow: "short-lived", key: "sweep-head", open: 1 }],
    });
  });

  it("by sweep goes in steps, so that a commit stays short", async () => {
    const { store, lane: id } = await lane("sweep-many", 1500, "short-lived");
    clock.advance(1000);
    const before = store.store.steadyMs();
    expect((await store.store.expire("short-lived", before)).expired).toBe(1000);
    expect(store.value("SELECT open FROM lanes WHERE id = ?", id)).toBeGreaterThan(0);
    expect((await store.store.expire("short-lived", before)).expired).toBeGreaterThanOrEqual(500);
    expect((await store.store.expire("short-lived", before)).expired).toBe(0);
  });
});

it("the books balance after all of this", () => {
  expect(shared().audit().mismatches).toEqual([]);
});
