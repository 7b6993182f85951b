/** A small disk in memory, and one that is full. Needs root and the right to mount (means `mount`). */
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "./run-program.ts";

export class SmallDisk {
  readonly folder: string;

  /** Of `bytes`, mounted in a new folder in `dir`. */
  constructor(dir: string, bytes: number) {
    this.folder = join(dir, "small-disk");
    mkdirSync(this.folder);
    runProgram("mount", "-t", "tmpfs", "-o", `size=${bytes}`, "holdfast-small-disk", this.folder);
  }

  remountReadOnly(): void {
    runProgram("mount", "-o", "remount,ro", this.folder);
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.folder);
    return bavail * bsize;
  }

  /** Takes up all the room there is, beside what it took before; the function it returns gives all of it back. */
  fill(): () => void {
    const file = join(this.folder, "filling");
    const fd = openSync(file, "a");
    try {
      for (let bytes = 1 << 20; bytes >= 1; bytes = Math.floor(bytes / 2)) fillWith(fd, Buffer.alloc(bytes));
    } finally {
      closeSync(fd);
    }
    return () => rmSync(file, { force: true });
  }

  /** Lazily, since whatever still has a file open there is ended after this or with it. */
  remove(): void {
    runProgram("umount", "-l", this.folder);
  }
}

function fillWith(fd: number, block: Buffer): void {
  try {
    while (writeSync(fd, block) === block.length);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
}
