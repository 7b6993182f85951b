/** The same message twice: suppressed by the rule of its QoS, acknowledged, counted, noted; also after a restart. */
import { describe, expect, it } from "vitest";
import { ManualClock } from "../support/manual-clock.ts";
import { eventually, TestStore } from "../support/test-store.ts";

const HOUR = 3_600_000;

type Fields = NonNullable<Parameters<TestStore["append"]>[0]>;

/** A publish as the broker would hand it on. */
function publish(
  store: TestStore,
  { packetId, dup = false, client = "press-7", ...rest }: Fields & PacketFields,
) {
  const expireAtMs = store.store.steadyMs() + 24 * HOUR;
  return store.append({ mqtt: { client, packetId, dup, expireAtMs }, ...rest });
}

interface PacketFields {
  readonly packetId: number;
  readonly dup?: boolean;
  readonly client?: string;
}

const identified = (store: TestStore, key: string, windowMs = HOUR, scope = "press-7") =>
  store.append({
    id: `${scope}:${key}`,
    identity: { scope, key, expireAtMs: store.store.steadyMs() + windowMs },
  });

const messages = (store: TestStore) => store.value<number>("SELECT count(*) FROM messages");

describe("QoS 1", () => {
  it("suppresses a resend with DUP, and answers with the original", async () => {
    const store = await TestStore.open();
    const first = await publish(store, { packetId: 5, id: "first" });
    const again = await publish(store, { packetId: 5, dup: true });
    expect(first).toMatchObject({ kind: "stored", seq: 1 });
    expect(again).toEqual({ kind: "duplicate", seq: 1, id: "first" });
    expect(messages(store)).toBe(1);
  });

  it("suppresses it in the same commit, too", async () => {
    const store = await TestStore.open();
    const [first, again] = await Promise.all([
      publish(store, { packetId: 5, id: "first" }),
      publish(store, { packetId: 5, dup: true }),
    ]);
    expect(first.kind).toBe("stored");
    expect(again).toEqual({ kind: "duplicate", seq: 1, id: "first" });
  });

  it("suppresses it after a restart", async () => {
    let store = await TestStore.open();
    await publish(store, { packetId: 5, id: "first" });
    store = await store.reopen();
    expect(await publish(store, { packetId: 5, dup: true })).toEqual({
      kind: "duplicate",
      seq: 1,
      id: "first",
    });
  });

  it("never takes a packet id alone for an identity", async () => {
    const store = await TestStore.open();
    await publish(store, { packetId: 5, id: "first" });
    const others: [string, Fields & PacketFields][] = [
      ["without DUP it is a new message under a packet id used again", { packetId: 5 }],
      ["another payload", { packetId: 5, dup: true, payload: Buffer.from("[]") }],
      ["another topic", { packetId: 5, dup: true, topic: "plant/elsewhere" }],
      ["another client", { packetId: 5, dup: true, client: "press-8" }],
      ["another packet id", { packetId: 6, dup: true }],
    ];
    for (const [what, fields] of others) {
      expect((await publish(store, fields)).kind, what).toBe("stored");
    }
  });

  it("does not mix up where topic ends and payload begins", async () => {
    const store = await TestStore.open();
    await publish(store, { packetId: 5, topic: "a/b", payload: Buffer.from("c") });
    const other = await publish(store, { packetId: 5, dup: true, topic: "a/bc", payload: Buffer.from("") });
    expect(other.kind).toBe("stored");
  });

  it("forgets a packet when its window has passed", async () => {
    const clock = new ManualClock();
    const store = await TestStore.open({ clock });
    await publish(store, { packetId: 5 });
    clock.advance(24 * HOUR - 1);
    expect((await publish(store, { packetId: 5, dup: true })).kind).toBe("duplicate");
    clock.advance(2);
    expect((await publish(store, { packetId: 5, dup: true })).kind).toBe("stored");
  });
});

describe("QoS 2", () => {
  it("suppresses any resend under the packet id until it is released", async () => {
    let store = await TestStore.open();
    const first = await publish(store, { packetId: 7, qos: 2, id: "first" });
    expect(first.kind).toBe("stored");
    // Whatever it carries: between PUBLISH and PUBREL the packet id stands for the message.
    const again = await publish(store, { packetId: 7, qos: 2, payload: Buffer.from("[]") });
    expect(again).toEqual({ kind: "duplicate", seq: 1, id: "first" });
    store = await store.reopen();
    expect(await publish(store, { packetId: 7, qos: 2, dup: true })).toEqual({
      kind: "duplicate",
      seq: 1,
      id: "first",
    });
    await store.store.write([{ op: "delete", kind: "incoming", client: "press-7", key: "7" }]);
    expect((await publish(store, { packetId: 7, qos: 2 })).kind).toBe("stored");
  });

  it("stores the message and its packet id in one commit", async () => {
    const store = await TestStore.open();
    await publish(store, { packetId: 7, qos: 2, id: "first" });
    const rows = await store.store.load();
    expect(rows).toEqual([{ kind: "incoming", client: "press-7", key: "7", value: Buffer.from("first") }]);
  });

  it("still knows a packet id whose message was pruned meanwhile", async () => {
    const clock = new ManualClock();
    const store = await TestStore.open({ clock, queue: { retention: { age: 0, every: "1s" } } });
    const first = await publish(store, { packetId: 7, qos: 2, id: "first" });
    expect(first.kind).toBe("stored");
    await store.deliver(1);
    await clock.advanceAsync(1);
    clock.advance(1000);
    await eventually(() => messages(store)).toBe(0);
    expect(await publish(store, { packetId: 7, qos: 2, dup: true })).toMatchObject({
      kind: "duplicate",
      id: "first",
    });
  });
});

describe("a producer's own id", () => {
  it("is known at any QoS, from any packet, before and after a restart", async () => {
    let store = await TestStore.open();
    expect((await identified(store, "4711")).kind).toBe("stored");
    expect(await identified(store, "4711")).toEqual({ kind: "duplicate", seq: 1, id: "press-7:4711" });
    store = await store.reopen();
    expect(await identified(store, "4711")).toEqual({ kind: "duplicate", seq: 1, id: "press-7:4711" });
  });

  it("is known past its window while its message is still here", async () => {
    const clock = new ManualClock();
    const store = await TestStore.open({ clock });
    await identified(store, "4711", 1000);
    clock.advance(2000);
    expect(await identified(store, "4711", 1000)).toMatchObject({ kind: "duplicate", seq: 1 });
  });

  it("is known within its window although its message was pruned, and new past it", async () => {
    const clock = new ManualClock();
    const store = await TestStore.open({ clock, queue: { retention: { age: 0, every: "1s" } } });
    await identified(store, "4711", HOUR);
    await store.deliver(1);
    await clock.advanceAsync(1);
    clock.advance(1000);
    await eventually(() => messages(store)).toBe(0);
    expect(await identified(store, "4711", HOUR)).toMatchObject({ kind: "duplicate", seq: 1 });
    clock.advance(HOUR);
    expect(await identified(store, "4711", HOUR)).toMatchObject({ kind: "stored", seq: 2 });
  });

  it("of one device says nothing of another's", async () => {
    const store = await TestStore.open();
    expect((await identified(store, "1", HOUR, "press-7")).kind).toBe("stored");
    expect((await identified(store, "1", HOUR, "press-8")).kind).toBe("stored");
  });
});

describe("a suppressed duplicate", () => {
  it("is counted at the door, for each flow and on its original, and noted in its history", async () => {
    const store = await TestStore.open({ flows: ["outbox", "cloud"] });
    const route = { key: "press-7", state: "waiting", late: false, reason: null } as const;
    const routes = ["outbox", "cloud"].map((flow) => ({ ...route, version: store.version(flow) }));
    await publish(store, { packetId: 5, routes });
    await publish(store, { packetId: 5, dup: true, routes });
    await publish(store, { packetId: 5, dup: true, routes });
    const tally = store.rows("SELECT flow, what, n FROM tally WHERE what IN ('accepted', 'duplicate')");
    expect(tally).toEqual([
      { flow: "", what: "accepted", n: 1 },
      { flow: "", what: "duplicate", n: 2 },
      { flow: "cloud", what: "accepted", n: 1 },
      { flow: "cloud", what: "duplicate", n: 2 },
      { flow: "outbox", what: "accepted", n: 1 },
      { flow: "outbox", what: "duplicate", n: 2 },
    ]);
    expect(store.value("SELECT duplicates FROM messages")).toBe(2);
    const history = store.rows<{ kind: string; detail: string }>("SELECT kind, detail FROM history");
    expect(history.map(({ kind }) => kind)).toEqual(["duplicate", "duplicate"]);
    expect(history[0]!.detail).toContain("packet id 5, DUP");
    expect(store.audit().mismatches).toEqual([]);
  });

  it("does not carry its session changes out", async () => {
    const store = await TestStore.open();
    const session = [
      { op: "put", kind: "retained", client: "", key: "t", value: Buffer.from("once") },
    ] as const;
    await publish(store, { packetId: 5, session });
    await store.store.write([{ op: "delete", kind: "retained", client: "", key: "t" }]);
    await publish(store, { packetId: 5, dup: true, session });
    expect(await store.store.load()).toEqual([]);
  });

  it("fills no history without end: the count goes on, the notes stop", async () => {
    const store = await TestStore.open();
    await publish(store, { packetId: 5 });
    await Promise.all(Array.from({ length: 50 }, () => publish(store, { packetId: 5, dup: true })));
    expect(store.value("SELECT duplicates FROM messages")).toBe(50);
    expect(store.value("SELECT count(*) FROM history")).toBe(20);
  });
});
