/**
 * The mark: a small file beside the store that says that a store was here, which one, and how far it had come.
 *
 * SQLite cannot tell a write-ahead log that was cut off or deleted from one that was never written: it goes on with
 * what is left. The mark can: after each commit it is told that commit's number, so a store that is behind its mark
 * has lost commits that were answered. It is written after the commit and never synced on its own, so it may be
 * behind the store (a power cut takes what the system had not written yet), and never ahead of it. It costs one
 * write into the system's memory a commit.
 *
 * Two slots are written in turn, each with a checksum, so that one that is torn leaves the other.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";

export const MARK_FILE = "store.mark";
const SLOT_BYTES = 512;
const SLOTS = 2;

export interface Marked {
  /** The store's format when it was written. */
  readonly format: number;
  /** The gateway's start that wrote it. */
  readonly boot: string;
  /** Commits of the store, ever. */
  readonly commits: number;
  /** The highest sequence given. */
  readonly seq: number;
  readonly steadyMs: number;
  readonly wallMs: number;
}

export type MarkFound =
  /** No store was here, or one from before there were marks. */
  | { readonly kind: "none" }
  /** A store was here; more is not known. */
  | { readonly kind: "unreadable" }
  | { readonly kind: "read"; readonly marked: Marked };

export function readMark(dataDir: string): MarkFound {
  const file = join(dataDir, MARK_FILE);
  if (!existsSync(file)) return { kind: "none" };
  const bytes = readFileSync(file);
  let best: Marked | null = null;
  for (let at = 0; at < SLOTS; at++) {
    const marked = parseSlot(bytes.subarray(at * SLOT_BYTES, (at + 1) * SLOT_BYTES));
    if (marked && (!best || marked.commits >= best.commits)) best = marked;
  }
  return best ? { kind: "read", marked: best } : { kind: "unreadable" };
}

/** `checksum json`, padded with spaces. */
function slotOf(marked: Marked): Buffer {
  const json = JSON.stringify(marked);
  const slot = Buffer.alloc(SLOT_BYTES, " ");
  slot.write(`${checksum(json)} ${json}`);
  slot[SLOT_BYTES - 1] = 10;
  return slot;
}

function parseSlot(slot: Buffer): Marked | null {
  const text = slot.toString("utf8");
  const end = text.lastIndexOf("}") + 1;
  const json = text.slice(9, end);
  if (end === 0 || text.slice(0, 8) !== checksum(json)) return null;
  return JSON.parse(json) as Marked;
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, "0");
}

export class StoreMark {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Makes it where there is none, complete and synced before it has its name; the store must be on disk by then.
   * Null where a full disk has no room for it: the store then does without until the next start.
   */
  static open(dataDir: string, marked: Marked): StoreMark | null {
    const file = join(dataDir, MARK_FILE);
    try {
      if (readMark(dataDir).kind !== "read") make(dataDir, file, marked);
      const mark = new StoreMark(openSync(file, "r+"));
      mark.write(marked);
      return mark;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
      return null;
    }
  }

  write(marked: Marked): void {
    try {
      writeSync(this.#fd, slotOf(marked), 0, SLOT_BYTES, (marked.commits % SLOTS) * SLOT_BYTES);
    } catch (error) {
      // It stays behind, which says less and nothing wrong. Any other failure is the disk's, and ends the store.
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    }
  }

  close(synced: boolean): void {
    if (synced) fsyncSync(this.#fd);
    closeSync(this.#fd);
  }
}

function make(dataDir: string, file: string, marked: Marked): void {
  const draft = `${file}.new`;
  const fd = openSync(draft, "w");
  try {
    writeSync(fd, Buffer.concat([slotOf(marked), slotOf(marked)]));
    fsyncSync(fd);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
  renameSync(draft, file);
  syncFolder(dataDir);
}

/** A new name, or one that is gone, is on disk only when its folder is. */
export function syncFolder(folder: string): void {
  syncFile(folder);
}

export function syncFile(file: string): void {
  const fd = openSync(file, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
