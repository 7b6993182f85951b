/**
 * A store's file and its write-ahead log, read as bytes: for a store that SQLite cannot be trusted to read any more.
 * Nothing is written, not even the log's index, so what is read stays as it was found.
 *
 * A page is taken from the newest frame of the log that is part of a commit, else from the file. SQLite stops at the
 * first frame whose checksum is wrong, and rightly so after a power cut: nothing after it was synced. But each frame
 * carries the sum that the next one begins with, so frames behind a bad one can be checked too; and a commit that has
 * frames of a later one behind it had been synced, so that a bad frame before it is damage.
 * (https://www.sqlite.org/fileformat2.html, "The Write-Ahead Log")
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { PAGE_BYTES } from "./database.ts";

const WAL_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES;
const WAL_MAGIC = 0x377f0682;
/** 256 GiB: a head that says more has gone wrong. */
const PAGES_MEANT_MAX = 2 ** 26;

export interface Page {
  readonly bytes: Buffer;
  /** A newer version of it was lost with a damaged frame: what it says may be out of date. */
  readonly stale: boolean;
}

export interface PageFiles {
  readonly db: string | null;
  readonly wal: string | null;
  /**
   * The log's last commit was answered, as the mark says. So a frame of it that is bad is damage too, and so is a
   * header that is bad; without this both are what a power cut leaves of a commit that was never answered.
   */
  readonly answered?: boolean;
}

export class PageFile {
  readonly #db: number | null;
  readonly #wal: number | null;
  readonly #dbPages: number;
  /** Which frame of the log holds the newest version of each page. */
  readonly #frameOf = new Map<number, number>();
  /** The newest damaged frame of each page whose newest version is lost with it. */
  readonly #damaged = new Map<number, number>();
  /** Frames of the log that were synced and are damaged now. */
  readonly damagedFrames: number;
  /** Pages that there are, or were meant to be. */
  readonly pageCount: number;

  constructor({ db, wal, answered = false }: PageFiles) {
    this.#db = db === null ? null : openSync(db, "r");
    this.#wal = wal === null ? null : openSync(wal, "r");
    this.#dbPages = this.#db === null ? 0 : Math.ceil(fstatSync(this.#db).size / PAGE_BYTES);
    const frames = this.#readFrames(answered);
    const last = lastCommit(frames, answered);
    this.damagedFrames = this.#take(frames.slice(0, last + 1));
    // What stands behind the end that the last commit knew is left over from before.
    this.pageCount = last < 0 ? Math.max(this.#dbPages, this.#pagesMeant()) : frames[last]!.sizeAfter;
  }

  /** What the file's own head says of its size: a file that was cut short is missed pages of. */
  #pagesMeant(): number {
    if (this.#db === null || this.#dbPages === 0) return 0;
    const head = readAt(this.#db, 0, 100);
    const meant = head.toString("latin1", 0, 15) === "SQLite format 3" ? head.readUInt32BE(28) : 0;
    return meant <= PAGES_MEANT_MAX ? meant : 0;
  }

  close(): void {
    for (const fd of [this.#db, this.#wal]) if (fd !== null) closeSync(fd);
  }

  /** Null where there is no such page; a short one is filled up with zeros. */
  page(number: number): Page | null {
    const frame = this.#frameOf.get(number);
    const stale = this.#damaged.has(number);
    if (frame !== undefined) return { bytes: readAt(this.#wal!, frameAt(frame) + FRAME_HEADER_BYTES), stale };
    if (this.#db === null || number < 1 || number > this.#dbPages) return null;
    return { bytes: readAt(this.#db, (number - 1) * PAGE_BYTES), stale };
  }

  /** Newest versions of pages that are damaged, as they are: most of what they say may still be right. */
  *damagedPages(): Generator<[number: number, page: Page]> {
    for (const [number, frame] of this.#damaged) {
      yield [number, { bytes: readAt(this.#wal!, frameAt(frame) + FRAME_HEADER_BYTES), stale: true }];
    }
  }

  /** All frames of the log's present generation; what an older one left behind them has other salts. */
  #readFrames(answered: boolean): Frame[] {
    if (this.#wal === null) return [];
    const count = Math.floor((fstatSync(this.#wal).size - WAL_HEADER_BYTES) / FRAME_BYTES);
    if (count < 1) return [];
    const header = readAt(this.#wal, 0, WAL_HEADER_BYTES);
    const bigEndian = header.readUInt32BE(0) === WAL_MAGIC + 1;
    const sum: Sum = [0, 0];
    addTo(sum, header, 0, 24, bigEndian);
    const sound = sum[0] === header.readUInt32BE(24) && sum[1] === header.readUInt32BE(28);
    if (!sound && !answered) return [];
    const salts = (sound ? header.subarray(16, 24) : readAt(this.#wal, frameAt(0) + 8, 8)).toString("hex");
    const frames: Frame[] = [];
    let before: Sum = [header.readUInt32BE(24), header.readUInt32BE(28)];
    let strangers = 0;
    // One with other salts may be damaged; several in a row are an older generation's.
    for (let at = 0; at < count && strangers < 2; at++) {
      const bytes = readAt(this.#wal, frameAt(at), FRAME_BYTES);
      const sameLog = bytes.toString("hex", 8, 16) === salts;
      const sum: Sum = [...before];
      addTo(sum, bytes, 0, 8, bigEndian);
      addTo(sum, bytes, FRAME_HEADER_BYTES, FRAME_BYTES, bigEndian);
      before = [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
      const intact = sameLog && sum[0] === before[0] && sum[1] === before[1];
      strangers = sameLog ? 0 : strangers + 1;
      frames.push({ page: bytes.readUInt32BE(0), sizeAfter: bytes.readUInt32BE(4), intact });
    }
    return frames;
  }

  #take(frames: readonly Frame[]): number {
    let damaged = 0;
    for (const [at, { page, intact }] of frames.entries()) {
      if (intact) {
        this.#frameOf.set(page, at);
        this.#damaged.delete(page);
      } else {
        damaged += 1;
        // Should its page number be what is wrong, a page too many is held to be out of date.
        this.#damaged.set(page, at);
      }
    }
    return damaged;
  }
}

interface Frame {
  readonly page: number;
  /** Pages of the database after this commit; 0 where the frame ends none. */
  readonly sizeAfter: number;
  readonly intact: boolean;
}

/** Index of the frame that ends the last commit to be believed; -1 for none. */
function lastCommit(frames: readonly Frame[], answered: boolean): number {
  const lastIntact = frames.findLastIndex(({ intact }) => intact);
  let last = -1;
  let whole = true;
  for (const [at, { sizeAfter, intact }] of frames.entries()) {
    whole &&= intact;
    if (!intact || sizeAfter === 0) continue;
    if (!whole && !answered && at === lastIntact) break;
    last = at;
    whole = true;
  }
  return last;
}

type Sum = [number, number];

/** The log's running sum over pairs of 32-bit words. */
function addTo(sum: Sum, bytes: Buffer, from: number, to: number, bigEndian: boolean): void {
  let [a, b] = sum;
  for (let at = from; at < to; at += 8) {
    const one = bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
    const two = bigEndian ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4);
    a = (a + one + b) | 0;
    b = (b + two + a) | 0;
  }
  sum[0] = a >>> 0;
  sum[1] = b >>> 0;
}

function frameAt(frame: number): number {
  return WAL_HEADER_BYTES + frame * FRAME_BYTES;
}

function readAt(fd: number, at: number, bytes = PAGE_BYTES): Buffer {
  const buffer = Buffer.alloc(bytes);
  let filled = 0;
  while (filled < bytes) {
    const count = readSync(fd, buffer, filled, bytes - filled, at + filled);
    if (count === 0) break;
    filled += count;
  }
  return buffer;
}
