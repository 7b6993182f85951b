/** What the store does for commands, each in the commit that brings it about. */
import { describe, expect, it } from "vitest";
import { commandFlow, commandTopic, resultFlow } from "../../src/core/command-message.ts";
import { openForReading, openStore } from "../../src/queue/database.ts";
import type { Settlement } from "../../src/queue/requests.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { sharedStore, TestStore } from "../support/test-store.ts";

const FLOWS = [
  commandFlow("press-7"),
  commandFlow("press-8"),
  commandFlow("press-9"),
  resultFlow("scada"),
  "all",
];
const clock = new ManualClock();
const shared = sharedStore({ clock, flows: FLOWS });

interface Given {
  readonly device?: string;
  readonly value?: number;
  readonly ttlMs?: number;
  readonly supersede?: boolean;
  readonly replyTo?: string;
  readonly identity?: { scope: string; key: string; expireAtMs: number };
}

function command(
  store: TestStore,
  { device = "press-7", value = 1, ttlMs, supersede, replyTo, identity }: Given,
) {
  const headers = {
    by: "scada",
    requestId: `r-${value}`,
    ...(replyTo ? { upstream: "scada", replyTo, correlation: "YWJj" } : {}),
  };
  return store.put({
    flow: commandFlow(device),
    device,
    source: "mqtt",
    topic: commandTopic(device, "speed"),
    payload: Buffer.from(JSON.stringify({ signal: "speed", value, preconditions: [], onUnknown: "hold" })),
    headers: JSON.stringify(headers),
    route: { expireAtMs: ttlMs === undefined ? null : store.store.steadyMs() + ttlMs },
    supersede,
    urgent: true,
    ...(identity ? { identity } : {}),
  });
}

const stateOf = (store: TestStore, seq: number) =>
  store.value<string>("SELECT state FROM deliveries WHERE seq = ?", seq);

const trailOf = (store: TestStore, id: string) =>
  store
    .rows<{ event: string; detail: string | null }>(
      "SELECT event, detail FROM audit_trail WHERE command = ? ORDER BY id",
      id,
    )
    .map(({ event, detail }) => (detail === null ? event : `${event}: ${detail}`));

const resultsOf = (store: TestStore, id: string) =>
  store
    .rows<{ payload: Buffer }>("SELECT payload FROM messages WHERE source = 'result' ORDER BY seq")
    .map(({ payload }) => JSON.parse(payload.toString()))
    .filter((result) => result.command === id);

const unknown: Partial<Settlement> = {
  state: "unknown",
  resend: true,
  dueAtMs: null,
  reason: "timeout",
  note: "unknown",
};

describe("a command", () => {
  it("expires when its own time is over, whatever its flow says, and not before", async () => {
    const store = shared();
    const short = await command(store, { ttlMs: 1000 });
    const long = await command(store, { value: 2, ttlMs: 60_000 });
    clock.advance(900);
    expect((await store.store.expireOutlived()).expired).toBe(0);
    clock.advance(200);
    const { expired, unblocked } = await store.store.expireOutlived();
    expect([expired, unblocked.map(({ lane }) => lane)]).toEqual([1, [short.lane]]);
    expect(stateOf(store, short.seq)).toBe("expired");
    // Where a claim comes upon it, the same.
    clock.advance(60_000);
    const { deliveries, lanes } = await store.claim(long.lane);
    expect([deliveries.length, lanes[0]!.expired, stateOf(store, long.seq)]).toEqual([0, 1, "expired"]);
    expect(trailOf(store, long.id).at(-1)).toMatch(/^expired: /);
  });

  it("whose answer was lost does not expire: it may have been done", async () => {
    const store = shared();
    const { seq, lane } = await command(store, { device: "press-8", ttlMs: 1000 });
    await store.claim(lane);
    await store.settle(lane, seq, unknown);
    clock.advance(5000);
    await store.store.expireOutlived();
    expect(stateOf(store, seq)).toBe("unknown");
    await store.store.decide({ id: await idOf(store, seq), as: "not done", by: "ann", reason: null });
  });

  it("gives way to a newer one for the same signal where that is asked for, and says to which", async () => {
    const store = shared();
    const older = await command(store, { value: 3 });
    const other = await store.put({
      flow: commandFlow("press-7"),
      device: "press-7",
      topic: commandTopic("press-7", "valve"),
    });
    const beside = await command(store, { value: 4 });
    const newest = await command(store, { value: 5, supersede: true });
    expect([older, other, beside, newest].map(({ seq }) => stateOf(store, seq))).toEqual([
      "discarded",
      "waiting",
      "discarded",
      "waiting",
    ]);
    expect(trailOf(store, older.id).at(-1)).toBe(`cancelled: superseded by ${newest.id}`);
    expect(store.audit().balanced).toBe(true);
    expect(await store.deliver(newest.lane)).toEqual([other.seq, newest.seq]);
  });

  it("that is being sent does not give way", async () => {
    const store = shared();
    const { seq, lane } = await command(store, { value: 6 });
    await store.claim(lane);
    await command(store, { value: 7, supersede: true });
    expect(stateOf(store, seq)).toBe("sending");
    await store.settle(lane, seq);
    await store.deliver(lane);
  });

  it("leaves in the trail who asked for it and each state it reached, once", async () => {
    const store = shared();
    const { seq, lane, id } = await command(store, { value: 8 });
    await store.claim(lane, { noted: true });
    await store.settle(lane, seq, { ...unknown, dueAtMs: 0 });
    await store.claim(lane, { noted: true });
    await store.settle(lane, seq, { ...unknown, dueAtMs: 0 });
    await store.claim(lane, { noted: true });
    const trail = [
      { kind: "sent", atMs: 5, detail: null },
      { kind: "verified", atMs: 6, detail: "read back" },
    ];
    await store.settle(lane, seq, { trail, reason: "read back" });
    expect(trailOf(store, id)).toEqual(["queued", "unknown: timeout", "sent", "verified: read back"]);
    expect(
      store.rows("SELECT DISTINCT device, signal, value, door, by FROM audit_trail WHERE command = ?", id),
    ).toEqual([{ device: "press-7", signal: "speed", value: "8", door: "mqtt", by: "scada" }]);
    const history = store.rows<{ kind: string }>("SELECT kind FROM history WHERE seq = ? ORDER BY id", seq);
    expect(history.map(({ kind }) => kind)).toEqual(["sending", "unknown", "unknown", "sent", "verified"]);
  });

  it("tells its result upstream in the commit that settles it", async () => {
    const store = shared();
    const { seq, lane, id } = await command(store, { value: 9, replyTo: "plant/results" });
    await store.claim(lane);
    expect(resultsOf(store, id)).toEqual([]);
    const arrived = new Promise((resolve) => {
      store.store.onArrivals = resolve;
    });
    await store.settle(lane, seq, { reason: "it took it" });
    expect(resultsOf(store, id)).toMatchObject([
      { id: "r-9", state: "acknowledged", final: true, detail: "it took it", value: 9 },
    ]);
    expect(await arrived).toMatchObject([{ flow: resultFlow("scada"), key: "press-7" }]);
    const [message] = store.rows<{ topic: string; headers: string }>(
      "SELECT topic, headers FROM messages WHERE source = 'result' ORDER BY seq DESC LIMIT 1",
    );
    expect(JSON.parse(message!.headers)).toEqual({ replyTo: "plant/results", correlation: "YWJj" });
    expect(store.audit().balanced).toBe(true);
  });

  it("is told apart from its repetition by its sender's own name for it", async () => {
    const store = shared();
    const identity = { scope: "$http", key: "k1", expireAtMs: store.store.steadyMs() + 1000 };
    const { id, lane } = await command(store, { value: 10, identity });
    const again = store.request({ identity, flow: commandFlow("press-7"), device: "press-7" });
    expect(await store.store.append(again)).toMatchObject({ kind: "duplicate", id });
    await store.deliver(lane);
  });
});

async function idOf(store: TestStore, seq: number): Promise<string> {
  return store.value("SELECT id FROM messages WHERE seq = ?", seq);
}

describe("a person", () => {
  it("cancels what is queued, and nothing else", async () => {
    const store = shared();
    const queued = await command(store, { value: 11 });
    const cancel = (id: string) =>
      store.store.decide({ id, as: "cancelled", by: "ann", reason: "not today" });
    expect(await cancel(queued.id)).toMatchObject({ kind: "decided", lane: { open: 0 } });
    expect(await cancel(queued.id)).toEqual({ kind: "not now", state: "discarded" });
    expect(trailOf(store, queued.id).at(-1)).toBe("cancelled: cancelled by ann: not today");
    const sending = await command(store, { value: 12 });
    await store.claim(sending.lane);
    expect(await cancel(sending.id)).toEqual({ kind: "not now", state: "sending" });
    await store.settle(sending.lane, sending.seq);
    const { id } = await store.put({ flow: "all" });
    expect(await cancel(id)).toEqual({ kind: "not found" });
    expect(await cancel("nothing")).toEqual({ kind: "not found" });
  });

  it("says what came of one whose answer was lost; what stands behind it may go then", async () => {
    const store = shared();
    for (const [as, state, event] of [
      ["done", "delivered", "acknowledged"],
      ["not done", "discarded", "cancelled"],
    ] as const) {
      const { seq, lane, id } = await command(store, {
        device: "press-9",
        value: 13,
        replyTo: "plant/results",
      });
      const behind = await command(store, { device: "press-9", value: 14 });
      await store.claim(lane, { limit: 1 });
      await store.settle(lane, seq, unknown);
      const result = await store.store.decide({ id, as, by: "ann", reason: "seen" });
      expect(result).toMatchObject({ kind: "decided", lane: { lane, open: 1 } });
      expect(stateOf(store, seq)).toBe(state);
      expect(trailOf(store, id).at(-1)).toBe(`${event}: said to be ${as} by ann: seen`);
      expect(resultsOf(store, id).map(({ state: told, final }) => [told, final])).toEqual([
        ["unknown", false],
        [event, true],
      ]);
      expect(await store.deliver(lane)).toEqual([behind.seq]);
    }
    expect(store.audit().balanced).toBe(true);
  });

  it("does not put a command back in line with dead letters", async () => {
    const store = shared();
    const { seq, lane, id } = await command(store, { value: 15 });
    await store.claim(lane);
    await store.settle(lane, seq, { state: "dead", reason: "illegal value", note: "dead" });
    expect((await store.store.redrive({ limit: 1000 })).redriven).toBe(0);
    expect((await store.store.redrive({ ids: [id], limit: 1000 })).redriven).toBe(0);
    expect(stateOf(store, seq)).toBe("dead");
  });
});

describe("the audit trail", () => {
  it("cannot be changed or shortened", async () => {
    const store = await TestStore.open({ flows: FLOWS });
    await command(store, {});
    await store.store.refused({
      device: "x",
      signal: null,
      value: null,
      door: "http",
      by: "127.0.0.1",
      detail: "no",
    });
    await store.store.stop();
    const db = openStore(store.dataDir, { walBytesMax: 2 ** 20, cacheBytes: 2 ** 20 });
    try {
      for (const sql of [
        "DELETE FROM audit_trail",
        "UPDATE audit_trail SET by = 'somebody else'",
        "INSERT OR REPLACE INTO audit_trail SELECT * FROM audit_trail",
      ]) {
        // Without the pragma a replacement would not ask the triggers; nothing in the product replaces.
        db.pragma("recursive_triggers = ON");
        expect(() => db.exec(sql), sql).toThrow(/append-only/);
      }
      expect(db.prepare("SELECT count(*) FROM audit_trail").pluck().get()).toBe(2);
    } finally {
      db.close();
    }
  });

  it("keeps as many entries as it is to, and lets the oldest go by retention alone", async () => {
    const ownClock = new ManualClock();
    const store = await TestStore.open({
      clock: ownClock,
      flows: FLOWS,
      queue: { trail: { age: "1d", count: 1000 }, retention: { every: "100ms" } },
    });
    const entry = { device: "x", signal: null, value: null, door: "http", by: "127.0.0.1" };
    const refuse = (n: number, detail: string) =>
      Promise.all(Array.from({ length: n }, () => store.store.refused({ ...entry, detail })));
    await refuse(10, "old");
    ownClock.advance(86_400_001);
    await refuse(5, "new");
    await ownClock.advanceAsync(200);
    await expect.poll(() => count(store.dataDir)).toBe(5);
    await refuse(1100, "many");
    await ownClock.advanceAsync(400);
    await expect.poll(() => count(store.dataDir)).toBe(1000);
  });
});

function count(dataDir: string): number {
  const db = openForReading(dataDir);
  try {
    return db.prepare("SELECT count(*) FROM audit_trail").pluck().get() as number;
  } finally {
    db.close();
  }
}

describe("after a crash", () => {
  it("a command that was being sent is unknown, in the trail and upstream as well", async () => {
    const store = await TestStore.open({ flows: FLOWS });
    const { seq, lane, id } = await command(store, { replyTo: "plant/results" });
    await store.claim(lane, { noted: true });
    // Stopped without the answer, as after a crash.
    const again = await store.reopen();
    expect(stateOf(again, seq)).toBe("unknown");
    expect(trailOf(again, id).at(-1)).toMatch(/^unknown: the gateway stopped between/);
    expect(resultsOf(again, id)).toMatchObject([{ state: "unknown", final: false }]);
    const kinds = again.rows<{ kind: string }>("SELECT kind FROM history WHERE seq = ? ORDER BY id", seq);
    expect(kinds.map(({ kind }) => kind)).toEqual(["sending", "unknown"]);
    const open = await again.store.openLanes();
    expect(open.map(({ flow }) => flow).sort()).toEqual([commandFlow("press-7"), resultFlow("scada")].sort());
    expect(again.audit().balanced).toBe(true);
  });
});

describe("a store at its limit", () => {
  it("makes room by what is finished, but by no command until its sender had time to look", async () => {
    const time = new ManualClock();
    const store = await TestStore.open({ clock: time, flows: FLOWS });
    const told = await command(store, { value: 1 });
    await store.deliver(told.lane);
    const message = await store.put({ flow: "all" });
    await store.deliver(message.lane);
    const makeRoom = () =>
      store.store.call("prune", { nowMs: store.store.steadyMs(), sweep: true, forRoom: true });
    const left = () => store.rows<{ seq: number }>("SELECT seq FROM messages").map(({ seq }) => seq);
    expect((await makeRoom()).removed).toBe(1);
    expect(left()).toEqual([told.seq]);
    time.advance(599_000);
    await makeRoom();
    expect(left()).toEqual([told.seq]);
    time.advance(2000);
    await makeRoom();
    expect(left()).toEqual([]);
    expect(store.audit().mismatches).toEqual([]);
  });

  it("takes commands into its reserve while messages wait", async () => {
    const store = await TestStore.open({
      flows: FLOWS,
      queue: { bytesMax: "4MiB", reserve: "2MiB" },
    });
    const payload = Buffer.alloc(200_000, 1);
    const given = new AbortController();
    const pending: Promise<unknown>[] = [];
    for (let n = 0; n < 20; n++) {
      pending.push(store.append({ flow: "all", payload }, given.signal).catch(() => "given up"));
    }
    await expect.poll(() => store.store.state.kind).toBe("full");
    const { seq } = await command(store, { value: 1 });
    expect(stateOf(store, seq)).toBe("waiting");
    given.abort();
    expect((await Promise.all(pending)).includes("given up")).toBe(true);
  });
});
