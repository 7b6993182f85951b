/**
 * A disk that fails at a chosen moment, to a process that is started with it: strace counts the process's writes
 * and syncs and, at the N-th, answers in the kernel's place or kills the process. Needs the means `strace`.
 */
import { readFileSync, statSync } from "node:fs";
import { type Clock, sleep } from "../../src/core/clock.ts";
import { means } from "../torture/means.ts";

/** By which SQLite writes and syncs; which of the two syncs it uses depends on how it was built. */
export const DISK_CALLS = ["pwrite64", "fsync", "fdatasync"] as const;
export type DiskCallName = (typeof DISK_CALLS)[number];

/** How long a call is held; whoever waits for it kills the process long before. */
const HELD_S = 600;
const LOOK_MS = 5;

/** `n` counts from 1, for each call and each thread by itself: the store's thread makes them all. */
export type CallFault =
  /** The process is held as it makes the call, which is not carried out: for `untilHeld`, and to be killed then. */
  | { readonly kind: "kill"; readonly call: DiskCallName; readonly n: number }
  /** The call fails with EIO, once. */
  | { readonly kind: "io-error"; readonly call: DiskCallName; readonly n: number }
  /** There is no room, from the N-th write on, for so many writes. */
  | { readonly kind: "no-room"; readonly call: "pwrite64"; readonly n: number; readonly writes: number }
  /** The process is stopped, as by SIGSTOP, at a write to this file. */
  | { readonly kind: "stop"; readonly file: string; readonly n: number };

function injection(fault: CallFault): readonly string[] {
  switch (fault.kind) {
    case "kill":
      return ["-e", `inject=${fault.call}:delay_enter=${HELD_S}s:when=${fault.n}`];
    case "io-error":
      return ["-e", `inject=${fault.call}:error=EIO:when=${fault.n}`];
    case "no-room":
      return ["-e", `inject=pwrite64:error=ENOSPC:when=${fault.n}..${fault.n + fault.writes - 1}`];
    case "stop":
      return ["-P", fault.file, "-e", `inject=pwrite64:signal=STOP:when=${fault.n}`];
  }
}

/** The words to start a command with (GatewayProcess.under). Each call is written to `record`, if one is given. */
export function callsUnder(fault: CallFault | null, record = "/dev/null"): readonly string[] {
  // -D: the process stays our child, and the tracer goes when it does. With --seccomp-bpf all other calls cost nothing,
  // and strace sends no signals.
  const quick = fault?.kind === "stop" ? [] : ["--seccomp-bpf"];
  const options = ["-D", "-f", "-y", "-qq", ...["-s", "0"], ...["-o", record], ...["-e", "signal=none"]];
  const words = [...quick, ...options, "-e", `trace=${DISK_CALLS.join(",")}`];
  return [means("strace").path, ...words, ...(fault ? injection(fault) : []), "--"];
}

/** Resolves with true when a thread has come to its n-th such call, as `record` says; with false when given up. */
export async function untilHeld(
  record: string,
  { call, n }: CallFault & { kind: "kill" },
  clock: Clock,
  signal: AbortSignal,
): Promise<boolean> {
  let size = 0;
  while (!signal.aborted) {
    const sizeNow = statSync(record, { throwIfNoEntry: false })?.size ?? 0;
    if (sizeNow > size && readCalls(record).counts[call] >= n) return true;
    size = sizeNow;
    await sleep(clock, LOOK_MS, signal);
  }
  return false;
}

/** SIGKILL to a process that is held. Its tracer would not notice, and keep its pipes open until the hold was over. */
export function killHeld(pid: number): void {
  const [, tracer = "0"] = /^TracerPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  process.kill(pid, "SIGKILL");
  if (tracer !== "0") process.kill(Number(tracer), "SIGKILL");
}

export interface RecordedCalls {
  /** Calls made by the thread that made most of them. */
  readonly counts: Readonly<Record<DiskCallName, number>>;
  /** Those that were answered in the kernel's place, in order. */
  readonly injected: readonly { readonly call: string; readonly file: string }[];
}

/** What a record holds: `4711 pwrite64(17</data/store.db>, …) = 4096`, `4711 fsync(17</data>) = -1 EIO (…) (INJECTED)`. */
export function readCalls(record: string): RecordedCalls {
  const text = readFileSync(record, "utf8");
  const byThread = new Map<string, number>();
  const counts = { pwrite64: 0, fsync: 0, fdatasync: 0 };
  for (const [, thread, call] of text.matchAll(/^(\d+) +(pwrite64|fsync|fdatasync)\(/gm)) {
    const key = `${thread} ${call}`;
    const n = (byThread.get(key) ?? 0) + 1;
    byThread.set(key, n);
    counts[call as DiskCallName] = Math.max(counts[call as DiskCallName], n);
  }
  const answered = text.matchAll(/^\d+ +(\w+)\(\d+<([^>]*)>.*\(INJECTED\)$/gm);
  return { counts, injected: [...answered].map(([, call = "", file = ""]) => ({ call, file })) };
}
