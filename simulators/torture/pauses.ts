/** Whether pauses that a backend asked for lasted as long as it asked, also where the wall clock jumped in them. Pure. */

import { percentile } from "../../src/core/percentile.ts";
import type { Gap } from "../backends/asking-for-patience.ts";

/** How much longer a pause may become. */
export const PAUSE_LONGER_MAX = 0.1;
/** A busy machine makes nothing shorter; timers are whole milliseconds. */
const PAUSE_SHORTER_MAX = 0.02;
/** A try takes a claim, a request and a settlement beside its pause: nothing here, and much where others are at work. */
const ACKS_IN_A_TRY = 3;

export interface Pauses {
  readonly pauseMs: number;
  readonly gaps: readonly Gap[];
  /** When the clock jumped. */
  readonly jumpsMs: readonly number[];
  /** When there was no gateway: a gap with such a time in it says nothing. */
  readonly down: readonly Gap[];
  /** How long the gateway took to acknowledge a message, with a commit in it. */
  readonly acksMs: readonly number[];
}

export function lookAtPauses({ pauseMs, gaps, jumpsMs, down, acksMs }: Pauses): {
  readonly figures: Readonly<Record<string, number>>;
  readonly findings: readonly string[];
} {
  const up = gaps.filter(
    ({ fromMs, toMs }) => !down.some((each) => each.fromMs < toMs && each.toMs > fromMs),
  );
  const hasJump = ({ fromMs, toMs }: Gap) => jumpsMs.some((atMs) => fromMs < atMs && atMs < toMs);
  const [all, jumped] = [lengths(up), lengths(up.filter(hasJump))];
  const [median, jumpedMedian] = [percentile(all, 0.5), percentile(jumped, 0.5)];
  const tryMs = ACKS_IN_A_TRY * percentile(ascending(acksMs), 0.5);
  const findings: string[] = [];
  const longest = (ms: number) => ms * (1 + PAUSE_LONGER_MAX);
  const told = (what: string, ms: number, against: string) =>
    findings.push(`delayed: ${what} of ${pauseMs} ms last ${Math.round(ms)} ms (median), ${against}`);
  if (median > longest(pauseMs) + tryMs) told("pauses", median, `where a try takes ${Math.round(tryMs)} ms`);
  // What the machine adds, it adds to those without a jump as well.
  const without = percentile(lengths(up.filter((gap) => !hasJump(gap))), 0.5);
  if (jumpedMedian > Math.max(longest(pauseMs) + tryMs, longest(without))) {
    told("pauses with a jump in them", jumpedMedian, `those without one ${Math.round(without)} ms`);
  }
  const early = all.filter((ms) => ms < pauseMs * (1 - PAUSE_SHORTER_MAX));
  if (early.length > 0) {
    findings.push(
      `too early: a pause of ${pauseMs} ms lasted ${Math.round(early[0]!)} ms (${early.length} did)`,
    );
  }
  const figures = {
    pauses: all.length,
    pauseMsMedian: Math.round(median),
    jumpedPauses: jumped.length,
    jumpedPauseMsMedian: Math.round(jumpedMedian),
    tryMs: Math.round(tryMs),
  };
  return { figures, findings };
}

function lengths(gaps: readonly Gap[]): number[] {
  return ascending(gaps.map(({ fromMs, toMs }) => toMs - fromMs));
}

function ascending(values: readonly number[]): number[] {
  return values.toSorted((a, b) => a - b);
}
