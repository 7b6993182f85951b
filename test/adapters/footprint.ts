/** What a process holds: memory, and what keeps it alive. */
import { sleep, systemClock } from "../../src/core/clock.ts";
import { collectGarbage } from "../support/garbage.ts";

const LOOK_EVERY_MS = 100;
const LOOKS_MAX = 20;
const STILL_BYTES = 64 * 1024;

/** After all garbage was collected; bytes. */
export async function memoryInUse(): Promise<number> {
  await collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** As soon as it falls no more: what an earlier test has left behind would hide what is kept meanwhile. */
export async function memoryAtRest(): Promise<number> {
  let least = await memoryInUse();
  for (let looks = 0; looks < LOOKS_MAX; looks++) {
    await sleep(systemClock, LOOK_EVERY_MS);
    const now = await memoryInUse();
    if (now >= least - STILL_BYTES) break;
    least = now;
  }
  return least;
}

/** What keeps the process alive, counted by kind. */
export function openHandles(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

const WATCHED = ["TCPSocketWrap", "FSReqCallback", "FSReqPromise", "FILEHANDLE"];

/** Whether none of what may leak has become more. */
export function fewer(after: Record<string, number>, before: Record<string, number>): boolean {
  return WATCHED.every((kind) => (after[kind] ?? 0) <= (before[kind] ?? 0));
}
