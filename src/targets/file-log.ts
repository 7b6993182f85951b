/**
 * The numbered files of a `file` target, as one log to append to: 00000001.ndjson, 00000002.ndjson, …
 * Never renamed; the highest number is being written, all others are finished.
 *
 * States: closed → open → ending → closed. A failed write is cut off again and the file goes on. A failed fsync
 * ends the file: the kernel may have dropped the pages and call them clean, so it is cut back to the last byte
 * known to be on the disk, and the next append begins a new one. No file is begun before the end of the one
 * before it is on the disk: a power cut may change the end of the last one only, which a start looks through.
 */
import { join } from "node:path";
import { type Clock, wallClockTrusted } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { Disk, DiskFile } from "./file-disk.ts";
import { holesBegin, keysBackwards, wholeLinesEnd } from "./file-tail.ts";

const FILE_NAME = /^(\d{8,15})\.ndjson$/;

/** The file that is being written. */
interface Open {
  readonly number: number;
  readonly file: DiskFile;
  /** Up to here everything is fsynced. */
  bytes: number;
  /** On the mono clock; before this run for a file that was begun before it. */
  readonly bornMonoMs: number;
}

export interface FileLogOptions {
  readonly folder: string;
  readonly rotateBytes: number;
  readonly rotateEveryMs: number | undefined;
  readonly keepFiles: number | undefined;
  readonly tailIds: number;
  /** At most so many bytes are written between two fsyncs. */
  readonly unsyncedBytesMax: number;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** `unknown`: it could not be taken back either, so the lines may be there or not. */
export type Appended =
  | { readonly kind: "written" }
  | { readonly kind: "not written" | "unknown"; readonly reason: string };

export class FileLog {
  readonly #options: FileLogOptions;
  #open: Open | null = null;
  /** Not written to any more, and perhaps cut back, which is not on the disk for certain. */
  #ending: Open | null = null;
  /** The last number used, by us or by anybody before. */
  #number = 0;
  #resumed = false;

  constructor(options: FileLogOptions) {
    this.#options = options;
  }

  /** Path and fsynced length of the open file; null where none is. */
  get current(): { readonly path: string; readonly bytes: number } | null {
    return this.#open && { path: this.#path(this.#open.number), bytes: this.#open.bytes };
  }

  /**
   * Opens the log; rejects where the disk will not have it. The first time it resolves to the keys of the
   * last lines of earlier runs, oldest first, which from here on are on the disk for certain.
   */
  async open(): Promise<string[]> {
    if (this.#open) return [];
    await this.#end();
    const numbers = numbersOf(await this.#options.disk.list(this.#options.folder));
    const last = numbers.at(-1);
    if (!this.#resumed && last !== undefined) {
      const keys = await this.#resume(last, numbers.at(-2));
      this.#resumed = true;
      return keys;
    }
    this.#number = Math.max(this.#number, last ?? 0);
    await this.#begin();
    this.#resumed = true;
    return [];
  }

  /** Appends to the open log; never rejects. `written` means fsynced. */
  async append(lines: Buffer): Promise<Appended> {
    const open = this.#open;
    if (!open) return { kind: "not written", reason: "no file is open" };
    try {
      await open.file.write(lines, open.bytes);
    } catch (error) {
      return (await this.#cutBack(open)) ? notWritten(error) : this.#giveUp(open, error);
    }
    try {
      await open.file.sync();
    } catch (error) {
      if (!(await this.#cutBack(open))) return this.#giveUp(open, error);
      // Where that fails too, open() does it before anything else.
      await this.#end(open).catch(() => {});
      return notWritten(error);
    }
    open.bytes += lines.length;
    return { kind: "written" };
  }

  async #cutBack(open: Open): Promise<boolean> {
    try {
      await open.file.truncate(open.bytes);
      return true;
    } catch {
      return false;
    }
  }

  /** Ends this file, or the one that could not be ended before. Rejects where the disk will not have it. */
  async #end(open: Open | null = this.#ending): Promise<void> {
    if (!open) return;
    this.#open = null;
    this.#ending = open;
    await open.file.sync();
    const { bytes } = await open.file.stat();
    await this.close();
    if (bytes === 0) await this.#options.disk.remove(this.#path(open.number)).catch(() => {});
  }

  async #giveUp(open: Open, error: unknown): Promise<Appended> {
    await this.close();
    const reason = `${errorText(error)}; what was written to ${this.#path(open.number)} could not be taken back`;
    return { kind: "unknown", reason };
  }

  /** Begins a new file where the open one is due, or was written to by somebody else. Rejects like open(). */
  async rotateIfDue(): Promise<void> {
    const open = this.#open;
    if (!open) return;
    const { rotateBytes, rotateEveryMs, keepFiles, clock, logger } = this.#options;
    const { bytes } = await open.file.stat();
    const foreign = bytes !== open.bytes;
    if (foreign)
      logger.warn({ path: this.#path(open.number), bytes, left: open.bytes }, "changed by another program");
    const old = rotateEveryMs !== undefined && clock.monoMs() - open.bornMonoMs >= rotateEveryMs;
    const due = open.bytes > 0 && (open.bytes >= rotateBytes || old);
    if (!foreign && !due) return;
    await this.#end(open);
    this.#number = Math.max(
      this.#number,
      numbersOf(await this.#options.disk.list(this.#options.folder)).at(-1) ?? 0,
    );
    await this.#begin();
    if (keepFiles !== undefined) await this.#removeBeyond(keepFiles);
  }

  async #removeBeyond(keepFiles: number): Promise<void> {
    const { disk, folder, logger } = this.#options;
    for (const number of numbersOf(await disk.list(folder)).slice(0, -keepFiles)) {
      await disk.remove(this.#path(number)).catch((error) => {
        logger.warn({ path: this.#path(number), error: errorText(error) }, "cannot remove");
      });
    }
  }

  /** Fsyncs the open file, to see whether the disk is well. Rejects where it is not. */
  async check(): Promise<void> {
    const open = this.#open;
    try {
      await open?.file.sync();
    } catch (error) {
      await this.#end(open).catch(() => {});
      throw error;
    }
  }

  async close(): Promise<void> {
    const open = this.#open ?? this.#ending;
    this.#open = null;
    this.#ending = null;
    await open?.file.close().catch(() => {});
  }

  /** Takes up the last file of an earlier run, its end mended. */
  async #resume(number: number, previous: number | undefined): Promise<string[]> {
    const { disk, clock, logger, tailIds, unsyncedBytesMax } = this.#options;
    const file = await disk.open(this.#path(number), "existing");
    try {
      const { bytes, bornMs } = await file.stat();
      const end = await holesBegin(file, await wholeLinesEnd(file, bytes), unsyncedBytesMax);
      if (end < bytes) {
        await file.truncate(end);
        logger.warn(
          { path: this.#path(number), bytes: bytes - end },
          "what a power cut left of lines that were not fsynced was removed",
        );
      }
      // Whole lines of a run that died before its fsync: they count as written, so they have to be.
      await file.sync();
      const keys = await lastKeys(file, end, tailIds);
      if (previous !== undefined && keys.length < tailIds) {
        const older = await disk.open(this.#path(previous), "existing");
        try {
          const { bytes: olderBytes } = await older.stat();
          await older.sync();
          keys.push(
            ...(await lastKeys(older, await wholeLinesEnd(older, olderBytes), tailIds - keys.length)),
          );
        } finally {
          await older.close();
        }
      }
      const wallMs = clock.wallMs();
      const believable = wallClockTrusted(wallMs) && wallClockTrusted(bornMs) && wallMs > bornMs;
      this.#number = number;
      this.#open = {
        number,
        file,
        bytes: end,
        bornMonoMs: clock.monoMs() - (believable ? wallMs - bornMs : 0),
      };
      return keys.reverse();
    } catch (error) {
      await file.close().catch(() => {});
      throw error;
    }
  }

  async #begin(): Promise<void> {
    const { disk, folder, clock } = this.#options;
    const number = this.#number + 1;
    const file = await disk.open(this.#path(number), "create");
    this.#number = number;
    try {
      await disk.syncFolder(folder);
    } catch (error) {
      await file.close().catch(() => {});
      throw error;
    }
    this.#open = { number, file, bytes: 0, bornMonoMs: clock.monoMs() };
  }

  #path(number: number): string {
    return join(this.#options.folder, `${String(number).padStart(8, "0")}.ndjson`);
  }
}

const notWritten = (error: unknown): Appended => ({ kind: "not written", reason: errorText(error) });

/** Newest first. */
async function lastKeys(file: DiskFile, end: number, max: number): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of keysBackwards(file, end, max)) keys.push(key);
  return keys;
}

/** Numbers of the files that are ours, ascending. */
function numbersOf(names: readonly string[]): number[] {
  return names
    .map((name) => Number(FILE_NAME.exec(name)?.[1] ?? 0))
    .filter((number) => number > 0)
    .sort((a, b) => a - b);
}
