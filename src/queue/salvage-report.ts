/** What was found damaged, what was salvaged, and what is known to be missing: told at the start and kept in the store. */

import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { count, counted } from "../core/plain-words.ts";
import type { Db } from "./database.ts";

/** Ids that are named one by one; the counts go on. */
export const LOST_LISTED_MAX = 50;
/** Reports that a store keeps, the newest. */
const REPORTS_KEPT = 10;
const META_KEY = "damage";

export interface LostMessage {
  readonly seq: number;
  /** Null where not even that could be read. */
  readonly id: string | null;
}

export interface SalvageReport {
  /** Wall clock, epoch ms. */
  readonly atMs: number;
  /** The folder that the damaged files are kept in: its name in the data folder, or a path. */
  readonly folder: string;
  /** What was found, a sentence each. */
  readonly problems: readonly string[];
  readonly pagesUnreadable: number;
  readonly rowsUnreadable: number;
  /** Messages in the new store with their content. */
  readonly messagesSalvaged: number;
  /** Messages of which no more is left than that there was one; their ids in `lost`, up to LOST_LISTED_MAX. */
  readonly messagesLost: number;
  /** Of those, the ones that had not been delivered everywhere: they never will be. */
  readonly undeliveredLost: number;
  readonly lost: readonly LostMessage[];
  /** By the counts of the old store there were this many more, of which nothing at all is left. Null: not known. */
  readonly untraced: number | null;
  /** What was here is not the store that was open here last, or an earlier state of it. */
  readonly otherStore: boolean;
  /** Commits that were answered and are missing at the end; then up to so many messages are, too. */
  readonly commitsMissing: number;
  readonly messagesMissingMax: number;
  /** Sequences of those: from, to. */
  readonly missingSeqs: readonly [number, number] | null;
  /** Deliveries that may have been sent already, as far as can be told: they are sent again as repeats. */
  readonly deliveriesUnsure: number;
}

/** All of it in one sentence, without the folder's path. */
export function salvageSentence(report: SalvageReport): string {
  const { messagesSalvaged, folder } = report;
  const found = report.problems[0] ?? "no damage was found";
  return `${found}; ${counted(messagesSalvaged, "message was", "messages were")} salvaged into a new store, ${lossSentence(report)}; the damaged files are kept in ${folder}`;
}

/** True where acknowledged messages that were not delivered are, or may be, gone. */
export function isLossy(report: SalvageReport): boolean {
  const { undeliveredLost, messagesMissingMax, untraced, otherStore } = report;
  return undeliveredLost > 0 || messagesMissingMax > 0 || untraced !== 0 || otherStore;
}

function lossSentence(report: SalvageReport): string {
  const { messagesLost, undeliveredLost, untraced, messagesMissingMax, commitsMissing, deliveriesUnsure } =
    report;
  const parts: string[] = [];
  if (messagesLost > 0) {
    parts.push(
      `${counted(messagesLost, "message has", "messages have")} lost content (${count(undeliveredLost)} not delivered before)`,
    );
  }
  if (messagesMissingMax > 0) {
    parts.push(`up to ${counted(messagesMissingMax, "message")} that had been acknowledged may be missing`);
  } else if (commitsMissing > 0) {
    parts.push(`${counted(commitsMissing, "commit is", "commits are")} missing at its end`);
  }
  if (untraced === null) parts.push("how many more are missing is not known");
  else if (untraced > 0) {
    parts.push(`${count(untraced)} more that had been counted left no trace`);
  }
  if (deliveriesUnsure > 0) {
    parts.push(
      `${counted(deliveriesUnsure, "delivery", "deliveries")} may have been made already and ${deliveriesUnsure === 1 ? "is" : "are"} repeated`,
    );
  }
  return parts.length === 0 ? "none is missing" : parts.join(", ");
}

export function keepReport(db: Db, report: SalvageReport): void {
  const reports = [...allReports(db), report].slice(-REPORTS_KEPT);
  db.prepare(
    "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
  ).run(META_KEY, JSON.stringify(reports));
}

/** Reports whose folder is still there: whoever moves it away has taken note. Oldest first. */
export function openReports(db: Db): SalvageReport[] {
  return allReports(db).filter(({ folder }) => existsSync(resolve(dirname(db.name), folder)));
}

function allReports(db: Db): SalvageReport[] {
  const text = db.prepare("SELECT value FROM meta WHERE key = ?").pluck().get(META_KEY);
  if (typeof text !== "string") return [];
  try {
    const reports: unknown = JSON.parse(text);
    return Array.isArray(reports) ? (reports as SalvageReport[]) : [];
  } catch {
    return []; // Damaged itself; report.json in the folder says it too.
  }
}
