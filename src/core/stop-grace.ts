/** What was sent before a stop may still be answered: it is waited for, and not for long. */
import type { Clock, Timer } from "./clock.ts";

/**
 * How long what was sent already may still be answered after the stop signal. Answers that come within it
 * spare the backend a resend at the next start.
 */
export const STOP_GRACE_MS = 500;

/** Runs `fn` when the grace after `signal`'s abort is over. Call the result when there is nothing to wait for. */
export function afterStopGrace(clock: Clock, signal: AbortSignal, fn: () => void): () => void {
  let timer: Timer | null = null;
  const arm = () => {
    timer = clock.after(STOP_GRACE_MS, fn);
  };
  if (signal.aborted) arm();
  else signal.addEventListener("abort", arm, { once: true });
  return () => {
    signal.removeEventListener("abort", arm);
    timer?.cancel();
  };
}
