/**
 * An entry of the store thread with a fault in it: the negative control of tests that claim to notice one.
 * HOLDFAST_TEST_FAULT says which, several with a comma between:
 *
 *   none               nothing: the twin without a fault
 *   synchronous=NORMAL the store is opened without FULL
 *   tell               after each commit, the connection's `synchronous` goes to the channel TOLD
 *   early-ack          batches are answered before they are committed: the commit comes for twenty at a time
 *   late-identity      packet ids and session rows are written after the commit that they belong to; with =N, after
 *                      each N-th commit
 *   io-error=N         the N-th commit of a batch fails as a disk does
 *   io-error-hidden=N  the same, and nobody is told: the batch is answered as if it were stored
 *   exit=N             the thread ends at the N-th commit without a word
 *   full=N             from the N-th commit on, the disk is full; ROOM on the channel ends that
 *   images=FOLDER      before each statement that writes, from the first delivery on, and after the last commit,
 *                      what a kill at that moment would leave is copied to FOLDER/1, FOLDER/2, …
 */
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { BroadcastChannel, parentPort, workerData } from "node:worker_threads";
import Database from "better-sqlite3";
import { serveStore } from "../../src/queue/thread-loop.ts";

const faults = new Map(
  (process.env.HOLDFAST_TEST_FAULT ?? "").split(",").map((fault) => {
    const [name = "", value = ""] = fault.split("=");
    return [name, value] as const;
  }),
);
const at = (name: string) => (faults.has(name) ? Number(faults.get(name)) : Number.POSITIVE_INFINITY);

const channel = new BroadcastChannel(`holdfast-test-${workerData.boot}`);
channel.unref();
let roomAgain = false;
channel.onmessage = () => {
  roomAgain = true;
};

const { exec, prepare } = Database.prototype;
const COMMITS_OWED_MAX = 20;
let commits = 0;
let images = 0;
let sawDelivery = false;
let begun = false;
const late: (() => void)[] = [];

/** Called before each statement that writes: a killed process leaves the files as they are between two of them. */
function beforeWrite(sql: string): void {
  sawDelivery ||= sql.includes("INSERT INTO deliveries");
  const folder = faults.get("images");
  if (!folder || !sawDelivery) return;
  images += 1;
  mkdirSync(join(folder, String(images)), { recursive: true });
  for (const file of ["store.db", "store.db-wal"]) {
    copyFileSync(join(workerData.dataDir, file), join(folder, String(images), file));
  }
}

function sqliteError(code: string): Error {
  return Object.assign(new Error(`made by the saboteur: ${code}`), { code });
}

Database.prototype.exec = function (this: Database.Database, sql: string) {
  if (sql === "BEGIN IMMEDIATE") {
    if (!begun) exec.call(this, sql);
    begun = true;
    return this;
  }
  if (sql !== "COMMIT") return exec.call(this, sql);
  commits += 1;
  beforeWrite(sql);
  if (commits === at("exit")) process.exit(0);
  if (commits === at("io-error")) throw sqliteError("SQLITE_IOERR_FSYNC");
  const full = commits >= at("full") && !roomAgain;
  if (faults.has("early-ack") && commits % COMMITS_OWED_MAX !== 0) return this;
  begun = false;
  exec.call(this, full || commits === at("io-error-hidden") ? "ROLLBACK" : sql);
  if (full) throw sqliteError("SQLITE_FULL");
  if (commits % (Number(faults.get("late-identity")) || 1) === 0) for (const write of late.splice(0)) write();
  beforeWrite("");
  if (faults.has("tell")) channel.postMessage(this.pragma("synchronous", { simple: true }));
  return this;
};

Database.prototype.prepare = function (this: Database.Database, sql: string) {
  const statement = prepare.call(this, sql) as Database.Statement;
  // What is owed to the disk cannot be folded into the store.
  if (faults.has("early-ack") && sql.includes("wal_checkpoint")) {
    statement.get = () => ({ log: 0, checkpointed: 0 });
  }
  if (!/^\s*(INSERT|UPDATE|DELETE)/.test(sql)) return statement;
  const isLate = faults.has("late-identity") && /INTO (packet_ids|sessions)/.test(sql);
  const run = statement.run.bind(statement);
  statement.run = (...params: unknown[]) => {
    if (isLate) {
      late.push(() => {
        beforeWrite(sql);
        run(...params);
      });
      return { changes: 1, lastInsertRowid: 0 };
    }
    beforeWrite(sql);
    return run(...params);
  };
  return statement;
} as typeof prepare;

const synchronous = faults.get("synchronous");
serveStore(parentPort!, synchronous ? { ...workerData, synchronous } : workerData);
