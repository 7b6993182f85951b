/**
 * Room on the disk that is kept for the day when there is none: a file beside the store that holds nothing.
 *
 * On a full disk it is given up, so that outcomes can still be recorded, the log be folded into the store, and a
 * start be made: emptying itself is how a full gateway makes room. New messages wait until it has been taken again.
 * It is as large as what the log may hold that is not in the store yet (see its size in thread-loop.ts), so that all of
 * it has room there.
 *
 * States: absent (there was never room for it; then a full disk stops outcomes, too) → held ⇄ given. `given` is an
 * empty file, so that the next start knows. One that is smaller than wanted, of an older version or cut short by a power
 * failure, is held as it is until there is room for all of it.
 *
 * What it trades: so many bytes of the disk, written once and again after each time that the disk was full. It is
 * taken only where as much is free beside it, so that a disk that is almost full is not written to over and over.
 */
import { closeSync, openSync, statfsSync, statSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import { systemRandom } from "../core/random.ts";

const BALLAST_FILE = "store.ballast";
const BLOCK_BYTES = 2 ** 20;
/** A start with less than this is given the ballast. */
const START_BYTES = 4 * 2 ** 20;

export class Ballast {
  readonly #dataDir: string;
  readonly #file: string;
  readonly #bytes: number;
  /** Null where it is absent, 0 where it is given. */
  #held: number | null;

  constructor(dataDir: string, bytes: number) {
    this.#dataDir = dataDir;
    this.#file = join(dataDir, BALLAST_FILE);
    this.#bytes = bytes;
    this.#held = statSync(this.#file, { throwIfNoEntry: false })?.size ?? null;
  }

  /** True while it is given up: new messages must wait. */
  get given(): boolean {
    return this.#held === 0;
  }

  /** Whether so many bytes have room, be it with the ballast's. */
  covers(bytes: number): boolean {
    return bytes <= (this.#held ?? 0) || bytes <= this.#freeBytes();
  }

  giveForStart(): void {
    if (this.#freeBytes() < Math.min(START_BYTES, this.#bytes)) this.give();
  }

  give(): void {
    if (!this.#held) return;
    truncateSync(this.#file, 0);
    this.#held = 0;
  }

  /** Takes it, or what is missing of it, where there is room. */
  take(): void {
    const held = this.#held ?? 0;
    if (held >= this.#bytes || held + this.#freeBytes() < 2 * this.#bytes) return;
    try {
      this.#write();
      this.#held = this.#bytes;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
      // Somebody was faster.
      truncateSync(this.#file, 0);
      this.#held = 0;
    }
  }

  #write(): void {
    // Not zeros: a file system that compresses would keep no room for them.
    const block = Buffer.alloc(Math.min(BLOCK_BYTES, this.#bytes));
    systemRandom().fill(block);
    const fd = openSync(this.#file, "w");
    try {
      for (let left = this.#bytes; left > 0; ) left -= writeSync(fd, block, 0, Math.min(left, block.length));
    } finally {
      closeSync(fd);
    }
  }

  #freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.#dataDir);
    return bavail * bsize;
  }
}
