/**
 * What a trial left behind on this machine: mounts in its folder, and processes that name its folder on their
 * command line or work in it. The folder's name is one of a kind, so nothing of anybody else is meant.
 */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { sep } from "node:path";
import { readMounts } from "../../src/core/disk.ts";
import { runProgram } from "../disks/run-program.ts";

/** Takes it away, and says what it was. */
export async function takeAway(folder: string): Promise<string[]> {
  const real = realpathSync(folder);
  const left: string[] = [];
  for (const { pid, what } of processesOf(real)) {
    try {
      process.kill(pid, "SIGKILL");
      left.push(`the process ${what}`);
    } catch {
      // It has ended by itself in the meantime.
    }
  }
  for (const mountPoint of mountsBelow(real)) {
    left.push(`the mount ${mountPoint}`);
    try {
      runProgram("umount", "-l", mountPoint);
    } catch (error) {
      left.push(`(and it cannot be taken away: ${error instanceof Error ? error.message : error})`);
    }
  }
  return left;
}

/** The deepest first. */
function mountsBelow(folder: string): string[] {
  return readMounts()
    .split("\n")
    .map((line) => (line.split(" ")[1] ?? "").replaceAll("\\040", " "))
    .filter((mountPoint) => mountPoint === folder || mountPoint.startsWith(folder + sep))
    .toSorted((a, b) => b.length - a.length);
}

function processesOf(folder: string): { pid: number; what: string }[] {
  const found: { pid: number; what: string }[] = [];
  for (const entry of entries("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      const isOurs = words.some((word) => word.includes(folder + sep) || word === folder);
      const worksThere = () => `${readlinkSync(`/proc/${pid}/cwd`)}${sep}`.startsWith(folder + sep);
      if (words[0] !== "" && (isOurs || worksThere())) {
        found.push({ pid, what: words.filter(Boolean).slice(0, 3).join(" ") });
      }
    } catch {
      // It has ended, or belongs to somebody else.
    }
  }
  return found;
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // no /proc here
  }
}
