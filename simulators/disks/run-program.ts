import { execFileSync } from "node:child_process";
import { delimiter } from "node:path";

/** Where programs for root are, which not everybody's PATH names. */
const ROOT_FOLDERS = ["/usr/sbin", "/sbin"];

/** Throws with what it said on standard error where it does not end well. */
export function runProgram(command: string, ...args: string[]): void {
  const path = [process.env.PATH ?? "", ...ROOT_FOLDERS].join(delimiter);
  execFileSync(command, args, { stdio: "pipe", env: { ...process.env, PATH: path } });
}
