/** What the commands with simulated machines (simulate, replay, demo, torture, soak) have in common. */
import { InvalidArgumentError } from "commander";
import { parseDurationMs } from "../core/units.ts";
import { keepAlive, onTerminate } from "./signals.ts";

/**
 * Gives `run` a signal that aborts at Ctrl-C or SIGTERM, so that it can clear up, and keeps the process alive
 * until it is done: timers of core/clock.ts do not, and between two connections there is nothing else.
 */
export async function untilDone<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const forgetSignals = onTerminate((name) => stop.abort(new Interrupted(name)));
  const letGo = keepAlive();
  try {
    return await run(stop.signal);
  } finally {
    letGo();
    forgetSignals();
  }
}

/** Why a run was broken off; not a failure of it. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  /** As shells have it: 128 + the signal's number. */
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super(`stopped by ${signal}`);
    this.exitCode = signal === "SIGINT" ? 130 : 143;
  }
}

/** `mqtt://host:port`, or an error that commander shows. */
export function mqttUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol !== "mqtt:" || url.hostname === "") {
    throw new InvalidArgumentError("expected mqtt://host:port (plain MQTT; TLS is not offered here).");
  }
  return url;
}

export const hostOf = (url: URL) => url.hostname.replace(/^\[|\]$/g, "");
export const mqttPortOf = (url: URL) => Number(url.port || 1883);

export function httpUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol !== "http:" && url?.protocol !== "https:") {
    throw new InvalidArgumentError("expected http://host:port.");
  }
  return url;
}

export function chance(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value <= 1)) throw new InvalidArgumentError("expected 0 to 1.");
  return value;
}

export function durationMs(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === null) throw new InvalidArgumentError("expected a duration such as 500ms or 10s.");
  return ms;
}

export function positiveNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value > 0 && value < 1e6))
    throw new InvalidArgumentError("expected a number above 0.");
  return value;
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("expected a whole number.");
  return Number(text);
}
