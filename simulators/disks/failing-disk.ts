/** A disk that fails, to a process that runs: strace answers its calls on one file in the kernel's place. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { means } from "../torture/means.ts";

/** System calls by which SQLite writes and syncs; which of the two syncs it uses depends on how it was built. */
const CALLS = { write: "pwrite64", sync: "fsync,fdatasync" } as const;
export type DiskCall = keyof typeof CALLS;

export interface DiskFailure {
  readonly pid: number;
  readonly file: string;
  readonly call: DiskCall;
}

/** Resolves when every such call will fail with EIO from now on, to what ends that. Needs the means `strace`. */
export async function failDisk({ pid, file, call }: DiskFailure): Promise<() => void> {
  const inject = `inject=${CALLS[call]}:error=EIO`;
  const args = ["-f", "-p", String(pid), "-P", file, "-e", `trace=${CALLS[call]}`, "-e", inject];
  const strace = spawn(means("strace").path, args, { stdio: ["ignore", "ignore", "pipe"] });
  const lines = createInterface({ input: strace.stderr! });
  await new Promise<void>((resolve, reject) => {
    lines.on("line", (line) => {
      if (line.includes("attached")) resolve();
    });
    strace.once("close", (code) => reject(new Error(`strace ended with ${code}`)));
  });
  return () => void strace.kill();
}
