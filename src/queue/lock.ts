/**
 * One gateway per store. The lock is SQLite's own on a file beside the store: the operating system drops it
 * when the process ends, however it ends, so there is no stale lock to clean up and no pid to guess by.
 * Who holds it is written next to it, for the person whose second start is refused.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { errorText, HoldfastError } from "../core/errors.ts";

const LOCK_FILE = "store.lock";
const HOLDER_FILE = "store.holder.json";

export interface Holder {
  readonly pid: number;
  readonly boot: string;
  readonly startedAt: string;
}

/** Takes the lock or throws HF_STORE_LOCKED naming the holder. Returns what gives it up. */
export function lockStore(dataDir: string, holder: Holder): () => void {
  let lock: Database.Database | undefined;
  try {
    makeFolder(dataDir);
    lock = new Database(join(dataDir, LOCK_FILE), { timeout: 0 });
    lock.exec("BEGIN EXCLUSIVE");
    writeFileSync(join(dataDir, HOLDER_FILE), `${JSON.stringify(holder)}\n`);
  } catch (error) {
    lock?.close();
    const { code } = error as { code?: string };
    if (code === "SQLITE_BUSY") throw lockedBy(dataDir);
    throw new HoldfastError(
      code === "ENOSPC" || code === "SQLITE_FULL" ? "HF_STORE_FULL" : "HF_STORE_DENIED",
      `cannot lock the data folder ${dataDir}: ${errorText(error)}`,
      { dataDir },
      error,
    );
  }
  const held = lock;
  return () => held.close();
}

function makeFolder(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true });
  } catch (error) {
    // With `recursive`, Node says ENOENT also where the file system is read-only; without, it says what it is.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") mkdirSync(dataDir);
    throw error;
  }
}

function lockedBy(dataDir: string): HoldfastError {
  let holder: Holder | undefined;
  try {
    holder = JSON.parse(readFileSync(join(dataDir, HOLDER_FILE), "utf8"));
  } catch {
    // The holder is between its two steps; the sentence is then less exact.
  }
  const who = holder ? `process ${holder.pid}, running since ${holder.startedAt}` : "another process";
  return new HoldfastError("HF_STORE_LOCKED", `the data folder ${dataDir} is in use by ${who}`, {
    dataDir,
    ...holder,
  });
}
