/** SIGTERM and SIGINT, for a command that has something to finish before it ends. */
import { constants } from "node:os";
import { MessageChannel } from "node:worker_threads";
import { type Clock, systemClock } from "../core/clock.ts";

const SIGNALS = ["SIGTERM", "SIGINT"] as const;

/** Nobody asks twice within this: programs such as timeout(1) tell the process, and then its group with it in it. */
const ONE_ASKING_MS = 300;

/** The part of `process` that is used here. */
export interface SignalSource {
  on(event: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(event: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  exit(code: number): never;
}

/**
 * Calls `stop` at the first signal, once. The second one ends the process at once, with 128 + its number as
 * shells have it. Returns a function that takes the listeners away again.
 */
export function onTerminate(
  stop: (signal: NodeJS.Signals) => void,
  source: SignalSource = process,
  clock: Pick<Clock, "monoMs"> = systemClock,
): () => void {
  let askedAtMs: number | null = null;
  const listener = (signal: NodeJS.Signals) => {
    if (askedAtMs === null) {
      askedAtMs = clock.monoMs();
      stop(signal);
    } else if (clock.monoMs() - askedAtMs > ONE_ASKING_MS) {
      source.exit(128 + constants.signals[signal]);
    }
  };
  for (const signal of SIGNALS) source.on(signal, listener);
  return () => {
    for (const signal of SIGNALS) source.off(signal, listener);
  };
}

/**
 * Keeps the process alive until the function that it returns is called. Timers of core/clock.ts do not, and
 * while a command waits for one there may be nothing else.
 */
export function keepAlive(): () => void {
  const { port1, port2 } = new MessageChannel();
  port1.ref();
  return () => {
    port1.close();
    port2.close();
  };
}
