/**
 * Looks at everything in a store: pages and indexes (SQLite's integrity_check), the content of every message, that
 * each of its deliveries is there, and the books. Reads all of it, and changes nothing.
 */
import { counted } from "../core/plain-words.ts";
import { type Content, isIntact, NO_SUM } from "./content-sum.ts";
import { type Db, openForReading, pageProblems } from "./database.ts";
import { type EditRow, isEditIntact } from "./edits.ts";
import { type MarkFound, readMark } from "./mark.ts";
import { audit } from "./queries-audit.ts";
import { openReports, type SalvageReport } from "./salvage-report.ts";

const IDS_NAMED = 3;

export interface Verdict {
  /** A sentence each; none where all is well. */
  readonly problems: readonly string[];
  /** Null where they cannot be counted. */
  readonly messages: number | null;
  readonly deliveries: number | null;
  /** Earlier damage whose folder is still there. */
  readonly salvages: readonly SalvageReport[];
}

/** Throws where the store cannot be opened for another reason than damage; damage is a problem. */
export function verify(dataDir: string): Verdict {
  // Before the store is opened: it may go on while it is read, the mark may then not.
  const mark = readMark(dataDir);
  const db = openForReading(dataDir);
  try {
    db.exec("BEGIN");
    return {
      problems: [...markProblems(db, mark), ...contentProblems(db)],
      messages: count(db, "messages"),
      deliveries: count(db, "deliveries"),
      salvages: openReports(db),
    };
  } finally {
    db.close();
  }
}

/** Nothing is missing at the end of the store: it is as far as its mark says that it was. */
export function markProblems(db: Db, mark: MarkFound): string[] {
  if (mark.kind !== "read") return [];
  const { marked } = mark;
  const hasCommits = (db.pragma("user_version", { simple: true }) as number) > 1;
  const commits = hasCommits
    ? (db.prepare("SELECT coalesce(max(commits), 0) FROM boots").pluck().get() as number)
    : 0;
  if (!db.prepare("SELECT 1 FROM boots WHERE boot = ?").get(marked.boot)) {
    return ["store.db is not the store that was open here last, or an earlier state of it"];
  }
  const missing = marked.commits - commits;
  if (missing <= 0) return [];
  const which = missing === 1 ? "the last commit, which was" : `the last ${missing} commits, which were`;
  return [`${which} answered, cannot be read: the write-ahead log was cut off, deleted or damaged`];
}

/** In words; at most a few for each kind of problem. */
export function contentProblems(db: Db): string[] {
  const pages = pageProblems(db, "integrity_check");
  // Where pages make no sense, what is read from them need not either.
  if (pages.length > 0) return pages.map((problem) => `store.db: ${problem}`);
  const one = (sql: string) => db.prepare(sql).pluck().get() as number;
  const problems = messageProblems(db);
  if (problems.length > 0) return problems;
  const missing = one(
    `SELECT count(*) FROM messages m, json_each(m.routes) r WHERE NOT EXISTS
       (SELECT 1 FROM deliveries d WHERE d.lane = json_extract(r.value, '$[0]') AND d.seq = m.seq)`,
  );
  if (missing > 0) problems.push(`${missing} deliveries are missing`);
  const strays = one(
    "SELECT count(*) FROM deliveries d WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.seq = d.seq)",
  );
  if (strays > 0) problems.push(`${strays} deliveries have no message`);
  problems.push(...editProblems(db));
  const configs = one("SELECT count(*) FROM flow_versions WHERE NOT json_valid(config)");
  if (configs > 0) problems.push(`the config of ${configs} flow versions cannot be read`);
  return [...problems, ...audit(db).mismatches.map(({ sentence }) => sentence)];
}

function messageProblems(db: Db): string[] {
  const hasSums = (db.pragma("user_version", { simple: true }) as number) > 1;
  const damaged: string[] = [];
  let total = 0;
  for (const row of db.prepare("SELECT * FROM messages").iterate()) {
    const message = row as Content & { crc: number | null };
    if (hasSums && (message.crc === NO_SUM || isIntact(message)) && isJson(message.routes)) continue;
    if (!hasSums && isJson(message.routes)) continue;
    total += 1;
    if (damaged.length < IDS_NAMED) damaged.push(`${message.id} (#${message.seq})`);
  }
  if (total === 0) return [];
  const more = total > damaged.length ? ", …" : "";
  const of = total === 1 ? "one message" : counted(total, "message");
  return [`the content of ${of} is not what was accepted: ${damaged.join(", ")}${more}`];
}

/** Of deliveries that are not over: what somebody changed is there, as it was written. */
function editProblems(db: Db): string[] {
  // A store of an earlier version has none.
  if (!db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'edits'").get()) return [];
  const damaged: number[] = [];
  for (const row of db.prepare("SELECT * FROM edits").iterate()) {
    if (!isEditIntact(row as EditRow)) damaged.push((row as EditRow).id);
  }
  const missing = db
    .prepare(
      `SELECT count(*) FROM deliveries d WHERE d.edit IS NOT NULL AND d.state IN ('waiting', 'sending', 'unknown')
       AND NOT EXISTS (SELECT 1 FROM edits e WHERE e.id = d.edit AND e.lane = d.lane AND e.seq = d.seq)`,
    )
    .pluck()
    .get() as number;
  return [
    ...(damaged.length === 0
      ? []
      : [`edits are not what was written: ${damaged.slice(0, IDS_NAMED).join(", ")}`]),
    ...(missing === 0 ? [] : [`the edits of ${missing} deliveries are missing`]),
  ];
}

function isJson(text: string | null): boolean {
  if (text === null) return true;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function count(db: Db, table: string): number {
  return db.prepare(`SELECT count(*) FROM ${table}`).pluck().get() as number;
}
