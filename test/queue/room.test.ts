/** When the store is full, by its limit or by its disk: nothing is acknowledged, nothing is lost, it goes on by itself. */
import { BroadcastChannel } from "node:worker_threads";
import { describe, expect, it, onTestFinished } from "vitest";
import type { StoreState } from "../../src/queue/store.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { eventually, TestStore } from "../support/test-store.ts";

/** With a log of the usual size, so that all that waits is offered in one batch. */
const SMALL = { bytesMax: "4MiB", reserve: "1MiB", walBytesMax: "16MiB", retention: { age: "7d" } };
const PAYLOAD = Buffer.alloc(64 * 1024, "x");
/** More than SMALL has room for. */
const MANY = 60;
const RETRY_MS = 250;

/** Fills a store until it says so; the answers of all appends, those that wait included. */
async function filled(store: TestStore) {
  const full = Promise.withResolvers<StoreState>();
  const states: string[] = [];
  store.store.onState = (state) => {
    states.push(state.kind);
    if (state.kind === "full") full.resolve(state);
  };
  let acked = 0;
  const answers = Array.from({ length: MANY }, (_, at) =>
    store.append({ id: `m${at}`, payload: PAYLOAD }).then((reply) => {
      acked += 1;
      return reply;
    }),
  );
  // Those that never find room are rejected at the end; each test looks at what it is about.
  for (const answer of answers) answer.catch(() => {});
  await full.promise;
  return { answers, states, acked: () => acked };
}

describe("at bytesMax", () => {
  it("acknowledges what is stored and nothing else, and stays within the limit", async () => {
    const clock = new ManualClock();
    const store = await TestStore.open({ clock, queue: SMALL });
    const { acked } = await filled(store);
    expect(acked()).toBeGreaterThan(20);
    expect(acked()).toBeLessThan(MANY);
    expect(store.value("SELECT count(*) FROM messages")).toBe(acked());
    const bytes = store.value<number>(
      "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    );
    expect(bytes).toBeLessThan(4 * 2 ** 20);
    expect(store.store.state.kind).toBe("full");
  });

  it("takes claims and settlements meanwhile, and makes room of what is finished, in the order of arrival", async () => {
    const clock = new ManualClock();
    const store = await TestStore.open({ clock, queue: SMALL });
    const { answers, states, acked } = await filled(store);
    const before = acked();
    expect(await store.deliver(1)).toHaveLength(before);
    expect(acked()).toBe(before);
    // Finished ones leave although they are young, since nothing is acknowledged until there is room.
    for (let tries = 0; acked() < MANY; tries++) {
      expect(tries).toBeLessThan(100);
      await clock.advanceAsync(RETRY_MS);
      await store.store.openLanes();
      await store.deliver(1);
    }
    const replies = await Promise.all(answers);
    expect(replies.map(({ seq }) => seq)).toEqual(Array.from({ length: MANY }, (_, at) => at + 1));
    expect(states.at(-1)).toBe("ok");
    expect(store.audit().mismatches).toEqual([]);
  });

  it("gets past a backlog that cannot leave to finished ones behind it", async () => {
    const clock = new ManualClock();
    const store = await TestStore.open({ clock, queue: SMALL });
    await Promise.all(
      Array.from({ length: 5000 }, () => store.append({ device: "stuck", payload: Buffer.from("x") })),
    );
    const { answers, acked } = await filled(store);
    await store.deliver(2);
    for (let tries = 0; acked() < MANY; tries++) {
      expect(tries).toBeLessThan(100);
      await clock.advanceAsync(RETRY_MS);
      await store.deliver(2);
    }
    await Promise.all(answers);
    expect(store.value("SELECT open FROM lanes WHERE key = 'stuck'")).toBe(5000);
  });

  it("lets nothing overtake what waits: neither a smaller message nor a session change", async () => {
    const clock = new ManualClock();
    const store = await TestStore.open({ clock, queue: SMALL });
    const { acked } = await filled(store);
    const order: string[] = [];
    const small = store.append({ id: "small", payload: Buffer.from("x") }).then(() => order.push("small"));
    const session = store.store
      .write([{ op: "put", kind: "retained", client: "", key: "t", value: Buffer.from("x") }])
      .then(() => order.push("session"));
    await store.store.openLanes();
    expect(order).toEqual([]);
    for (let tries = 0; order.length < 2; tries++) {
      expect(tries).toBeLessThan(100);
      await store.deliver(1);
      await clock.advanceAsync(RETRY_MS);
      await store.store.openLanes();
    }
    await Promise.all([small, session]);
    expect(order).toEqual(["small", "session"]);
    expect(acked()).toBe(MANY);
    expect(store.value("SELECT seq FROM messages WHERE id = 'small'")).toBe(MANY + 1);
  });

  it("gives up a waiting append when its sender goes away, and never stores it", async () => {
    const clock = new ManualClock();
    const store = await TestStore.open({ clock, queue: SMALL });
    const { acked } = await filled(store);
    const sender = new AbortController();
    const gone = store.append({ id: "gone", payload: PAYLOAD }, sender.signal);
    const rejected = expect(gone).rejects.toThrow("client left");
    await store.store.openLanes();
    sender.abort(new Error("client left"));
    await clock.advanceAsync(RETRY_MS);
    await rejected;
    for (let tries = 0; acked() < MANY; tries++) {
      expect(tries).toBeLessThan(100);
      await store.deliver(1);
      await clock.advanceAsync(RETRY_MS);
      await store.store.openLanes();
    }
    expect(store.value("SELECT count(*) FROM messages WHERE id = 'gone'")).toBe(0);
    expect(store.value("SELECT max(seq) FROM messages")).toBe(MANY);
  });

  it("offers what waits at its times, not with every claim", async () => {
    const clock = new ManualClock();
    const store = await TestStore.open({ clock, queue: SMALL });
    await filled(store);
    let written = 0;
    const request = Object.defineProperty(store.request(), "payload", {
      get: () => {
        written += 1;
        return PAYLOAD;
      },
    });
    store.store.append(request).catch(() => {});
    for (let i = 0; i < 5; i++) await store.claim(1, { limit: 1 });
    expect(written).toBe(0);
    await clock.advanceAsync(RETRY_MS);
    await store.store.openLanes();
    expect(written).toBe(1);
  });

  it("closes although messages wait for room, and gives those back unstored", async () => {
    const store = await TestStore.open({ queue: SMALL });
    const { answers, acked } = await filled(store);
    const settled = Promise.allSettled(answers);
    await store.store.stop();
    const refused = (await settled).filter(({ status }) => status === "rejected");
    expect(refused).toHaveLength(MANY - acked());
    expect(refused[0]).toMatchObject({ reason: { code: "HF_GATEWAY_DOWN" } });
    expect(store.value("SELECT count(*) FROM messages")).toBe(acked());
    expect(store.value("SELECT stopped_clean FROM boots")).toBe(1);
  });
});

describe("on a full disk", () => {
  /** Lets the saboteur's disk have room again. */
  function giveRoom(store: TestStore): void {
    const channel = new BroadcastChannel(`holdfast-test-${store.value("SELECT boot FROM boots")}`);
    onTestFinished(() => channel.close());
    channel.postMessage("room");
  }

  it("acknowledges nothing, says so, and goes on by itself in the order of arrival", async () => {
    const store = await TestStore.open({ fault: "full=4" });
    await store.put({ id: "before" });
    const states: string[] = [];
    store.store.onState = (state) => states.push(state.kind);
    let acked = 0;
    const answers = Array.from({ length: 50 }, (_, at) =>
      store.append({ id: `m${at}` }).then(({ seq }) => {
        acked += 1;
        return seq;
      }),
    );
    const claim = store.claim(1);
    await eventually(() => states).toEqual(["full"]);
    expect(acked).toBe(0);
    giveRoom(store);
    expect((await claim).deliveries.map(({ message }) => message.id)).toEqual(["before"]);
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 50 }, (_, at) => at + 2));
    expect(states).toEqual(["full", "ok"]);
    expect(store.audit().mismatches).toEqual([]);
  });

  it("takes nothing of a batch that found no room: no number, no count, no identity", async () => {
    const store = await TestStore.open({ fault: "full=4" });
    await store.put();
    const identity = { scope: "press-7", key: "1", expireAtMs: store.store.steadyMs() + 10_000 };
    const waiting = store.append({ id: "press-7:1", identity });
    await eventually(() => store.store.state.kind).toBe("full");
    expect(store.value("SELECT n FROM tally WHERE flow = '' AND what = 'accepted'")).toBe(1);
    giveRoom(store);
    // Not a duplicate of its own first attempt.
    expect(await waiting).toMatchObject({ kind: "stored", seq: 2 });
  });

  it("does not pile up its own attempts to make room while it lasts", async () => {
    const clock = new ManualClock();
    const store = await TestStore.open({ clock, fault: "full=4" });
    await store.put();
    const waiting = store.append();
    await eventually(() => store.store.state.kind).toBe("full");
    for (let i = 0; i < 20; i++) {
      await clock.advanceAsync(RETRY_MS);
      await new Promise((resolve) => setImmediate(resolve));
    }
    giveRoom(store);
    const commits: number[] = [];
    store.store.onCommit = (requests) => commits.push(requests);
    await eventually(async () => {
      await clock.advanceAsync(RETRY_MS);
      return store.store.state.kind;
    }).toBe("ok");
    await waiting;
    expect(commits.reduce((sum, requests) => sum + requests, 0)).toBeLessThan(5);
  });

  it("closes while it lasts, and the next start looks the store through", async () => {
    const store = await TestStore.open({ fault: "full=4" });
    await store.put();
    const waiting = store.append();
    const rejected = expect(waiting).rejects.toMatchObject({ code: "HF_GATEWAY_DOWN" });
    await eventually(() => store.store.state.kind).toBe("full");
    await store.store.stop();
    await rejected;
    expect(store.value("SELECT stopped_clean FROM boots")).toBe(0);
    const again = await store.reopen({ fault: undefined });
    expect((await again.put()).seq).toBe(2);
  });
});
