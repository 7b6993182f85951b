/** Whether what was read just now is what a command's precondition asks for. Pure. */
import type { Comparison } from "../core/command.ts";

/** Null where the two cannot be compared so. */
export function holds(found: unknown, is: Comparison, wanted: unknown): boolean | null {
  if (found === null || typeof found !== typeof wanted || typeof found === "object") return null;
  if (is === "=") return found === wanted;
  if (is === "!=") return found !== wanted;
  if (typeof found !== "number" || typeof wanted !== "number") return null;
  if (is === "<") return found < wanted;
  if (is === "<=") return found <= wanted;
  return is === ">" ? found > wanted : found >= wanted;
}
