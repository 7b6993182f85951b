/**
 * Opens the store's file: settings, version guard, migrations, integrity.
 *
 * `synchronous=FULL` is set and then read back after a write, because the library sets NORMAL for WAL by
 * itself, and NORMAL loses acknowledged messages in a power cut.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { errorText, HoldfastError } from "../core/errors.ts";
import type { QueueConfig } from "./schema.ts";

export type Db = Database.Database;

export const STORE_FILE = "store.db";

export interface OpenOptions {
  readonly walBytesMax: QueueConfig["walBytesMax"];
  readonly cacheBytes: QueueConfig["cacheBytes"];
  /** FULL in the product. Tests open a store that is not durable, to see that they would notice. */
  readonly synchronous?: "FULL" | "NORMAL" | "OFF";
  /** Opens the file itself; simulations pass one on a disk of their own making. */
  readonly connect?: (file: string) => Db;
}

const SYNCHRONOUS_LEVEL = { OFF: 0, NORMAL: 1, FULL: 2 } as const;
const PAGE_BYTES = 4096;
/** How long a writer waits for a lock that a reader or a checkpoint holds. */
const BUSY_TIMEOUT_MS = 5000;

/** Opens for writing; makes or migrates the schema. Throws HF_STORE_* with the file in `details`. */
export function openStore(dataDir: string, options: OpenOptions): Db {
  const file = join(dataDir, STORE_FILE);
  let db: Db | undefined;
  try {
    db = (options.connect ?? connect)(file);
    // Before anything is written: a store of a newer version, or a damaged one, is left as it is.
    if (guardVersion(db, file) > 0) checkAfterCrash(db);
    configure(db, options);
    migrate(db, file);
    assertSynchronous(db, options.synchronous ?? "FULL");
    return db;
  } catch (error) {
    db?.close();
    throw explainOpen(error, file);
  }
}

function connect(file: string): Db {
  mkdirSync(dirname(file), { recursive: true });
  return new Database(file, { timeout: BUSY_TIMEOUT_MS });
}

/** Opens for reading only; the gateway may be writing at the same time. */
export function openForReading(dataDir: string): Db {
  const file = join(dataDir, STORE_FILE);
  if (!existsSync(file)) {
    throw new HoldfastError("HF_NOT_FOUND", `there is no store at ${file}`, { file });
  }
  let db: Db | undefined;
  try {
    db = new Database(file, { readonly: true, fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
    db.pragma("query_only = ON");
    guardVersion(db, file);
    return db;
  } catch (error) {
    db?.close();
    throw explainOpen(error, file);
  }
}

/** Where the last gateway died instead of stopping, the store is looked through before it is used. */
function checkAfterCrash(db: Db): void {
  const clean = db.prepare("SELECT stopped_clean FROM boots ORDER BY id DESC LIMIT 1").pluck().get();
  if (clean === 0) quickCheck(db);
}

/** Reads every page; throws HF_STORE_DAMAGED with what was found. */
function quickCheck(db: Db): void {
  const found = db.pragma("quick_check(5)", { simple: false }) as { quick_check: string }[];
  if (found.length === 1 && found[0]!.quick_check === "ok") return;
  const problems = found.map((row) => row.quick_check);
  throw new HoldfastError("HF_STORE_DAMAGED", `the store ${db.name} is damaged: ${problems.join("; ")}`, {
    file: db.name,
    problems,
  });
}

function configure(db: Db, options: OpenOptions): void {
  if (db.pragma("page_count", { simple: true }) === 0) {
    db.pragma(`page_size = ${PAGE_BYTES}`);
    db.pragma("auto_vacuum = INCREMENTAL");
  }
  db.pragma("journal_mode = WAL");
  db.pragma(`synchronous = ${options.synchronous ?? "FULL"}`);
  db.pragma("foreign_keys = OFF"); // The writer keeps references; checking each would double the hot path's reads.
  db.pragma("temp_store = MEMORY");
  db.pragma(`cache_size = -${Math.ceil(options.cacheBytes / 1024)}`);
  db.pragma(`wal_autocheckpoint = ${Math.ceil(options.walBytesMax / PAGE_BYTES)}`);
  db.pragma(`journal_size_limit = ${options.walBytesMax * 2}`);
}

function assertSynchronous(db: Db, wanted: keyof typeof SYNCHRONOUS_LEVEL): void {
  // After a write: that is when the library's own default would take effect.
  db.prepare(
    "INSERT INTO meta (key, value) VALUES ('opened', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1",
  ).run();
  const level = db.pragma("synchronous", { simple: true });
  if (level !== SYNCHRONOUS_LEVEL[wanted]) {
    throw new HoldfastError("HF_INTERNAL", `the store runs with synchronous=${level}, not ${wanted}`);
  }
}

const migrationsDir = join(import.meta.dirname, "migrations");

/** Numbered files `NNN-name.sql`; the number of the last one applied is the file's user_version. */
function migrations(): { version: number; sql: string }[] {
  return readdirSync(migrationsDir)
    .filter((name) => /^\d{3}-.*\.sql$/.test(name))
    .sort()
    .map((name) => ({
      version: Number(name.slice(0, 3)),
      sql: readFileSync(join(migrationsDir, name), "utf8"),
    }));
}

function guardVersion(db: Db, file: string): number {
  const found = db.pragma("user_version", { simple: true }) as number;
  const known = migrations().at(-1)!.version;
  if (found > known) {
    throw new HoldfastError(
      "HF_STORE_NEWER",
      `the store ${file} has format ${found}, and this Holdfast knows formats up to ${known}`,
      { file, found, known },
    );
  }
  return found;
}

function migrate(db: Db, file: string): void {
  const found = guardVersion(db, file);
  for (const { version, sql } of migrations().filter((migration) => migration.version > found)) {
    db.transaction(() => {
      db.exec(sql);
      db.pragma(`user_version = ${version}`);
    })();
  }
}

function explainOpen(error: unknown, file: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const code = String((error as { code?: unknown }).code ?? "");
  const dir = dirname(file);
  if (code === "SQLITE_NOTADB" || code.startsWith("SQLITE_CORRUPT")) {
    return new HoldfastError(
      "HF_STORE_DAMAGED",
      `the store ${file} is damaged: ${errorText(error)}`,
      { file },
      error,
    );
  }
  if (code === "SQLITE_FULL" || code === "ENOSPC") {
    return new HoldfastError(
      "HF_STORE_FULL",
      `the disk of ${dir} is full: ${errorText(error)}`,
      { file },
      error,
    );
  }
  if (/^(EACCES|EPERM|EROFS|SQLITE_READONLY|SQLITE_CANTOPEN|ENOTDIR|EEXIST)/.test(code)) {
    return new HoldfastError(
      "HF_STORE_DENIED",
      `cannot write the store ${file}: ${errorText(error)}`,
      { file },
      error,
    );
  }
  return new HoldfastError(
    "HF_STORE_IO",
    `cannot open the store ${file}: ${errorText(error)}`,
    { file },
    error,
  );
}
