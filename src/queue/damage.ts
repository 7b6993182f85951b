/**
 * The start of a store: looked at before it is used, and salvaged where it is damaged.
 *
 * Promise: a start never begins with an empty store where one was, and never goes on in silence with one that lost
 * something. What is found is said; what can be read is salvaged (salvage.ts); the damaged files are kept in a folder
 * of their own, as they were found. Where not even that can be done (no room, no right to write, a newer format) the
 * start is refused and nothing is touched.
 *
 * What is looked at: whether the files are there that must be, whether they begin as they should and are as long as
 * they say, whether the store is as far as its mark says; after a crash every page (quick_check); and after a run that
 * met damage, or a defect, also the indexes, the content of every message and the books (verify.ts).
 *
 * While a store is looked at, one connection reads it and may not write, and stays open until all is well: the last
 * one to close that may write would fold the log into the file, and what is damaged is to stay as it was found.
 */
import { closeSync, existsSync, openSync, readSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { errorText, HoldfastError } from "../core/errors.ts";
import {
  DRAFT_FILE,
  finishReplacing,
  freeFolderName,
  replaceDamaged,
  SUSPECT_FILE,
} from "./damaged-folder.ts";
import {
  connect,
  type Db,
  explainOpen,
  formatKnown,
  newerStore,
  PAGE_BYTES,
  pageProblems,
  STORE_FILE,
  stoppedClean,
} from "./database.ts";
import { readMark } from "./mark.ts";
import { PageFile } from "./page-file.ts";
import { salvage } from "./salvage.ts";
import type { SalvageReport } from "./salvage-report.ts";
import { contentProblems, markProblems } from "./verify.ts";
import { Writer } from "./writer.ts";
import type { WriterOptions } from "./writer-options.ts";

/** A store that is newer by more formats than this has a damaged number there; by fewer it is left as it is. */
const FORMATS_AHEAD_MAX = 1000;

/** Opens the store that the lock is held for. Throws HF_STORE_* where it cannot be, or must not be. */
export function startWriter(options: WriterOptions): Writer {
  const { dataDir } = options;
  // A disk that is not a folder has no files to look at.
  if (options.connect) return new Writer(options);
  try {
    const finished = finishReplacing(dataDir);
    const found = lookAtFiles(dataDir);
    if (found.length > 0) return startSalvaged(options, found);
    return startExamined(options, finished);
  } catch (error) {
    throw explainOpen(error, join(dataDir, STORE_FILE));
  }
}

function startExamined(options: WriterOptions, salvaged: SalvageReport | null): Writer {
  const { dataDir } = options;
  const file = join(dataDir, STORE_FILE);
  const suspect = existsSync(join(dataDir, SUSPECT_FILE));
  let guard: Db | null = null;
  let writing: Db | undefined;
  let problems: readonly string[];
  try {
    guard = openGuard(dataDir);
    problems = guard ? lookInside(guard, dataDir, suspect) : [];
    if (problems.length === 0) {
      const held = (path: string) => {
        writing = connect(path);
        return writing;
      };
      const writer = new Writer({ ...options, connect: held }, { salvaged });
      if (suspect) rmSync(join(dataDir, SUSPECT_FILE));
      return writer;
    }
  } catch (error) {
    writing?.close();
    const found = damageOf(error);
    // What is neither damage nor the disk's refusal may come of content that makes no sense.
    problems = found ?? (guard && isUnexplained(error) ? thoroughly(guard) : []);
    if (problems.length === 0) throw error;
  } finally {
    guard?.close();
  }
  return startSalvaged(
    options,
    problems.map((problem) => said(problem, file)),
  );
}

function said(problem: string, file: string): string {
  return problem.replaceAll(file, STORE_FILE);
}

function startSalvaged(options: WriterOptions, problems: readonly string[]): Writer {
  const { dataDir } = options;
  const file = join(dataDir, STORE_FILE);
  if (options.queue.onDamage === "refuse") {
    const message = `the store ${file} is damaged: ${problems.join("; ")} (queue.onDamage is refuse)`;
    throw new HoldfastError("HF_STORE_DAMAGED", message, { file, problems });
  }
  const mark = readMark(dataDir);
  const report = salvage(
    {
      db: file,
      wal: `${file}-wal`,
      marked: mark.kind === "read" ? mark.marked : null,
      problems,
    },
    {
      draft: join(dataDir, DRAFT_FILE),
      folder: freeFolderName(dataDir, options.openedAtMs),
      wallMs: options.openedAtMs,
    },
  );
  replaceDamaged(dataDir, report);
  return new Writer(options, { salvaged: report });
}

/** What the files themselves tell, before SQLite opens them: an empty file beside a log would make it drop the log. */
export function lookAtFiles(dataDir: string): string[] {
  const file = join(dataDir, STORE_FILE);
  const mark = readMark(dataDir);
  const bytes = sizeOf(file);
  const logBytes = sizeOf(`${file}-wal`);
  if (bytes === null || bytes === 0) {
    const traces = [
      ...(mark.kind === "none" ? [] : ["its mark"]),
      ...((bytes === null ? logBytes : logBytes || null) === null ? [] : ["its write-ahead log"]),
      ...(bytes === null && sizeOf(`${file}-shm`) !== null ? ["its log's index"] : []),
    ];
    if (traces.length === 0) return [];
    return [
      `store.db is ${bytes === null ? "missing" : "empty"}, though ${traces.join(" and ")} ${traces.length > 1 ? "are" : "is"} there`,
    ];
  }
  const head = readHead(file);
  const problem = headProblem(head);
  if (problem) return [`store.db ${problem}`];
  const format = head.readUInt32BE(60);
  if (format > formatKnown() + FORMATS_AHEAD_MAX) return [`store.db says that its format is ${format}`];
  if (format > formatKnown()) throw newerStore(file, format);
  const pages = head.readUInt32BE(28);
  if (!logBytes && bytes < pages * PAGE_BYTES) {
    return [`store.db is cut short: ${Math.floor(bytes / PAGE_BYTES)} of its ${pages} pages are there`];
  }
  return [];
}

function readHead(file: string): Buffer {
  const head = Buffer.alloc(100);
  const fd = openSync(file, "r");
  try {
    readSync(fd, head);
    return head;
  } finally {
    closeSync(fd);
  }
}

/** What every store of ours begins with (https://www.sqlite.org/fileformat2.html, "The Database Header"). */
function headProblem(head: Buffer): string | null {
  if (head.toString("latin1", 0, 16) !== "SQLite format 3\0") return "is no store: it does not begin as one";
  const schemaFormat = head.readUInt32BE(44);
  const encoding = head.readUInt32BE(56);
  const sound =
    head.readUInt16BE(16) === PAGE_BYTES &&
    [1, 2].includes(head[18]!) &&
    head[18] === head[19] &&
    head.toString("hex", 20, 24) === "00402020" &&
    (schemaFormat === 4 || schemaFormat === 0) &&
    (encoding === 1 || encoding === 0);
  return sound ? null : "has a damaged head";
}

/** Null where there is no store yet, or not all of one: it is made, or its making is finished. */
function openGuard(dataDir: string): Db | null {
  const file = join(dataDir, STORE_FILE);
  const bytes = sizeOf(file);
  if (!bytes) return null;
  // Without a mark it may have been cut off while it was made, with SQLite's own journal to go back by.
  if (readMark(dataDir).kind === "none" && sizeOf(`${file}-journal`)) return null;
  return new Database(file, { readonly: true, fileMustExist: true });
}

function lookInside(db: Db, dataDir: string, suspect: boolean): string[] {
  const format = db.pragma("user_version", { simple: true }) as number;
  const mark = readMark(dataDir);
  if (format > formatKnown()) throw newerStore(db.name, format);
  if (format === 0) return mark.kind === "none" ? [] : ["store.db has no tables, though its mark is there"];
  const behind = markProblems(db, mark);
  if (behind.length > 0) return behind;
  if (suspect) return thoroughly(db);
  if (stoppedClean(db)) return [];
  return [
    ...logProblems(db.name),
    ...pageProblems(db, "quick_check").map((problem) => `store.db: ${problem}`),
  ];
}

function thoroughly(db: Db): string[] {
  try {
    return [...logProblems(db.name), ...contentProblems(db)];
  } catch (error) {
    const found = damageOf(error);
    if (!found) throw error;
    return found;
  }
}

/** SQLite stops reading a log at its first damaged page, whatever stands behind it. */
export function logProblems(file: string): string[] {
  const log = new PageFile({ db: null, wal: sizeOf(`${file}-wal`) ? `${file}-wal` : null });
  log.close();
  return log.damagedFrames > 0 ? [`store.db-wal: ${log.damagedFrames} of its pages are damaged`] : [];
}

/** In words, where an error speaks of damage; null where it does not. */
function damageOf(error: unknown): string[] | null {
  const code = String((error as { code?: unknown }).code ?? "");
  const isDamage =
    code === "HF_STORE_DAMAGED" ||
    code === "SQLITE_NOTADB" ||
    code.startsWith("SQLITE_CORRUPT") ||
    // A table or column that is not there: every statement of ours fits a store that is whole.
    code === "SQLITE_ERROR";
  return isDamage ? [`store.db: ${errorText(error)}`] : null;
}

function isUnexplained(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  return code === undefined || String(code).startsWith("SQLITE_CONSTRAINT") || code === "HF_INTERNAL";
}

function sizeOf(file: string): number | null {
  return statSync(file, { throwIfNoEntry: false })?.size ?? null;
}
