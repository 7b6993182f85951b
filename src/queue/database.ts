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
import { renewLog } from "./log-renewal.ts";
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
  /** The store has been looked through already (damage.ts). */
  readonly examined?: boolean;
  /** There is no room: the log is folded before anything is added to it, so that it is written from its head. */
  readonly foldFirst?: boolean;
}

const SYNCHRONOUS_LEVEL = { OFF: 0, NORMAL: 1, FULL: 2 } as const;
export const PAGE_BYTES = 4096;
/** How long a writer waits for a lock that a reader or a checkpoint holds. */
const BUSY_TIMEOUT_MS = 5000;

/** Opens for writing; makes or migrates the schema. Throws HF_STORE_* with the file in `details`. */
export function openStore(dataDir: string, options: OpenOptions): Db {
  const file = join(dataDir, STORE_FILE);
  let db: Db | undefined;
  try {
    db = (options.connect ?? connect)(file);
    // Before anything is written: a store of a newer version, or a damaged one, is left as it is.
    if (guardVersion(db, file) > 0 && !options.examined) checkAfterCrash(db);
    configure(db, options);
    if (options.foldFirst) foldWhereThereIsRoom(db);
    migrate(db, file);
    assertSynchronous(db, options.synchronous ?? "FULL");
    return db;
  } catch (error) {
    db?.close();
    throw explainOpen(error, file);
  }
}

function foldWhereThereIsRoom(db: Db): void {
  try {
    db.pragma("wal_checkpoint(PASSIVE)");
  } catch (error) {
    if (!isDiskFull(error)) throw error;
  }
}

export function connect(file: string): Db {
  mkdirSync(dirname(file), { recursive: true });
  renewLog(`${file}-wal`);
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
  if (stoppedClean(db)) return;
  const problems = pageProblems(db, "quick_check");
  if (problems.length === 0) return;
  throw new HoldfastError("HF_STORE_DAMAGED", `the store ${db.name} is damaged: ${problems.join("; ")}`, {
    file: db.name,
    problems,
  });
}

export function stoppedClean(db: Db): boolean {
  return db.prepare("SELECT stopped_clean FROM boots ORDER BY id DESC LIMIT 1").pluck().get() !== 0;
}

/** Reads every page, and for `integrity_check` holds the indexes against their tables; what it found, in SQLite's words. */
export function pageProblems(db: Db, check: "quick_check" | "integrity_check"): string[] {
  const found = db.prepare(`PRAGMA ${check}(5)`).pluck().all() as string[];
  return found.length === 1 && found[0] === "ok" ? [] : found;
}

/** An empty store as a draft beside the one that is damaged: written fast, synced by whoever gives it its name. */
export function makeDraft(file: string): Db {
  const db = new Database(file);
  db.pragma(`page_size = ${PAGE_BYTES}`);
  db.pragma("auto_vacuum = INCREMENTAL");
  db.pragma("journal_mode = MEMORY");
  db.pragma("synchronous = OFF");
  db.pragma("foreign_keys = OFF");
  db.pragma("temp_store = MEMORY");
  migrate(db, file);
  return db;
}

/** The newest format that this version knows. */
export function formatKnown(): number {
  return migrations().at(-1)!.version;
}

function configure(db: Db, options: OpenOptions): void {
  if (db.pragma("page_count", { simple: true }) === 0) {
    db.pragma(`page_size = ${PAGE_BYTES}`);
    db.pragma("auto_vacuum = INCREMENTAL");
  }
  keepLog(db);
  db.pragma(`synchronous = ${options.synchronous ?? "FULL"}`);
  db.pragma("foreign_keys = OFF"); // The writer keeps references; checking each would double the hot path's reads.
  db.pragma("temp_store = MEMORY");
  db.pragma(`cache_size = -${Math.ceil(options.cacheBytes / 1024)}`);
  db.pragma("wal_autocheckpoint = 0"); // See log-folding.ts.
  db.pragma(`journal_size_limit = ${options.walBytesMax * 2}`);
}

/** Where it cannot have a log, SQLite stays with a journal and says so in its answer alone. */
function keepLog(db: Db): void {
  const [{ journal_mode: mode } = { journal_mode: "none" }] = db.pragma("journal_mode = WAL") as {
    journal_mode: string;
  }[];
  if (mode === "wal") return;
  throw new HoldfastError(
    "HF_STORE_DENIED",
    `the store ${db.name} cannot have a write-ahead log on its file system (journal mode ${mode}), as on some network shares`,
    { file: db.name, mode },
  );
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

interface Migration {
  readonly version: number;
  readonly sql: string;
}

let migrationsRead: readonly Migration[] | undefined;

/** Numbered files `NNN-name.sql`; the number of the last one applied is the file's user_version. */
function migrations(): readonly Migration[] {
  migrationsRead ??= readMigrations();
  return migrationsRead;
}

function readMigrations(): Migration[] {
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
  if (found > formatKnown()) throw newerStore(file, found);
  return found;
}

export function newerStore(file: string, found: number): HoldfastError {
  const known = formatKnown();
  return new HoldfastError(
    "HF_STORE_NEWER",
    `the store ${file} has format ${found}, and this Holdfast knows formats up to ${known}`,
    { file, found, known },
  );
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

export function explainOpen(error: unknown, file: string): HoldfastError {
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
  if (isDiskFull(error) || code === "ENOSPC") {
    return new HoldfastError(
      "HF_STORE_FULL",
      `the disk of ${dir} is full: ${errorText(error)}`,
      { file },
      error,
    );
  }
  if (/^(EACCES|EPERM|EROFS|EISDIR|SQLITE_READONLY|SQLITE_CANTOPEN|ENOTDIR|EEXIST)/.test(code)) {
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

/** The second code: the log's index could not grow, which on a full disk may come before the log itself. */
export function isDiskFull(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === "SQLITE_FULL" || code === "SQLITE_IOERR_SHMSIZE";
}
