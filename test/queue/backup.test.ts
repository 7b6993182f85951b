/** A backup is the store as of one commit, also while it is written to; a restore does not pretend to know what came after. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type BackupOptions, backupStore, restoreStore } from "../../src/queue/backup.ts";
import { verify } from "../../src/queue/verify.ts";
import { auditFolder, readRows, scratchFolder, TestStore } from "../support/test-store.ts";

const NOW_MS = Date.UTC(2026, 10, 24);
const take = (dataDir: string, into: string, more: Partial<BackupOptions> = {}) =>
  backupStore(dataDir, into, { version: "0.1.0", wallMs: NOW_MS, ...more });
const states = (dataDir: string) =>
  Object.fromEntries(
    readRows<{ state: string; n: number }>(
      dataDir,
      "SELECT state, count(*) AS n FROM deliveries GROUP BY state ORDER BY state",
    ).map(({ state, n }) => [state, n]),
  );

/** A store with 40 delivered messages, 10 that wait and one that is being sent. */
async function filled(): Promise<TestStore> {
  const store = await TestStore.open();
  const { lane } = await store.put();
  for (let n = 0; n < 39; n++) await store.put();
  await store.deliver(lane);
  for (let n = 0; n < 11; n++) await store.put();
  await store.claim(lane, { limit: 1 });
  return store;
}

describe("a backup", () => {
  test("of a store that is written to holds all that was stored before, and nothing by halves", async () => {
    const store = await filled();
    const into = join(scratchFolder(), "backup");
    let going = true;
    let stored = 51;
    const writing = (async () => {
      while (going) {
        await store.put({ payload: Buffer.alloc(20_000, 120) });
        stored++;
      }
    })();
    const before = stored;
    const facts = await take(store.dataDir, into);
    going = false;
    await writing;
    expect(facts.messages).toBeGreaterThanOrEqual(before);
    expect(facts.messages).toBeLessThanOrEqual(stored);
    expect(verify(into)).toMatchObject({ problems: [], messages: facts.messages });
    expect(readdirSync(into).sort()).toEqual(["backup.json", "store.db"]);
  });

  test("of a damaged store is none: it says so, and leaves no folder that looks like one", async () => {
    const store = await filled();
    await store.store.stop();
    const file = join(store.dataDir, "store.db");
    const text = readFileSync(file, "latin1");
    writeFileSync(file, text.replaceAll("plant/press-7", "plant/press-8"), "latin1");
    const above = scratchFolder();
    await expect(take(store.dataDir, join(above, "backup"))).rejects.toMatchObject({
      code: "HF_STORE_DAMAGED",
    });
    expect(readdirSync(above)).toEqual([]);
  });

  test("does not touch a folder that is there", async () => {
    const store = await filled();
    const into = scratchFolder();
    await expect(take(store.dataDir, into)).rejects.toMatchObject({ code: "HF_USAGE" });
    expect(readdirSync(into)).toEqual([]);
  });
});

describe("a restore", () => {
  async function backedUp(): Promise<string> {
    const store = await filled();
    const into = join(scratchFolder(), "backup");
    await take(store.dataDir, into);
    return into;
  }

  test("makes unknown what was open, since it may have been delivered after, and the books balance", async () => {
    const backup = await backedUp();
    const dataDir = join(scratchFolder(), "data");
    const done = await restoreStore(backup, dataDir, { wallMs: NOW_MS, moved: false });
    expect(done.unknown).toBe(11);
    expect(states(dataDir)).toEqual({ delivered: 40, unknown: 11 });
    expect(auditFolder(dataDir).mismatches).toEqual([]);
    const [row] = readRows<{ resend: number }>(
      dataDir,
      "SELECT min(resend) AS resend FROM deliveries WHERE state = 'unknown'",
    );
    expect(row!.resend).toBe(1);

    const restored = await TestStore.open({ dataDir });
    const { seq } = await restored.put();
    expect(seq).toBe(52);
    expect(states(dataDir)).toEqual({ delivered: 40, unknown: 11, waiting: 1 });
  });

  test("leaves waiting what was, where the gateway has only moved; what was being sent is unknown at the start", async () => {
    const backup = await backedUp();
    const dataDir = join(scratchFolder(), "data");
    await restoreStore(backup, dataDir, { wallMs: NOW_MS, moved: true });
    expect(states(dataDir)).toEqual({ delivered: 40, sending: 1, waiting: 10 });
    const restored = await TestStore.open({ dataDir });
    expect(restored.store.recovered).toBe(1);
  });

  test("refuses a backup that has changed since, and leaves the data folder without a store", async () => {
    const backup = await backedUp();
    const file = join(backup, "store.db");
    const bytes = readFileSync(file);
    bytes[bytes.length - 100]! ^= 1;
    writeFileSync(file, bytes);
    const dataDir = join(scratchFolder(), "data");
    await expect(restoreStore(backup, dataDir, { wallMs: NOW_MS, moved: false })).rejects.toMatchObject({
      code: "HF_STORE_DAMAGED",
    });
    expect(existsSync(join(dataDir, "store.db"))).toBe(false);
  });

  test("refuses a data folder that has a store, or the mark of one that is gone", async () => {
    const backup = await backedUp();
    const store = await filled();
    await store.store.stop();
    const refused = { code: "HF_USAGE", message: expect.stringContaining("has a store already") };
    const options = { wallMs: NOW_MS, moved: false };
    await expect(restoreStore(backup, store.dataDir, options)).rejects.toMatchObject(refused);
    expect(states(store.dataDir)).toEqual({ delivered: 40, sending: 1, waiting: 10 });
    const dataDir = join(scratchFolder(), "data");
    mkdirSync(dataDir);
    writeFileSync(join(dataDir, "store.mark"), "");
    await expect(restoreStore(backup, dataDir, options)).rejects.toMatchObject(refused);
  });

  test("refuses a folder that is no backup", async () => {
    const dataDir = join(scratchFolder(), "data");
    const restoring = restoreStore(scratchFolder(), dataDir, { wallMs: NOW_MS, moved: false });
    await expect(restoring).rejects.toMatchObject({ code: "HF_NOT_FOUND" });
  });
});
