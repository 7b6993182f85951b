/**
 * Salvage: a new store out of what can be read of a damaged one.
 *
 * Promise: every message on a page that can be read is in the new store, with its deliveries, in its lane and order,
 * and under its identities; the books of the new store balance; and what is known to be missing is said. The damaged
 * files are only read.
 *
 * What cannot be known is decided for safety: a delivery whose state cannot be read, or may be out of date, may have
 * been made, so it is `unknown` and goes out marked as a repeat; a message whose content is gone cannot be sent, so
 * what was open of it is `dead`. Neither is ever a quiet guess: the message's history and the report say it.
 */

import { existsSync, rmSync } from "node:fs";
import type { Statement } from "better-sqlite3";
import { type Content, isIntact, NO_SUM } from "./content-sum.ts";
import { type Db, makeDraft } from "./database.ts";
import { type EditRow, isEditIntact } from "./edits.ts";
import type { Marked } from "./mark.ts";
import { syncFile } from "./mark.ts";
import { PageFile, type PageFiles } from "./page-file.ts";
import type { Value } from "./record.ts";
import { type Books, balanceBooks } from "./salvage-books.ts";
import { keepReport, LOST_LISTED_MAX, type SalvageReport } from "./salvage-report.ts";
import { asRow, type Layout, layoutsOf, TableFinder } from "./salvage-tables.ts";

/** The unique indexes whose entries say of a lost row that there was one. */
const MESSAGE_IDS = "sqlite_autoindex_messages_1";
const LANE_KEYS = "sqlite_autoindex_lanes_1";

/** Beyond what the mark knows, sequences that a row may have: what it claims beyond that is a number gone wrong. */
const SEQ_SLACK = 1_000_000;

export interface SalvageSource {
  /** Null where it is missing. */
  readonly db: string | null;
  readonly wal: string | null;
  /** What the mark said of the store; null where there was none to read. */
  readonly marked: Marked | null;
  readonly problems: readonly string[];
}

export interface SalvageOptions {
  /** The new store's file; made, synced, and given its name by the caller. Must not exist. */
  readonly draft: string;
  readonly folder: string;
  readonly wallMs: number;
}

/** Throws where the new store cannot be written (SQLITE_FULL and the like), and leaves no draft then. */
export function salvage(source: SalvageSource, { draft, folder, wallMs }: SalvageOptions): SalvageReport {
  const files = [draft, `${draft}-journal`, `${draft}-wal`, `${draft}-shm`];
  for (const file of files) rmSync(file, { force: true });
  let db: Db | undefined;
  try {
    db = makeDraft(draft);
    const report = fill(db, source, folder, wallMs);
    db.close();
    syncFile(draft);
    return report;
  } catch (error) {
    db?.close();
    for (const file of files) rmSync(file, { force: true });
    throw error;
  }
}

function fill(db: Db, source: SalvageSource, folder: string, wallMs: number): SalvageReport {
  const layouts = layoutsOf(db);
  const pages = openPages(source, layouts);
  try {
    const finder = new TableFinder(pages.file, layouts);
    const { findings } = finder;
    db.exec("BEGIN");
    const writer = new RowWriter(db, source.marked, pages.behind);
    for (const { table, row } of finder.rows()) {
      if (table.columns.length === 0) {
        if (!row.stale) writer.takeEvidence(table.name, row.values);
        continue;
      }
      const fitted = asRow(table, row);
      if (fitted && writer.take(table, fitted, row.stale)) continue;
      findings.rowsUnreadable += 1;
      findings.tablesHit.add(table.name);
    }
    const countsReadable = !findings.tablesHit.has("tally") && !findings.tablesHit.has("pruned");
    const books = balanceBooks(db, { marked: source.marked, wallMs, countsReadable });
    const report = reportOf(source, pages, books, findings, folder, wallMs);
    keepReport(db, report);
    db.exec("COMMIT");
    return report;
  } finally {
    pages.file.close();
  }
}

interface Pages {
  readonly file: PageFile;
  /** Commits were lost at the end, or may have been: what is open may have been sent since. */
  readonly behind: boolean;
  readonly commitsMissing: number;
  readonly otherStore: boolean;
  readonly problems: readonly string[];
}

/** Which of the files belong together, and how far they go. */
function openPages({ db, wal, marked }: SalvageSource, layouts: readonly Layout[]): Pages {
  const problems: string[] = [];
  let files: PageFiles = { db: present(db), wal: present(wal) };
  let boots = bootsOf(files, layouts);
  if (files.db !== null && files.wal !== null && boots.names.size > 0) {
    const alone = bootsOf({ db: files.db, wal: null }, layouts);
    if ([...alone.names].some((name) => !boots.names.has(name))) {
      const logIsOurs = marked !== null && boots.names.has(marked.boot) && !alone.names.has(marked.boot);
      files = logIsOurs ? { db: null, wal: files.wal } : { db: files.db, wal: null };
      problems.push(`${logIsOurs ? "store.db" : "store.db-wal"} belongs to another store and was left out`);
      boots = bootsOf(files, layouts);
    }
  }
  if (marked && boots.commits < marked.commits && files.wal !== null) {
    files = { ...files, answered: true };
    boots = bootsOf(files, layouts);
  }
  const file = new PageFile(files);
  if (file.damagedFrames > 0)
    problems.push(`pages of the write-ahead log are damaged: ${file.damagedFrames}`);
  return {
    file,
    behind: marked !== null && boots.commits < marked.commits,
    commitsMissing: marked !== null && boots.whole ? Math.max(0, marked.commits - boots.commits) : 0,
    otherStore: marked !== null && boots.whole && !boots.names.has(marked.boot),
    problems,
  };
}

interface BootsFound {
  readonly names: ReadonlySet<string>;
  readonly commits: number;
  /** All of them could be read. */
  readonly whole: boolean;
}

function bootsOf(files: PageFiles, layouts: readonly Layout[]): BootsFound {
  const names = new Set<string>();
  let commits = 0;
  const boots = layouts.filter(({ name }) => name === "boots");
  const file = new PageFile(files);
  try {
    const finder = new TableFinder(file, boots);
    for (const { table, row } of finder.rows(true)) {
      const fitted = asRow(table, row);
      if (typeof fitted?.boot === "string") names.add(fitted.boot);
      if (typeof fitted?.commits === "number") commits = Math.max(commits, fitted.commits);
    }
    return { names, commits, whole: finder.findings.tablesHit.size === 0 && names.size > 0 };
  } finally {
    file.close();
  }
}

function reportOf(
  { marked, problems }: SalvageSource,
  pages: Pages,
  books: Books,
  findings: TableFinder["findings"],
  folder: string,
  wallMs: number,
): SalvageReport {
  const said = [...problems, ...pages.problems];
  const unreadable = findings.pagesUnreadable + findings.rowsUnreadable;
  const missing = marked && pages.behind ? Math.max(0, marked.seq - books.seqFound) : 0;
  return {
    atMs: wallMs,
    folder,
    problems:
      said.length > 0 || unreadable === 0 ? said : [`${unreadable} of its pages and rows cannot be read`],
    pagesUnreadable: findings.pagesUnreadable,
    rowsUnreadable: findings.rowsUnreadable,
    messagesSalvaged: books.messages,
    messagesLost: books.lost,
    undeliveredLost: books.lostUndelivered,
    lost: books.lostFirst.slice(0, LOST_LISTED_MAX),
    untraced: books.untraced,
    otherStore: pages.otherStore,
    commitsMissing: pages.commitsMissing,
    messagesMissingMax: missing,
    missingSeqs: missing > 0 ? [books.seqFound + 1, marked!.seq] : null,
    deliveriesUnsure: books.unsure,
  };
}

const STALE =
  "the store was damaged, and what it said of this delivery may have been out of date: it may have been made";

/** Puts rows that were found into the tables of the new store. The first of two under one key stays. */
class RowWriter {
  readonly #db: Db;
  readonly #behind: boolean;
  readonly #seqMax: number;
  readonly #inserts = new Map<string, Statement>();
  readonly #said: Statement;
  readonly #laneSaid: Statement;
  readonly #unsure: Statement;

  constructor(db: Db, marked: Marked | null, behind: boolean) {
    this.#db = db;
    this.#behind = behind;
    this.#seqMax = marked ? marked.seq + SEQ_SLACK : Number.MAX_SAFE_INTEGER / 2;
    db.exec(
      `CREATE TEMP TABLE said (seq INTEGER PRIMARY KEY, id TEXT);
       CREATE TEMP TABLE lane_said (id INTEGER PRIMARY KEY, flow TEXT, key TEXT);
       CREATE TEMP TABLE unsure (seq INTEGER, lane INTEGER, why TEXT, PRIMARY KEY (seq, lane));`,
    );
    this.#said = db.prepare("INSERT OR IGNORE INTO said VALUES (?, ?)");
    this.#laneSaid = db.prepare("INSERT OR IGNORE INTO lane_said VALUES (?, ?, ?)");
    this.#unsure = db.prepare("INSERT OR IGNORE INTO unsure VALUES (?, ?, ?)");
  }

  /** False where the row cannot be one of a store's. */
  take(table: Layout, row: Record<string, Value>, stale: boolean): boolean {
    if (typeof row.seq === "number" && (row.seq < 0 || row.seq > this.#seqMax)) return false;
    if (table.name === "messages" && !isMessage(row)) return false;
    if (table.name === "edits" && !isEditIntact({ content_type: null, ...row } as unknown as EditRow))
      return false;
    if (table.name === "deliveries" && (stale || this.#behind)) this.#doubt(row);
    const names = Object.keys(row);
    const key = `${table.name} ${names.length}`;
    let insert = this.#inserts.get(key);
    if (!insert) {
      const marks = names.map(() => "?");
      insert = this.#db.prepare(`INSERT OR IGNORE INTO ${table.name} (${names}) VALUES (${marks})`);
      this.#inserts.set(key, insert);
    }
    try {
      return insert.run(...Object.values(row)).changes === 1 || stale || this.#isThere(table, row);
    } catch (error) {
      if (String((error as { code?: unknown }).code).startsWith("SQLITE_CONSTRAINT")) return false;
      throw error;
    }
  }

  takeEvidence(index: string, values: readonly Value[]): void {
    if (index === MESSAGE_IDS && values.length === 2) {
      const [id, seq] = values;
      if (typeof id === "string" && typeof seq === "number" && seq > 0 && seq <= this.#seqMax) {
        this.#said.run(seq, id);
      }
    } else if (index === LANE_KEYS && values.length === 3) {
      const [flow, key, id] = values;
      if (typeof flow === "string" && typeof key === "string" && typeof id === "number" && id > 0) {
        this.#laneSaid.run(id, flow, key);
      }
    }
  }

  /** What is open may have been sent meanwhile. */
  #doubt(row: Record<string, Value>): void {
    if (row.state !== "waiting" && row.state !== "sending") return;
    Object.assign(row, { state: "unknown", due_at: 0, resend: 1, reason: STALE });
    this.#unsure.run(row.seq, row.lane, STALE);
  }

  /** The same row twice is no row that could not be read. */
  #isThere(table: Layout, row: Record<string, Value>): boolean {
    const keys = table.columns.filter(({ isKey }) => isKey).map(({ name }) => name);
    if (keys.length !== 1) return false;
    const found = this.#db.prepare(`SELECT 1 FROM ${table.name} WHERE ${keys[0]} = ?`).get(row[keys[0]!]);
    return found !== undefined;
  }
}

function isMessage(row: Record<string, Value>): boolean {
  const content = { ...row, crc: row.crc ?? null } as unknown as Content & { crc: number | null };
  const sound = content.crc === NO_SUM || isIntact(content);
  return sound && isRoutes(content.routes) && isHeaders(content.headers);
}

function isRoutes(text: string): boolean {
  return /^\[(\[\d{1,15},\d{1,15}\](,\[\d{1,15},\d{1,15}\])*)?\]$/.test(text);
}

function isHeaders(text: string | null): boolean {
  if (text === null) return true;
  try {
    const headers: unknown = JSON.parse(text);
    return typeof headers === "object" && headers !== null;
  } catch {
    return false;
  }
}

function present(file: string | null): string | null {
  return file !== null && existsSync(file) ? file : null;
}
