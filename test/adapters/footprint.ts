/** What a process holds: memory, and what keeps it alive. */
import { collectGarbage } from "../support/garbage.ts";

/** After all garbage was collected; bytes. */
export async function memoryInUse(): Promise<number> {
  await collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
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
