/** What Linux says of a running process; null where the system does not tell. */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";

/** Memory that it has in RAM now, and has had at most. */
export function memoryOf(pid: number): { readonly rssBytes: number; readonly peakBytes: number } | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const bytes = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1024;
    return { rssBytes: bytes("VmRSS"), peakBytes: bytes("VmHWM") };
  } catch {
    return null;
  }
}

/** Sockets it has open, those included that it listens on. */
export function socketsOf(pid: number): number | null {
  try {
    const folder = `/proc/${pid}/fd`;
    return readdirSync(folder).filter((fd) => {
      try {
        return readlinkSync(`${folder}/${fd}`).startsWith("socket:");
      } catch {
        return false;
      }
    }).length;
  } catch {
    return null;
  }
}

/** The peak is counted from now on; see proc(5), clear_refs. */
export function forgetPeak(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
  } catch {
    // Then it is the peak since the start, which is no less.
  }
}

/** CPU time in clock ticks: all that this machine has spent, and what these processes have. */
export interface CpuTicks {
  readonly busy: number;
  readonly ours: number;
}

export function cpuTicks(pids: readonly number[]): CpuTicks | null {
  try {
    const [, ...all] = readFileSync("/proc/stat", "utf8").split("\n")[0]!.trim().split(/\s+/);
    const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = all.map(Number);
    const ours = pids.map((pid) => {
      // The name in parentheses may hold blanks; user and system time are the 12th and 13th behind it.
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ");
      return Number(fields[11]) + Number(fields[12]);
    });
    return { busy: user + nice + system + irq + softirq, ours: ours.reduce((sum, ticks) => sum + ticks, 0) };
  } catch {
    return null;
  }
}

const TICKS_PER_SECOND = 100;

/** How many cores others kept busy between the two readings; 0 where it is not known. */
export function coresOfOthers(from: CpuTicks | null, to: CpuTicks | null, ms: number): number {
  if (!from || !to || ms <= 0) return 0;
  const ticks = to.busy - from.busy - (to.ours - from.ours);
  return Math.min(cpus().length, Math.max(0, ticks / TICKS_PER_SECOND / (ms / 1000)));
}
