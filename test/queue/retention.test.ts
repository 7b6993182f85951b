/** Retention: finished messages leave in steps, others stay, and what left is still counted. */
import { describe, expect, it, onTestFinished } from "vitest";
import { BareWriter } from "../support/bare-writer.ts";
import { capability } from "../support/capabilities.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { scratchFolder, TestStore, type TestStoreOptions } from "../support/test-store.ts";

const EVERY_MS = 1000;
const STEP_EVERY_MS = 50;
const DAY = 86_400_000;

async function open(retention: Record<string, unknown>, options: TestStoreOptions = {}) {
  const clock = new ManualClock();
  const queue = { retention: { every: EVERY_MS, ...retention } };
  return { clock, store: await TestStore.open({ clock, queue, ...options }) };
}

const messages = (store: TestStore) => store.value<number>("SELECT count(*) FROM messages");

/** Lets a whole sweep pass: its beginning, and a pause after each of its steps. */
async function sweep(store: TestStore, clock: ManualClock): Promise<number> {
  const before = messages(store);
  let left = before;
  for (let still = 0; still < 3; ) {
    await clock.advanceAsync(EVERY_MS);
    await store.store.openLanes();
    const now = messages(store);
    still = now === left ? still + 1 : 0;
    left = now;
  }
  return before - left;
}

/** Appends and delivers. */
async function delivered(store: TestStore, count: number, device = "press-7") {
  const puts = await Promise.all(Array.from({ length: count }, () => store.put({ device })));
  await store.deliver(puts[0]!.lane);
  return puts;
}

describe("by age", () => {
  it("finished messages leave when they are old enough, and not before", async () => {
    const { store, clock } = await open({ age: "7d" });
    await delivered(store, 3);
    clock.advance(7 * DAY - 10 * EVERY_MS);
    await delivered(store, 2);
    expect(await sweep(store, clock)).toBe(0);
    clock.advance(10 * EVERY_MS);
    expect(await sweep(store, clock)).toBe(3);
    expect(messages(store)).toBe(2);
  });

  it("the wall clock has no part in it", async () => {
    const { store, clock } = await open({ age: "7d" });
    await delivered(store, 3);
    clock.setWallMs(clock.wallMs() + 365 * DAY);
    expect(await sweep(store, clock)).toBe(0);
  });
});

describe("by count", () => {
  it("the oldest finished ones leave until few enough are left", async () => {
    const { store, clock } = await open({ count: 10 });
    const puts = await delivered(store, 25);
    await sweep(store, clock);
    expect(store.rows("SELECT seq FROM messages ORDER BY seq")).toEqual(
      puts.slice(15).map(({ seq }) => ({ seq })),
    );
  });

  it("a backlog that cannot leave does not keep finished ones behind it", async () => {
    const { store, clock } = await open({ count: 10 });
    const stuck = await Promise.all(Array.from({ length: 900 }, () => store.put({ device: "stuck" })));
    await delivered(store, 50);
    await sweep(store, clock);
    expect(messages(store)).toBe(stuck.length);
  });
});

it("waiting, sending, unknown and dead ones stay, whatever their age", async () => {
  const { store, clock } = await open({ age: 0, count: 0 });
  const waiting = await store.put({ device: "waiting" });
  const sending = await store.put({ device: "sending" });
  const unknown = await store.put({ device: "unknown" });
  const dead = await store.put({ device: "dead" });
  await store.claimMany([sending, unknown, dead]);
  await store.settle(unknown.lane, unknown.seq, { state: "unknown", resend: true });
  await store.settle(dead.lane, dead.seq, { state: "dead", reason: "bad" });
  clock.advance(365 * DAY);
  expect(await sweep(store, clock)).toBe(0);
  expect(messages(store)).toBe([waiting, sending, unknown, dead].length);
});

it("a message stays as long as one of its flows needs it", async () => {
  const { store, clock } = await open({ age: 0 }, { flows: ["outbox", "cloud"] });
  const route = { key: "a", state: "waiting", late: false, reason: null } as const;
  const routes = ["outbox", "cloud"].map((flow) => ({ ...route, version: store.version(flow) }));
  const { seq } = await store.put({ routes });
  const [outbox, cloud] = store.rows<{ id: number }>("SELECT id FROM lanes ORDER BY id").map(({ id }) => id);
  await store.deliver(outbox!);
  expect(await sweep(store, clock)).toBe(0);
  await store.claim(cloud!);
  await store.settle(cloud!, seq, { state: "discarded", reason: "by a person" });
  expect(await sweep(store, clock)).toBe(1);
});

it("unrouted ones leave like finished ones, and are counted as such", async () => {
  const { store, clock } = await open({ age: 0 });
  await store.append({ routes: [] });
  await store.append({ routes: [] });
  expect(await sweep(store, clock)).toBe(2);
  expect(store.rows("SELECT what, n FROM pruned")).toEqual([{ what: "unrouted", n: 2 }]);
  expect(store.audit().mismatches).toEqual([]);
});

it("what left is still in the books: pruned and rows together are the tally", async () => {
  const { store, clock } = await open({ age: 0 });
  await delivered(store, 500, "a");
  await store.append({ device: "b", route: { state: "discarded", late: true, reason: "late" } });
  const waiting = await store.put({ device: "c" });
  await sweep(store, clock);
  expect(messages(store)).toBe(1);
  expect(store.rows("SELECT flow, what, n FROM pruned ORDER BY flow, what")).toEqual([
    { flow: "", what: "routed", n: 501 },
    { flow: "outbox", what: "delivered", n: 500 },
    { flow: "outbox", what: "discarded", n: 1 },
  ]);
  expect(store.audit().mismatches).toEqual([]);
  // Nothing of them is left: not their history, not their lanes.
  expect(store.rows("SELECT id FROM lanes")).toEqual([{ id: waiting.lane }]);
  expect(store.value("SELECT count(*) FROM history")).toBe(0);
});

it("a lane that vanished comes back with the next message of its device, under another number", async () => {
  const { store, clock } = await open({ age: 0 });
  const [before] = await delivered(store, 1);
  await sweep(store, clock);
  const after = await store.put();
  expect(after.lane).not.toBe(before!.lane);
  expect(await store.deliver(after.lane)).toEqual([after.seq]);
});

it("a sweep goes in steps, with room for messages between them", async () => {
  const { store, clock } = await open({ age: 0 });
  await delivered(store, 1000);
  const left: number[] = [];
  for (const pauseMs of [EVERY_MS, STEP_EVERY_MS, STEP_EVERY_MS]) {
    await clock.advanceAsync(pauseMs);
    // Answered after the step that was asked for before it.
    await store.store.openLanes();
    left.push(messages(store));
    await store.put();
  }
  expect(left).toEqual([600, 201, 2]);
});

it("identities and packet ids leave when their window has passed, however many there are", async () => {
  const { store, clock } = await open({});
  const many = Array.from({ length: 2500 }, (_, at) => at + 1);
  const expireAtMs = store.store.steadyMs() + 60_000;
  await Promise.all(
    many.map((at) =>
      store.append({
        mqtt: { client: "press-7", packetId: at, dup: false, expireAtMs },
        identity: { scope: "press-7", key: `${at}`, expireAtMs },
      }),
    ),
  );
  await store.append({
    mqtt: { client: "press-8", packetId: 1, dup: false, expireAtMs: expireAtMs + DAY },
    identity: { scope: "press-8", key: "1", expireAtMs: expireAtMs + DAY },
  });
  const left = () =>
    store.rows(
      "SELECT (SELECT count(*) FROM identities) AS ids, (SELECT count(*) FROM packet_ids) AS packets",
    )[0];
  expect(left()).toEqual({ ids: 2501, packets: 2501 });
  clock.advance(60_001);
  // Within the steps of two sweeps, one of which may have begun before.
  await sweep(store, clock);
  await sweep(store, clock);
  expect(left()).toEqual({ ids: 1, packets: 1 });
});

it("the file does not grow for ever: pages of what left are used again", async () => {
  const { store, clock } = await open({ age: 0 });
  const fill = async () => {
    const payload = Buffer.alloc(4000, "x");
    const puts = await Promise.all(Array.from({ length: 500 }, () => store.put({ payload })));
    await store.deliver(puts[0]!.lane);
    await sweep(store, clock);
    expect(messages(store)).toBe(0);
    return store.value<number>("PRAGMA page_count");
  };
  const first = await fill();
  for (let round = 0; round < (capability("wide").present ? 3 : 1); round++)
    expect(await fill()).toBeLessThan(first * 1.25);
});

it("a step that found the disk full is taken back whole: nothing is passed over, nothing counted twice", () => {
  const store = new BareWriter(
    scratchFolder(),
    { retention: { age: 0, count: 500 } },
    { synchronous: "OFF" },
  );
  onTestFinished(() => store.close());
  for (let at = 0; at < 1000; at++) {
    store.appendTo({ id: `m${at}`, flows: [], key: "a", identity: null, steadyAtMs: at });
  }
  const step = (sweep: boolean) => store.call("prune", { nowMs: 1000, sweep, forRoom: false });
  store.fullOnce = true;
  expect(step(true)).toEqual({ removed: 400, finished: false });
  expect(step(false)).toEqual({ removed: 400, finished: false });
  expect(step(false).removed).toBe(200);
});
