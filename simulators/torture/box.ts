/** What box a run was on: a report without it says nothing. Read from the system, measured where it must be. */

import { readFileSync, realpathSync, statfsSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { cpus, freemem, hostname, release, totalmem, type } from "node:os";
import { basename, join, sep } from "node:path";
import type { Clock } from "../../src/core/clock.ts";
import { table } from "./markdown.ts";
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

export interface Box {
  readonly host: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly memoryFreeBytes: number;
  readonly kernel: string;
  readonly node: string;
  readonly holdfast: string;
  readonly user: "root" | "not root";
  readonly disk: Disk;
  readonly fsync: FsyncTimes;
}

const FSYNCS = 200;
const FSYNC_BYTES = 4096;
/** A disk that is slower than this is measured with fewer. */
const FSYNC_MS_MAX = 10_000;

export async function describeBox(folder: string, clock: Clock, signal: AbortSignal): Promise<Box> {
  const [first] = cpus();
  return {
    host: hostname(),
    cpu: first?.model.trim() || "unknown",
    cores: cpus().length,
    memoryBytes: totalmem(),
    memoryFreeBytes: freemem(),
    kernel: `${type()} ${release()}`,
    node: process.version,
    holdfast: holdfastVersion(),
    user: process.getuid?.() === 0 ? "root" : "not root",
    disk: diskOf(folder),
    fsync: await measureFsync(folder, clock, signal),
  };
}

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
        const text = read(join(folder, file));
        if (text) return text;
      }
    }
  } catch {
    // Not a device of this machine's own.
  }
  return null;
}

function read(file: string): string | null {
  try {
    return readFileSync(file, "utf8").trim() || null;
  } catch {
    return null;
  }
}

export async function measureFsync(folder: string, clock: Clock, signal?: AbortSignal): Promise<FsyncTimes> {
  const file = join(folder, "fsync-measured.tmp");
  const handle = await open(file, "w");
  const block = Buffer.alloc(FSYNC_BYTES, 0x5a);
  const tookMs: number[] = [];
  const untilMs = clock.monoMs() + FSYNC_MS_MAX;
  try {
    while (tookMs.length < FSYNCS && clock.monoMs() < untilMs && !signal?.aborted) {
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

function holdfastVersion(): string {
  const manifest = read(join(import.meta.dirname, "../../package.json"));
  return manifest ? String((JSON.parse(manifest) as { version?: unknown }).version) : "unknown";
}

/** For a report. */
export function boxTable(box: Box): string {
  const { disk, fsync } = box;
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  const model = disk.model === null ? "" : ` (${disk.model})`;
  return table(
    ["", ""],
    [
      ["processor", `${box.cores} × ${box.cpu}`],
      ["memory", `${gib(box.memoryBytes)}, ${gib(box.memoryFreeBytes)} free at the start`],
      ["kernel", box.kernel],
      ["Node", `${box.node}, as ${box.user}`],
      ["Holdfast", box.holdfast],
      ["folder", disk.folder],
      ["disk", `${disk.device}${model}, ${gib(disk.sizeBytes)}, ${gib(disk.freeBytes)} free`],
      ["file system", `${disk.filesystem} at ${disk.mountPoint}, ${disk.mountOptions}`],
      [
        "fsync",
        `${fsync.count} × ${fsync.bytes} bytes: median ${fsync.medianMs.toFixed(2)} ms, p99 ${fsync.p99Ms.toFixed(2)} ms, longest ${fsync.maxMs.toFixed(2)} ms`,
      ],
    ],
  );
}
