/** A disk as a program may know it: what it is, where it is mounted, and how long its fsync takes. */
import { existsSync, readFileSync, realpathSync, statfsSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import type { Clock } from "./clock.ts";
import { percentile } from "./percentile.ts";

export interface Disk {
  readonly folder: string;
  /** "/dev/sda1", "overlay", "tmpfs" */
  readonly device: string;
  readonly filesystem: string;
  readonly mountPoint: string;
  readonly mountOptions: string;
  /** Of the block device where the system knows it, else null. */
  readonly model: string | null;
  readonly sizeBytes: number;
  readonly freeBytes: number;
}

export interface FsyncTimes {
  readonly count: number;
  readonly bytes: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const FSYNCS = 200;
const FSYNC_BYTES = 4096;
/** A disk that is slower than this is measured with fewer. */
const FSYNC_MS_MAX = 10_000;

/** The mount that a folder lies on: the longest mount point above it, the last where one lies over another. */
export function mountOf(
  folder: string,
  mounts: string,
): Pick<Disk, "device" | "filesystem" | "mountPoint" | "mountOptions"> {
  let found = { device: "unknown", mountPoint: "", filesystem: "unknown", mountOptions: "" };
  for (const line of mounts.split("\n")) {
    const [device, mountPoint, filesystem, mountOptions] = line.split(" ").map(unescaped);
    if (!device || !mountPoint || !filesystem) continue;
    const above = mountPoint === "/" || folder === mountPoint || folder.startsWith(mountPoint + sep);
    if (above && mountPoint.length >= found.mountPoint.length) {
      found = { device, mountPoint, filesystem, mountOptions: mountOptions ?? "" };
    }
  }
  return found;
}

/** /proc/mounts writes a space as \040; see proc(5) and getmntent(3). */
const unescaped = (text: string) =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

export function readMounts(): string {
  try {
    return readFileSync("/proc/mounts", "utf8");
  } catch {
    return "";
  }
}

/** The folder itself, or the nearest one above it that exists: where it would be made. */
export function nearestFolder(folder: string): string {
  let found = folder;
  while (!existsSync(found) && dirname(found) !== found) found = dirname(found);
  return found;
}

export function diskOf(folder: string): Disk {
  const real = realpathSync(folder);
  const mount = mountOf(real, readMounts());
  const { bsize, blocks, bavail } = statfsSync(real);
  return {
    folder: real,
    ...mount,
    model: modelOf(mount.device),
    sizeBytes: bsize * blocks,
    freeBytes: bsize * bavail,
  };
}

/** A partition's model stands with the disk that it is a part of. */
function modelOf(device: string): string | null {
  if (!device.startsWith("/dev/")) return null;
  try {
    const block = join("/sys/class/block", basename(realpathSync(device)));
    for (const folder of [block, join(realpathSync(block), "..")]) {
      for (const file of ["device/model", "device/name"]) {
        const text = readLine(join(folder, file));
        if (text) return text;
      }
    }
  } catch {
    // Not a device of this machine's own.
  }
  return null;
}

/** A line of the system's, such as those of /sys; null where it is not there. */
export function readLine(file: string): string | null {
  try {
    return readFileSync(file, "utf8").trim() || null;
  } catch {
    return null;
  }
}

/** Writes and syncs a file in `folder`, again and again, and removes it. */
export async function measureFsync(
  folder: string,
  clock: Clock,
  { signal, count = FSYNCS }: { readonly signal?: AbortSignal; readonly count?: number } = {},
): Promise<FsyncTimes> {
  const file = join(folder, "fsync-measured.tmp");
  const handle = await open(file, "w");
  const block = Buffer.alloc(FSYNC_BYTES, 0x5a);
  const tookMs: number[] = [];
  const untilMs = clock.monoMs() + FSYNC_MS_MAX;
  try {
    while (tookMs.length < count && clock.monoMs() < untilMs && !signal?.aborted) {
      await handle.write(block, 0, block.length, tookMs.length * FSYNC_BYTES);
      const fromMs = clock.monoMs();
      await handle.sync();
      tookMs.push(clock.monoMs() - fromMs);
    }
  } finally {
    await handle.close();
    await rm(file, { force: true });
  }
  tookMs.sort((a, b) => a - b);
  return {
    count: tookMs.length,
    bytes: FSYNC_BYTES,
    medianMs: percentile(tookMs, 0.5),
    p99Ms: percentile(tookMs, 0.99),
    maxMs: percentile(tookMs, 1),
  };
}
