/**
 * One gateway per store. The lock is SQLite's own on a file beside the store: the operating system drops it
 * when the process ends, however it ends, so there is no stale lock to clean up and no pid to guess by.
 * Who holds it is written next to it, for the person whose second start is refused.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { type ErrorCode, errorText, HoldfastError } from "../core/errors.ts";

export const LOCK_FILE = "store.lock";
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
    // On disk, the journal of a lock under which nothing is ever written would need room that a full disk has not.
    lock.pragma("journal_mode = MEMORY");
    lock.exec("BEGIN EXCLUSIVE");
    writeHolder(join(dataDir, HOLDER_FILE), holder);
  } catch (error) {
    lock?.close();
    const { code = "" } = error as { code?: string };
    if (code === "SQLITE_BUSY") throw lockedBy(dataDir);
    throw new HoldfastError(
      codeOf(code),
      `cannot lock the data folder ${dataDir}: ${errorText(error)}`,
      { dataDir },
      error,
    );
  }
  const held = lock;
  return () => held.close();
}

function codeOf(code: string): ErrorCode {
  if (code === "ENOSPC" || code === "SQLITE_FULL") return "HF_STORE_FULL";
  return code === "EIO" || code.startsWith("SQLITE_IOERR") ? "HF_STORE_IO" : "HF_STORE_DENIED";
}

/** Without room for it the lock is held all the same; the sentence that names its holder is then less exact. */
function writeHolder(file: string, holder: Holder): void {
  try {
    writeFileSync(file, `${JSON.stringify(holder)}\n`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
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
