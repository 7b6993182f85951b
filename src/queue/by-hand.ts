/** What the start does by itself (damage.ts), by hand: for a person in front of a gateway that is down. */
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join, resolve } from "node:path";
import { HoldfastError, isHoldfastError } from "../core/errors.ts";
import { logProblems, lookAtFiles } from "./damage.ts";
import { DRAFT_FILE } from "./damaged-folder.ts";
import { explainOpen, STORE_FILE } from "./database.ts";
import { LOCK_FILE, lockStore } from "./lock.ts";
import { readMark, syncFolder } from "./mark.ts";
import { salvage } from "./salvage.ts";
import type { SalvageReport } from "./salvage-report.ts";
import { type Verdict, verify } from "./verify.ts";

/** Reads all of a store, of a gateway that runs or is down, and changes nothing. Throws where there is none. */
export function verifyFolder(dataDir: string): Verdict {
  const broken = (problems: readonly string[]): Verdict => ({
    problems,
    messages: null,
    deliveries: null,
    salvages: [],
  });
  const found = lookAtFiles(dataDir);
  if (found.length > 0) return broken(found);
  try {
    const verdict = verify(dataDir);
    return { ...verdict, problems: [...logProblems(join(dataDir, STORE_FILE)), ...verdict.problems] };
  } catch (error) {
    const explained = explainOpen(error, join(dataDir, STORE_FILE));
    if (explained.code !== "HF_STORE_DAMAGED") throw explained;
    return broken([explained.message]);
  }
}

/** What is seen to be wrong from the outside, within a moment: files missing or cut, headers, the log's frames. */
export function lookAtFolder(dataDir: string): string[] {
  return [...lookAtFiles(dataDir), ...logProblems(join(dataDir, STORE_FILE))];
}

/**
 * Salvages the store in `from`, which stays as it is, into a new one in `into`, which must not have one. `from` is a
 * data folder, whose gateway must be down, or a folder of damaged files.
 */
export function salvageFolder(from: string, into: string, wallMs: number): SalvageReport {
  const file = join(from, STORE_FILE);
  const parts = [file, `${file}-wal`].filter((part) => existsSync(part));
  if (parts.length === 0) {
    throw new HoldfastError("HF_NOT_FOUND", `there is neither a store nor its log in ${from}`, { from });
  }
  if (resolve(from) === resolve(into) || existsSync(join(into, STORE_FILE))) {
    throw new HoldfastError("HF_USAGE", `there is a store in ${into} already; name a folder without one`, {
      into,
    });
  }
  // Only where a gateway was ever started: the folder of damaged files gets nothing put into it.
  const startedAt = new Date(wallMs).toISOString();
  const unlock = existsSync(join(from, LOCK_FILE))
    ? lockStore(from, { pid: process.pid, boot: "salvage", startedAt })
    : () => {};
  try {
    const mark = readMark(from);
    const problems = problemsOf(from);
    mkdirSync(into, { recursive: true });
    const draft = join(into, DRAFT_FILE);
    const marked = mark.kind === "read" ? mark.marked : null;
    const report = salvage(
      { db: file, wal: `${file}-wal`, marked, problems },
      { draft, folder: resolve(from), wallMs },
    );
    renameSync(draft, join(into, STORE_FILE));
    syncFolder(into);
    return report;
  } catch (error) {
    throw isHoldfastError(error) ? error : explainOpen(error, join(into, STORE_FILE));
  } finally {
    unlock();
  }
}

/** A folder of damaged files is looked at without SQLite, which would put its log's index there. */
function problemsOf(from: string): readonly string[] {
  if (existsSync(join(from, LOCK_FILE))) return verifyFolder(from).problems;
  return lookAtFolder(from);
}
