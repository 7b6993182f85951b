/**
 * Disks for one test, mounted where it says and gone when it is over: one that is small, and one whose power can
 * be cut. Both need root and the right to mount (test/support/capabilities.ts: `mount`, `power-cut`).
 */
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";

const run = (command: string, ...args: string[]) => execFileSync(command, args, { stdio: "pipe" });

/** A disk of `bytes` in memory; its folder. */
export function smallDisk(dir: string, bytes: number): string {
  const folder = join(dir, "small-disk");
  mkdirSync(folder);
  run("mount", "-t", "tmpfs", "-o", `size=${bytes}`, "holdfast-test", folder);
  // Lazily, since whatever still has a file open there is ended after this or with it.
  onTestFinished(() => void run("umount", "-l", folder));
  return folder;
}

export function remountReadOnly(folder: string): void {
  run("mount", "-o", "remount,ro", folder);
}

/** Takes up all the room there is; the function it returns gives it back. */
export function fillDisk(folder: string): () => void {
  const file = join(folder, "ballast");
  const fd = openSync(file, "w");
  try {
    for (let bytes = 1 << 20; bytes >= 1; bytes = Math.floor(bytes / 2)) fillWith(fd, Buffer.alloc(bytes));
  } finally {
    closeSync(fd);
  }
  return () => rmSync(file);
}

function fillWith(fd: number, block: Buffer): void {
  try {
    while (writeSync(fd, block) === block.length);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
}

const DISK_MIB = 64;

/**
 * Power cut, to ext4: nothing more reaches the disk, not even the journal of what the file system holds in memory.
 * EXT4_IOC_SHUTDOWN is _IOR('X', 125, __u32), and 2 is EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h).
 */
const CUT = `
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
`;

/** A disk on which only what was synced is there after a power cut. */
export class PowerCutDisk {
  readonly folder: string;
  readonly #image: string;
  #mounted = false;

  constructor(dir: string) {
    this.folder = join(dir, "disk");
    this.#image = join(dir, "disk.img");
    mkdirSync(this.folder);
    run("truncate", "-s", `${DISK_MIB}M`, this.#image);
    run("mkfs.ext4", "-q", "-F", this.#image);
    this.#mount();
    onTestFinished(() => {
      if (this.#mounted) run("umount", "-l", this.folder);
    });
  }

  #mount(): void {
    run("mount", "-o", "loop", this.#image, this.folder);
    this.#mounted = true;
  }

  /** Whoever writes to it should be stopped (SIGSTOP) before, and must be gone before powerOn(). */
  cutPower(): void {
    run("python3", "-c", CUT, this.folder);
  }

  powerOn(): void {
    run("umount", this.folder);
    this.#mounted = false;
    this.#mount();
  }
}
