/**
 * A backup of the store, and its way back.
 *
 * Promise: a backup is the store as of one commit, taken while the gateway runs and without holding it up, copied
 * page by page, read again to the end, and given its name only then. It is a folder with a `store.db` like a data
 * folder's, so that `verify`, `status` and `messages` can look into it.
 *
 * What was waiting when it was taken may have been delivered since, by the gateway that went on. So a restore makes
 * it `unknown`, sent before and answer lost, and each flow does with that what it is configured to do: idempotent
 * backends get it again under its id, others are asked or a person is. `moved` says that the other gateway has not
 * gone on, and leaves it waiting.
 *
 * What it trades: while a backup is taken the log cannot be folded into the store, and grows instead.
 */
import { createHash } from "node:crypto";
import {
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import Database from "better-sqlite3";
import { z } from "zod";
import { errorText, HoldfastError, isHoldfastError } from "../core/errors.ts";
import { type Db, explainOpen, formatKnown, openForReading, STORE_FILE } from "./database.ts";
import { lockStore } from "./lock.ts";
import { syncFile, syncFolder } from "./mark.ts";
import { Tally } from "./tally.ts";
import { verify } from "./verify.ts";

const FACTS_FILE = "backup.json";
const DRAFT = ".part";
/** Pages copied before others get a turn: 4 MiB. */
const PAGES_AT_A_TIME = 1024;

const RESTORED = "restored from a backup: it may have been delivered after that was taken";

const factsShape = z.object({
  format: z.int(),
  version: z.string(),
  /** Wall clock, epoch ms. */
  madeAtMs: z.number(),
  messages: z.int(),
  deliveries: z.int(),
  /** Deliveries that were waiting, being sent or unknown. */
  open: z.int(),
  bytes: z.int(),
  sha256: z.string(),
});

export type BackupFacts = z.output<typeof factsShape>;

export interface BackupOptions {
  readonly version: string;
  readonly wallMs: number;
  /** Parts copied, 0 to 1; then it is read again. */
  readonly onProgress?: (part: number) => void;
}

/** Makes the folder `into`, which must not exist. Throws HF_STORE_DAMAGED where what was copied is not sound. */
export async function backupStore(
  dataDir: string,
  into: string,
  options: BackupOptions,
): Promise<BackupFacts> {
  refuseExisting(into);
  const draft = `${resolve(into)}${DRAFT}`;
  const file = join(draft, STORE_FILE);
  try {
    rmSync(draft, { recursive: true, force: true });
    mkdirSync(draft, { recursive: true, mode: 0o750 });
    await copyPages(dataDir, file, options.onProgress);
    const facts = await describe(draft, options);
    writeFileSync(join(draft, FACTS_FILE), `${JSON.stringify(facts, null, 2)}\n`);
    for (const name of readdirSync(draft)) syncFile(join(draft, name));
    syncFolder(draft);
    renameSync(draft, into);
    syncFolder(dirname(resolve(into)));
    return facts;
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    throw isHoldfastError(error) ? error : explainOpen(error, file);
  }
}

export interface RestoreOptions {
  readonly wallMs: number;
  /** The gateway of which this is a backup was stopped before it was taken, and has not run since. */
  readonly moved: boolean;
}

export interface Restored extends BackupFacts {
  /** Deliveries that are unknown now. */
  readonly unknown: number;
}

/** Puts the backup in `from` into `dataDir`, which must have no store. The backup stays as it is. */
export async function restoreStore(
  from: string,
  dataDir: string,
  options: RestoreOptions,
): Promise<Restored> {
  const facts = readFacts(from);
  const sum = await sha256Of(join(from, STORE_FILE));
  if (sum !== facts.sha256) {
    const message = `the backup in ${from} is not what was written: its checksum differs`;
    throw new HoldfastError("HF_STORE_DAMAGED", message, { from });
  }
  const file = join(dataDir, STORE_FILE);
  const startedAt = new Date(options.wallMs).toISOString();
  const unlock = lockStore(dataDir, { pid: process.pid, boot: "restore", startedAt });
  const draft = `${file}.restoring`;
  try {
    // Also what a store has left behind: its mark would say that this one had lost commits.
    const there = readdirSync(dataDir).filter((name) => /^store\.(db|mark|ballast|suspect)/.test(name));
    if (there.length > 0 && !there.every((name) => name.endsWith(".restoring"))) {
      const message = `${dataDir} has a store already (${there.join(", ")}): name an empty folder with --data, or move it away`;
      throw new HoldfastError("HF_USAGE", message, { dataDir });
    }
    copyFileSync(join(from, STORE_FILE), draft);
    const unknown = options.moved ? 0 : doubtWhatWaits(draft, options.wallMs);
    syncFile(draft);
    renameSync(draft, file);
    syncFolder(dataDir);
    return { ...facts, unknown };
  } catch (error) {
    rmSync(draft, { force: true });
    throw isHoldfastError(error) ? error : explainOpen(error, file);
  } finally {
    unlock();
  }
}

function refuseExisting(into: string): void {
  if (existsSync(into)) {
    throw new HoldfastError("HF_USAGE", `${into} is there already; name a folder that is not`, { into });
  }
}

/** As of one commit, however long it takes: the connection that is copied from stays in its read transaction. */
async function copyPages(
  dataDir: string,
  file: string,
  onProgress: BackupOptions["onProgress"],
): Promise<void> {
  const source = openForReading(dataDir);
  try {
    source.exec("BEGIN");
    source.prepare("SELECT count(*) FROM meta").get();
    await source.backup(file, {
      progress({ totalPages, remainingPages }) {
        onProgress?.(totalPages === 0 ? 0 : 1 - remainingPages / totalPages);
        return PAGES_AT_A_TIME;
      },
    });
  } finally {
    source.close();
  }
  // One file that is whole by itself: a copy in the log's mode would want files beside it to be read.
  const copy = new Database(file);
  try {
    copy.pragma("journal_mode = DELETE");
  } finally {
    copy.close();
  }
}

async function describe(folder: string, { version, wallMs }: BackupOptions): Promise<BackupFacts> {
  const { problems } = verify(folder);
  if (problems.length > 0) {
    const message = `the store is damaged, so this would be no backup: ${problems.join("; ")}`;
    throw new HoldfastError("HF_STORE_DAMAGED", message, { problems });
  }
  const db = openForReading(folder);
  try {
    const count = (sql: string) => db.prepare(sql).pluck().get() as number;
    const file = join(folder, STORE_FILE);
    return {
      format: db.pragma("user_version", { simple: true }) as number,
      version,
      madeAtMs: wallMs,
      messages: count("SELECT count(*) FROM messages"),
      deliveries: count("SELECT count(*) FROM deliveries"),
      open: count("SELECT coalesce(sum(open), 0) FROM lanes"),
      bytes: statSync(file).size,
      sha256: await sha256Of(file),
    };
  } finally {
    db.close();
  }
}

function readFacts(from: string): BackupFacts {
  const file = join(from, FACTS_FILE);
  let facts: BackupFacts;
  try {
    facts = factsShape.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (error) {
    const message = `${from} is no backup: ${FACTS_FILE} cannot be read (${errorText(error)})`;
    throw new HoldfastError("HF_NOT_FOUND", message, { from });
  }
  if (facts.format > formatKnown()) {
    const message = `the backup in ${from} was made by Holdfast ${facts.version}, which is newer than this one`;
    throw new HoldfastError("HF_STORE_NEWER", message, { from });
  }
  return facts;
}

/** What is open becomes unknown, to be tried again at once as a resend. Returns how many that is. */
function doubtWhatWaits(file: string, wallMs: number): number {
  const db: Db = new Database(file);
  try {
    // What is held for an export stays so: it cannot have been sent. Earlier formats hold nothing.
    const known = db.prepare("SELECT 1 FROM pragma_table_info('deliveries') WHERE name = 'export'").get();
    const mayBeSent = `state IN ('waiting', 'sending')${known === undefined ? "" : " AND export IS NULL"}`;
    return db.transaction(() => {
      const figures = db
        .prepare(
          `SELECT l.flow, d.state, count(*) AS n FROM deliveries d JOIN lanes l ON l.id = d.lane
           WHERE ${mayBeSent} GROUP BY l.flow, d.state`,
        )
        .all() as { flow: string; state: string; n: number }[];
      const tally = new Tally(db, "tally");
      for (const { flow, state, n } of figures) tally.move(flow, state, "unknown", n);
      tally.flush();
      return db
        .prepare(
          `UPDATE deliveries SET state = 'unknown', resend = 1, due_at = 0, reason = ?, updated_at = ?
           WHERE ${mayBeSent}`,
        )
        .run(RESTORED, wallMs).changes;
    })();
  } finally {
    db.close();
  }
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
