/** What processes cost: time on the processor, and the most memory. Null where the system does not say (no /proc). */
import { readFileSync } from "node:fs";
import type { Clock } from "../src/core/clock.ts";

export interface Usage {
  /** User and system time, ms. */
  readonly cpuMs: number | null;
  /** Of one core, since the meter began. */
  readonly cpuShare: number | null;
  /** The most that was resident at once. */
  readonly rssBytesMax: number | null;
}

/** clock_getres of /proc's times: USER_HZ, which Linux fixes at 100 for everything that it shows. */
const TICK_MS = 10;

/** Follows one process after the other: a gateway that is killed and started again is one thing to measure. */
export class UsageMeter {
  readonly #clock: Clock;
  readonly #beganMs: number;
  readonly #pid: () => number | undefined;
  readonly #cpuMs = new Map<number, { readonly before: number; last: number }>();
  #rssBytesMax: number | null = null;

  constructor(clock: Clock, pid: () => number | undefined) {
    this.#clock = clock;
    this.#pid = pid;
    this.#beganMs = clock.monoMs();
    this.look({ first: true });
  }

  /** Often enough that no process ends unseen. What it cost before the meter began does not count. */
  look({ first = false } = {}): void {
    const pid = this.#pid();
    const now = pid === undefined ? null : readUsage(pid);
    if (pid === undefined || !now) return;
    const known = this.#cpuMs.get(pid);
    if (known) known.last = now.cpuMs;
    else this.#cpuMs.set(pid, { before: first ? now.cpuMs : 0, last: now.cpuMs });
    this.#rssBytesMax = Math.max(this.#rssBytesMax ?? 0, now.rssBytesMax);
  }

  read(): Usage {
    this.look();
    if (this.#cpuMs.size === 0) return { cpuMs: null, cpuShare: null, rssBytesMax: null };
    const cpuMs = [...this.#cpuMs.values()].reduce((sum, { before, last }) => sum + last - before, 0);
    const tookMs = this.#clock.monoMs() - this.#beganMs;
    return { cpuMs, cpuShare: cpuMs / Math.max(1, tookMs), rssBytesMax: this.#rssBytesMax };
  }
}

function readUsage(pid: number): { readonly cpuMs: number; readonly rssBytesMax: number } | null {
  try {
    // The name, in brackets, may hold anything: what counts stands behind it (proc(5)).
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const peak = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    const cpuMs = (Number(fields[11]) + Number(fields[12])) * TICK_MS;
    return { cpuMs, rssBytesMax: Number(peak ?? 0) * 1024 };
  } catch {
    return null;
  }
}
