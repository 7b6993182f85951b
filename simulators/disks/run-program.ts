import { execFileSync } from "node:child_process";

/** Throws with what it said on standard error where it does not end well. */
export function runProgram(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: "pipe" });
}
