/** Delays between tries: exponential, with full jitter so that many that failed together do not come back together. */
import type { Random } from "../core/random.ts";

/** Never at once: a delay is at least this share of its bound. */
const SHARE_MIN = 0.1;

/** A backend may ask for a pause of at most this long; what it asks for beyond is not believed. */
export const PAUSE_MS_MAX = 3_600_000;

/** ms before the next try after `failures` (≥ 1) in a row. */
export function backoffMs(failures: number, minMs: number, maxMs: number, random: Random): number {
  const boundMs = Math.min(maxMs, minMs * 2 ** Math.min(failures - 1, 30));
  return Math.round(boundMs * (SHARE_MIN + (1 - SHARE_MIN) * random.unit()));
}

/** The pause that a backend asked for (Retry-After), in whole ms; 0 for none. */
export function pauseMs(retryAfterMs: number | undefined): number {
  if (retryAfterMs === undefined || !(retryAfterMs > 0)) return 0;
  return Math.min(Math.ceil(retryAfterMs), PAUSE_MS_MAX);
}
