/** A disk whose power can be cut. Needs root, loop devices, mkfs.ext4 and python3 (means `power-cut`). */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "./run-program.ts";

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
    runProgram("truncate", "-s", `${DISK_MIB}M`, this.#image);
    runProgram("mkfs.ext4", "-q", "-F", this.#image);
    this.#mount();
  }

  #mount(): void {
    runProgram("mount", "-o", "loop", this.#image, this.folder);
    this.#mounted = true;
  }

  /** Whoever writes to it should be stopped (SIGSTOP) before, and must be gone before powerOn(). */
  cutPower(): void {
    runProgram("python3", "-c", CUT, this.folder);
  }

  powerOn(): void {
    runProgram("umount", this.folder);
    this.#mounted = false;
    this.#mount();
  }

  remove(): void {
    if (this.#mounted) runProgram("umount", "-l", this.folder);
    this.#mounted = false;
  }
}
