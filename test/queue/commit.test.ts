/** One commit for many, in the order of the calls, and fsynced. */
import { BroadcastChannel } from "node:worker_threads";
import Database from "better-sqlite3";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { openStore } from "../../src/queue/database.ts";
import { makeStore, readRows, scratchFolder, startStore, TestStore } from "../support/test-store.ts";

const OPEN = { walBytesMax: 2 ** 20, cacheBytes: 2 ** 20 };

describe("group commit", () => {
  it("makes one commit of all that is asked in one turn", async () => {
    const store = await TestStore.open();
    const commits: number[] = [];
    store.store.onCommit = (requests) => commits.push(requests);
    await Promise.all(Array.from({ length: 500 }, () => store.append()));
    expect(commits).toEqual([500]);
  });

  it("makes the next commit of what arrives while one runs", async () => {
    const store = await TestStore.open();
    const commits: number[] = [];
    store.store.onCommit = (requests) => commits.push(requests);
    const answers: Promise<unknown>[] = [store.append()];
    for (let turn = 0; turn < 20; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      answers.push(...Array.from({ length: 10 }, () => store.append()));
    }
    await Promise.all(answers);
    expect(commits.reduce((sum, requests) => sum + requests)).toBe(201);
    expect(commits.length).toBeLessThan(21);
  });

  it("cuts a flood into commits of bounded size, none lost and all in order", async () => {
    const store = await TestStore.open();
    const commits: number[] = [];
    store.store.onCommit = (requests) => commits.push(requests);
    const payload = Buffer.alloc(64 * 1024);
    const replies = await Promise.all(Array.from({ length: 300 }, () => store.append({ payload })));
    expect(replies.map(({ seq }) => seq)).toEqual(Array.from({ length: 300 }, (_, at) => at + 1));
    expect(Math.max(...commits)).toBeLessThanOrEqual(129); // 8 MiB, and the one that goes over it.
    expect(commits.reduce((sum, requests) => sum + requests)).toBe(300);
  });

  it("numbers messages in the order in which append was called", async () => {
    const store = await TestStore.open();
    const replies = await Promise.all(Array.from({ length: 200 }, (_, at) => store.append({ id: `m${at}` })));
    expect(replies.map(({ seq }) => seq)).toEqual(Array.from({ length: 200 }, (_, at) => at + 1));
    expect(store.rows<{ id: string }>("SELECT id FROM messages ORDER BY seq").map(({ id }) => id)).toEqual(
      Array.from({ length: 200 }, (_, at) => `m${at}`),
    );
  });

  it("answers only after the commit can be seen from another connection", async () => {
    const store = await TestStore.open();
    const { id } = await store.put();
    expect(store.value("SELECT count(*) FROM messages WHERE id = ?", id)).toBe(1);
  });

  it("tells of arrivals once a commit, with what each lane got", async () => {
    const store = await TestStore.open();
    const told: unknown[] = [];
    store.store.onArrivals = (arrivals) => told.push(arrivals);
    await Promise.all([
      store.append({ device: "a" }),
      store.append({ device: "b" }),
      store.append({ device: "a" }),
      store.append({ device: "c", route: { state: "dead", reason: "late by 1h" } }),
    ]);
    expect(told).toEqual([
      [
        { lane: 1, flow: "outbox", key: "a", count: 2 },
        { lane: 2, flow: "outbox", key: "b", count: 1 },
      ],
    ]);
  });

  it("rejects a request that cannot be written down, and takes its neighbours", async () => {
    const store = await TestStore.open();
    const broken = store.append({ mqtt: { client: "c", packetId: -1, dup: false, expireAtMs: 1 } });
    const sound = store.append();
    await expect(broken).rejects.toThrow(RangeError);
    expect((await sound).seq).toBe(1);
    expect(store.value("SELECT count(*) FROM messages")).toBe(1);
  });

  it("rejects what is asked after the end", async () => {
    const store = await TestStore.open();
    const pending = store.append();
    await store.store.stop();
    expect((await pending).seq).toBe(1);
    await expect(store.append()).rejects.toMatchObject({ code: "HF_GATEWAY_DOWN" });
  });
});

describe("synchronous", () => {
  /** What the writer's own connection says after the commit of a change. */
  async function told(fault: string): Promise<unknown> {
    const dataDir = scratchFolder();
    const store = makeStore({ dataDir, fault });
    await startStore(store, fault);
    const [row] = readRows<{ boot: string }>(dataDir, "SELECT boot FROM boots");
    const channel = new BroadcastChannel(`holdfast-test-${row!.boot}`);
    onTestFinished(() => channel.close());
    const level = new Promise((resolve) => {
      channel.onmessage = (event) => resolve((event as { data: unknown }).data);
    });
    await store.write([{ op: "put", kind: "will", client: "c", key: "", value: Buffer.from("x") }]);
    return level;
  }

  it("is FULL on the writer's connection after a write", async () => {
    expect(await told("tell")).toBe(2);
  });

  it("shows where a thread opens the store without it", async () => {
    expect(await told("tell,synchronous=NORMAL")).toBe(1);
  });

  it("would be NORMAL if it were left to the library", () => {
    const db = new Database(`${scratchFolder()}/plain.db`);
    onTestFinished(() => void db.close());
    db.pragma("journal_mode = WAL");
    db.exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)");
    expect(db.pragma("synchronous", { simple: true })).toBe(1);
  });

  it("is asserted at the start: a store that would run without it does not open", () => {
    const pragma = Database.prototype.pragma;
    vi.spyOn(Database.prototype, "pragma").mockImplementation(function (
      this: Database.Database,
      ...[source, options]
    ) {
      return source === "synchronous = FULL" ? [] : pragma.call(this, source, options);
    });
    onTestFinished(() => void vi.restoreAllMocks());
    expect(() => openStore(scratchFolder(), OPEN)).toThrow(
      expect.objectContaining({ code: "HF_INTERNAL", message: expect.stringContaining("synchronous=1") }),
    );
  });
});
