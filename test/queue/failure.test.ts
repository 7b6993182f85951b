/** What the store does when it cannot go on, or should not begin: it says why, and acknowledges nothing. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { Reader } from "../../src/queue/reader.ts";
import { BareWriter } from "../support/bare-writer.ts";
import { makeStore, scratchFolder, startStore, TestStore } from "../support/test-store.ts";

describe("a disk that fails while writing", () => {
  /** Acknowledged ids that are not in the store, after the N-th commit failed under a run of appends. */
  async function lostAfter(fault: string) {
    const store = await TestStore.open({ fault });
    const acked: string[] = [];
    const errors: unknown[] = [];
    for (let at = 0; at < 10; at++) {
      const id = `m${at}`;
      await store.append({ id }).then(
        () => acked.push(id),
        (error) => errors.push(error),
      );
    }
    const { state } = store.store;
    await store.store.stop();
    const there = store.rows<{ id: string }>("SELECT id FROM messages").map(({ id }) => id);
    return { lost: acked.filter((id) => !there.includes(id)), there, acked, errors, state };
  }

  it("ends it: that append and all that follow are refused, and nothing acknowledged is missing", async () => {
    const { lost, there, acked, errors, state } = await lostAfter("io-error=5");
    expect(state).toMatchObject({ kind: "failed", error: { code: "HF_STORE_IO", exitCode: 74 } });
    expect(acked.length).toBeGreaterThan(0);
    expect(errors).toHaveLength(10 - acked.length);
    for (const error of errors) expect(error).toMatchObject({ code: "HF_STORE_IO" });
    expect(lost).toEqual([]);
    // Not tried again either: a second fsync can lie about what the first one lost.
    expect(there).toEqual(acked);
  });

  it("would lose what it acknowledged if it went on as if nothing were", async () => {
    const { lost, errors } = await lostAfter("io-error-hidden=5");
    expect(errors).toEqual([]);
    expect(lost).toHaveLength(1);
  });

  it("is told once, and leaves the folder free for the next start", async () => {
    const store = await TestStore.open({ fault: "io-error=3" });
    const states: string[] = [];
    store.store.onState = ({ kind }) => states.push(kind);
    const refused = await Promise.allSettled([store.append(), store.store.openLanes(), store.append()]);
    expect(refused.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    expect(states).toEqual(["failed"]);
    const again = await store.reopen({ fault: undefined });
    expect((await again.put()).seq).toBe(1);
    expect(again.audit().mismatches).toEqual([]);
  });
});

describe("damage that is met while it runs", () => {
  /** A store with the first page of a table overwritten under it, after a decent stop: a start does not look there. */
  async function damagedUnseen(table: string): Promise<TestStore> {
    const store = await TestStore.open();
    for (let at = 0; at < 20; at++) await store.append({ id: `m${at}` });
    await store.store.stop();
    const file = join(store.dataDir, "store.db");
    const db = new Database(file, { readonly: true });
    const page = db.prepare("SELECT rootpage FROM sqlite_schema WHERE name = ?").pluck().get(table) as number;
    db.close();
    const bytes = readFileSync(file);
    bytes.fill(0xa5, (page - 1) * 4096, page * 4096);
    writeFileSync(file, bytes);
    return store.reopen();
  }

  it("ends it, and the next start looks at everything and salvages", async () => {
    const store = await damagedUnseen("identities");
    expect(store.store.salvaged).toBeNull();
    const identity = { scope: "", key: "k", expireAtMs: 1e12 };
    await expect(store.append({ identity })).rejects.toMatchObject({
      code: "HF_STORE_DAMAGED",
      exitCode: 74,
    });
    await expect(store.append()).rejects.toMatchObject({ code: "HF_STORE_DAMAGED" });
    const again = await store.reopen();
    expect(again.store.salvaged).toMatchObject({ messagesSalvaged: 20, messagesLost: 0 });
    await again.append({ identity });
    expect(again.audit().mismatches).toEqual([]);
    // Seen to, and no cause for another look.
    expect((await again.reopen()).store.salvaged).toBeNull();
  });

  it("by the reader also ends it: nothing more is acknowledged into such a store", async () => {
    const store = await damagedUnseen("history_of_message");
    const reader = new Reader({ dataDir: store.dataDir, clock: systemClock, logger: silentLogger });
    onTestFinished(() => reader.stop());
    await reader.start();
    const told = Promise.withResolvers<unknown>();
    reader.onDamaged = told.resolve;
    const asked = reader.query("messageHistory", { id: "m3", steadyNowMs: 0 });
    await expect(asked).rejects.toMatchObject({ code: "HF_STORE_DAMAGED" });
    expect(await told.promise).toMatchObject({ code: "HF_STORE_DAMAGED" });
    await reader.stop();
    expect((await store.reopen()).store.salvaged).toMatchObject({ messagesSalvaged: 20, messagesLost: 0 });
  });
});

it("a thread that ends by itself fails the store instead of leaving it waiting", async () => {
  const store = await TestStore.open({ fault: "exit=3" });
  await expect(store.append()).rejects.toMatchObject({ code: "HF_INTERNAL" });
  await expect(store.append()).rejects.toMatchObject({ code: "HF_INTERNAL" });
  expect(store.store.state.kind).toBe("failed");
});

describe("a settlement of something that is not being sent", () => {
  it("is refused: it would be a defect, and the books would not balance", async () => {
    const store = await TestStore.open();
    const { lane, seq } = await store.put();
    await expect(store.settle(lane, seq)).rejects.toMatchObject({
      code: "HF_INTERNAL",
      message: expect.stringContaining(`${lane}/${seq}`),
    });
    const again = await store.reopen();
    expect(again.value("SELECT state FROM deliveries")).toBe("waiting");
    expect(again.audit().mismatches).toEqual([]);
  });
});

describe("a start", () => {
  /** Rejects with what it was refused for, once it has let go of the folder. */
  async function start(dataDir: string, queue: Record<string, unknown> = {}): Promise<void> {
    const store = makeStore({ dataDir, queue });
    await startStore(store).catch(async (error) => {
      await store.stop();
      throw error;
    });
  }

  it("is refused while another store has the folder, and names its process", async () => {
    const first = await TestStore.open();
    const second = start(first.dataDir);
    await expect(second).rejects.toMatchObject({
      code: "HF_STORE_LOCKED",
      message: expect.stringContaining(`process ${process.pid}`),
      details: { pid: process.pid },
    });
    // The first goes on, and when it is gone the folder is free.
    await first.put();
    await first.store.stop();
    await start(first.dataDir);
  });

  it("is refused on a store of a newer version, which stays as it is to the byte", async () => {
    const store = await TestStore.open();
    await store.store.stop();
    const file = join(store.dataDir, "store.db");
    const db = new Database(file);
    db.pragma("user_version = 99");
    db.close();
    const before = readFileSync(file);
    await expect(start(store.dataDir)).rejects.toMatchObject({
      code: "HF_STORE_NEWER",
      details: { found: 99, file },
    });
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  it("is refused where nothing can be written, with the folder named", async () => {
    const folder = scratchFolder();
    writeFileSync(join(folder, "file"), "");
    const dataDir = join(folder, "file", "data");
    await expect(start(dataDir)).rejects.toMatchObject({
      code: "HF_STORE_DENIED",
      message: expect.stringContaining(dataDir),
      exitCode: 77,
    });
    mkdirSync(join(folder, "data", "store.db"), { recursive: true });
    await expect(start(join(folder, "data"))).rejects.toMatchObject({ code: "HF_STORE_DENIED" });
  });

  it("is refused on a file system where there can be no write-ahead log", () => {
    // In memory there is none, either.
    const connect = () => new Database(":memory:");
    expect(() => new BareWriter("/share/data", {}, { connect })).toThrow(
      expect.objectContaining({
        code: "HF_STORE_DENIED",
        message: expect.stringContaining("write-ahead log"),
      }),
    );
  });

  it("that was refused leaves nothing behind that holds the folder", async () => {
    const dataDir = scratchFolder();
    writeFileSync(join(dataDir, "store.db"), "hello");
    await expect(start(dataDir, { onDamage: "refuse" })).rejects.toMatchObject({ code: "HF_STORE_DAMAGED" });
    writeFileSync(join(dataDir, "store.db"), "");
    await start(dataDir);
  });
});
