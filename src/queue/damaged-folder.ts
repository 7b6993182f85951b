/**
 * Puts a salvaged store in the place of a damaged one, whose files are moved into a folder and never deleted.
 *
 * What is to be done is written down first (the journal) and then done, each step so that doing it again changes
 * nothing. So a crash at any moment leaves either the damaged files in their place and a draft that nobody minds, or
 * a journal that the next start finishes.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { HoldfastError } from "../core/errors.ts";
import { STORE_FILE } from "./database.ts";
import { MARK_FILE, syncFolder } from "./mark.ts";
import type { SalvageReport } from "./salvage-report.ts";

const JOURNAL_FILE = "store.salvage.json";
export const DRAFT_FILE = "store.db.salvaged";
/** Says that a run met damage, or a defect: the next start looks at everything. */
export const SUSPECT_FILE = "store.suspect";
/** All that belongs to a store; what is damaged may be any of them. */
const STORE_FILES = [
  STORE_FILE,
  `${STORE_FILE}-wal`,
  `${STORE_FILE}-shm`,
  `${STORE_FILE}-journal`,
  MARK_FILE,
  SUSPECT_FILE,
];

interface Journal {
  readonly files: readonly string[];
  readonly report: SalvageReport;
}

/** `damaged-20261124T101530Z`, or with a number behind it where that is taken. */
export function freeFolderName(dataDir: string, wallMs: number): string {
  const at = new Date(wallMs).toISOString().replace(/[-:]|\.\d+/g, "");
  for (let n = 1; ; n++) {
    const name = n === 1 ? `damaged-${at}` : `damaged-${at}-${n}`;
    if (!existsSync(join(dataDir, name))) return name;
  }
}

/** The draft is complete and synced. */
export function replaceDamaged(dataDir: string, report: SalvageReport): void {
  const files = STORE_FILES.filter((file) => existsSync(join(dataDir, file)));
  writeSynced(dataDir, JOURNAL_FILE, { files, report } satisfies Journal);
  finishReplacing(dataDir);
}

/** Where a replacement was cut off, the rest of it; what it was about, or null where there was none. */
export function finishReplacing(dataDir: string): SalvageReport | null {
  const file = join(dataDir, JOURNAL_FILE);
  if (!existsSync(file)) return null;
  const { files, report } = readJournal(file);
  const folder = join(dataDir, report.folder);
  mkdirSync(folder, { recursive: true });
  syncFolder(dataDir);
  for (const name of files) {
    const from = join(dataDir, name);
    // Once it is there, what bears its name here is the new one.
    if (!existsSync(join(folder, name)) && existsSync(from)) renameSync(from, join(folder, name));
  }
  syncFolder(folder);
  const draft = join(dataDir, DRAFT_FILE);
  if (existsSync(draft)) renameSync(draft, join(dataDir, STORE_FILE));
  syncFolder(dataDir);
  writeSynced(folder, "report.json", report);
  rmSync(file);
  syncFolder(dataDir);
  return report;
}

function readJournal(file: string): Journal {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Journal;
  } catch (error) {
    const message = `a salvage of the store was cut off, and its journal ${file} cannot be read`;
    throw new HoldfastError("HF_STORE_DAMAGED", message, { file }, error);
  }
}

/** Under its name only when it is whole and on disk. */
function writeSynced(folder: string, name: string, content: unknown): void {
  const draft = join(folder, `${name}.new`);
  const fd = openSync(draft, "w");
  try {
    writeSync(fd, `${JSON.stringify(content, null, 2)}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(draft, join(folder, name));
  syncFolder(folder);
}

/** Best effort: it says more than HF_STORE_DAMAGED in the log, and nothing hangs on it. */
export function markSuspect(dataDir: string, why: string): void {
  try {
    writeSynced(dataDir, SUSPECT_FILE, { why });
  } catch {
    // On a disk that takes nothing any more, the next start looks at every page as after any crash.
  }
}
