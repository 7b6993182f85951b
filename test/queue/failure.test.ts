/** What the store does when it cannot go on, or should not begin: it says why, and acknowledges nothing. */
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
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
  async function start(dataDir: string): Promise<void> {
    const store = makeStore({ dataDir });
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

  it.each([
    [
      "that is no database",
      () => Buffer.from("not a database, and long enough to look like one: ".repeat(100)),
    ],
    ["of a few bytes", () => Buffer.from("hello")],
  ])("is refused on a file %s", async (_, bytes) => {
    const dataDir = scratchFolder();
    writeFileSync(join(dataDir, "store.db"), bytes());
    await expect(start(dataDir)).rejects.toMatchObject({ code: "HF_STORE_DAMAGED" });
  });

  it("reads every page after a crash, and is refused where one is damaged", async () => {
    const store = await TestStore.open();
    await Promise.all(Array.from({ length: 200 }, () => store.append({ payload: Buffer.alloc(2000) })));
    await store.store.stop();
    const file = join(store.dataDir, "store.db");
    const db = new Database(file);
    const page = db
      .prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'deliveries'")
      .pluck()
      .get() as number;
    db.exec("UPDATE boots SET stopped_clean = 0");
    db.pragma("wal_checkpoint(TRUNCATE)");
    db.close();
    const bytes = readFileSync(file);
    bytes.fill(0xa5, (page - 1) * 4096, page * 4096);
    writeFileSync(file, bytes);
    await expect(start(store.dataDir)).rejects.toMatchObject({ code: "HF_STORE_DAMAGED", exitCode: 74 });
    // The file is evidence: it is not touched, and the next start says the same.
    expect(readFileSync(file).equals(bytes)).toBe(true);
    await expect(start(store.dataDir)).rejects.toMatchObject({ code: "HF_STORE_DAMAGED" });
  });

  it("is refused on a store that was cut short", async () => {
    const store = await TestStore.open();
    await Promise.all(Array.from({ length: 200 }, () => store.append({ payload: Buffer.alloc(2000) })));
    await store.store.stop();
    truncateSync(join(store.dataDir, "store.db"), 20 * 4096);
    await expect(start(store.dataDir)).rejects.toMatchObject({ code: "HF_STORE_DAMAGED" });
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

  it("that was refused leaves nothing behind that holds the folder", async () => {
    const dataDir = scratchFolder();
    writeFileSync(join(dataDir, "store.db"), "hello");
    await expect(start(dataDir)).rejects.toMatchObject({ code: "HF_STORE_DAMAGED" });
    writeFileSync(join(dataDir, "store.db"), "");
    await start(dataDir);
  });
});
