/** What box a run was on: a report without it says nothing. Read from the system, measured where it must be. */
import { cpus, freemem, hostname, release, totalmem, type } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../src/core/clock.ts";
import { type Disk, diskOf, type FsyncTimes, measureFsync, readLine } from "../../src/core/disk.ts";
import { table } from "./markdown.ts";

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
    fsync: await measureFsync(folder, clock, { signal }),
  };
}

function holdfastVersion(): string {
  const manifest = readLine(join(import.meta.dirname, "../../package.json"));
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
