/** What a restart finds: deliveries in the air become unknown, the steady clock goes on, numbers are not used twice. */
import { describe, expect, it } from "vitest";
import { ManualClock } from "../support/manual-clock.ts";
import { eventually, makeStore, startStore, TestStore } from "../support/test-store.ts";

const HOUR = 3_600_000;

describe("a delivery that was being sent when the process died", () => {
  /** Leaves one delivery in the air, as a relay that never came back does. */
  async function leftInTheAir(flows?: readonly string[]) {
    const store = await TestStore.open({ flows });
    const put = await store.put();
    await store.put();
    await store.claim(put.lane, { limit: 1 });
    return { store, ...put };
  }

  it("is unknown at the next start, due at once, as a resend, and its history says why", async () => {
    const { store, lane, seq } = await leftInTheAir();
    const again = await store.reopen();
    expect(again.store.recovered).toBe(1);
    expect(again.rows("SELECT seq, state, resend, due_at FROM deliveries")).toEqual([
      { seq: 1, state: "unknown", resend: 1, due_at: 0 },
      { seq: 2, state: "waiting", resend: 0, due_at: null },
    ]);
    expect(again.rows("SELECT seq, lane, kind, detail FROM history")).toEqual([
      {
        seq,
        lane,
        kind: "unknown",
        detail: expect.stringContaining("stopped between sending it and recording"),
      },
    ]);
    expect(again.audit().mismatches).toEqual([]);
  });

  it("is claimed before the rest of its lane, and known as one whose answer was lost", async () => {
    const { store, lane } = await leftInTheAir();
    const again = await store.reopen();
    const { deliveries } = await again.claim(lane);
    expect(
      deliveries.map(({ message, wasUnknown, resend }) => ({ seq: message.seq, wasUnknown, resend })),
    ).toEqual([
      { seq: 1, wasUnknown: true, resend: true },
      { seq: 2, wasUnknown: false, resend: false },
    ]);
  });

  it("is told apart from those that were settled", async () => {
    const { store, lane, seq } = await leftInTheAir();
    await store.settle(lane, seq);
    const again = await store.reopen();
    expect(again.store.recovered).toBe(0);
    expect(again.rows("SELECT state FROM deliveries")).toEqual([
      { state: "delivered" },
      { state: "waiting" },
    ]);
  });
});

describe("the steady clock", () => {
  it("goes on over a restart by the time that passed", async () => {
    const clock = new ManualClock();
    let store = await TestStore.open({ clock });
    clock.advance(5000);
    await store.put();
    const before = store.store.steadyMs();
    expect(before).toBe(5000);
    await store.store.stop();
    clock.advance(HOUR);
    store = await store.reopen();
    expect(store.store.steadyMs()).toBe(before + HOUR);
  });

  it("does not jump with the wall clock, neither inside a run nor over a restart", async () => {
    const clock = new ManualClock();
    let store = await TestStore.open({ clock });
    clock.setWallMs(clock.wallMs() + 10 * 365 * 24 * HOUR);
    expect(store.store.steadyMs()).toBe(0);
    clock.advance(1000);
    await store.put();
    expect(store.store.steadyMs()).toBe(1000);
    await store.store.stop();
    // Set right again while the gateway is down: backwards counts as nothing.
    clock.setWallMs(Date.UTC(2026, 6, 1));
    store = await store.reopen();
    expect(store.store.steadyMs()).toBe(1000);
  });

  it("counts time switched off as nothing where the wall clock is not to be believed", async () => {
    const clock = new ManualClock();
    let store = await TestStore.open({ clock });
    clock.advance(1000);
    await store.put();
    await store.store.stop();
    clock.setWallMs(Date.UTC(1970, 0, 1, 1));
    store = await store.reopen();
    expect(store.store.steadyMs()).toBe(1000);
    expect(store.value("SELECT clock_trusted FROM boots ORDER BY id DESC LIMIT 1")).toBe(0);
    await store.put();
    await store.store.stop();
    clock.setWallMs(Date.UTC(2026, 6, 1));
    store = await store.reopen();
    expect(store.store.steadyMs()).toBe(1000);
  });

  it("keeps the time away although starts in between died before they committed anything", async () => {
    const clock = new ManualClock();
    let store = await TestStore.open({ clock });
    await store.put();
    await store.store.stop();
    for (let i = 0; i < 3; i++) {
      clock.advance(HOUR);
      const brief = makeStore({ dataDir: store.dataDir, clock });
      await startStore(brief);
      await brief.stop();
    }
    store = await store.reopen();
    expect(store.store.steadyMs()).toBe(3 * HOUR);
  });
});

it("no sequence is ever given twice, also after everything was pruned", async () => {
  const clock = new ManualClock();
  let store = await TestStore.open({ clock, queue: { retention: { age: 0, every: "1s" } } });
  for (let at = 0; at < 3; at++) await store.put();
  await store.deliver(1);
  await clock.advanceAsync(1);
  clock.advance(1000);
  await eventually(() => store.value("SELECT count(*) FROM messages")).toBe(0);
  store = await store.reopen();
  expect((await store.put()).seq).toBe(4);
});

it("nor are those of messages that came and went while one sweep was going on", async () => {
  const clock = new ManualClock();
  let store = await TestStore.open({ clock, queue: { retention: { age: 0, count: 0, every: "1s" } } });
  // More than one step, so that the sweep is still going on when the last ones come.
  await Promise.all(Array.from({ length: 1000 }, () => store.append()));
  await store.deliver(1, { limit: 1000 });
  await clock.advanceAsync(1000);
  await eventually(() => store.value("SELECT count(*) FROM messages")).toBeLessThan(1000);
  await store.put();
  await store.deliver(1);
  await eventually(async () => {
    await clock.advanceAsync(50);
    return store.value("SELECT count(*) FROM messages");
  }).toBe(0);
  store = await store.reopen();
  expect((await store.put()).seq).toBe(1002);
});

it("session rows outlive a restart, in the order of their keys", async () => {
  let store = await TestStore.open();
  const put = (client: string, key: string) =>
    ({ op: "put", kind: "outgoing", client, key, value: Buffer.from(`${client}${key}`) }) as const;
  await store.store.write([put("b", "0001"), put("a", "0002"), put("a", "0001")]);
  await store.store.write([
    { op: "put", kind: "subscription", client: "a", key: "x/#", value: Buffer.alloc(0) },
    { op: "delete", kind: "outgoing", client: "b", key: "0001" },
  ]);
  store = await store.reopen();
  expect(await store.store.load()).toEqual([
    { kind: "outgoing", client: "a", key: "0001", value: Buffer.from("a0001") },
    { kind: "outgoing", client: "a", key: "0002", value: Buffer.from("a0002") },
    { kind: "subscription", client: "a", key: "x/#", value: Buffer.alloc(0) },
  ]);
  await store.store.write([{ op: "clear", kind: "outgoing", client: "a" }]);
  store = await store.reopen();
  expect(await store.store.load()).toHaveLength(1);
});
