/**
 * Which of the machines that adapters read have fallen silent. Pure.
 *
 * A machine that does not answer once is asked again a moment later, so that one missed answer is nobody's business.
 * It counts as silent when it has not answered for `deviceSilentAfter` without a break, and as well again when it has
 * answered for as long: one that comes and goes is one problem, not many.
 */
import type { ReadFacts } from "./sources.ts";

export interface DeviceMemory {
  readonly silent: boolean;
  readonly answers: boolean;
  /** Since when it answers, or does not; mono. */
  readonly sinceMs: number;
}

export function rememberDevices(
  devices: readonly ReadFacts[],
  known: ReadonlyMap<string, DeviceMemory>,
  monoMs: number,
  silentAfterMs: number,
): Map<string, DeviceMemory> {
  return new Map(
    devices.map(({ device, state }) => {
      const before = known.get(device);
      const answers = state !== "offline";
      const sinceMs = before?.answers === answers ? before.sinceMs : monoMs;
      const isSure = monoMs - sinceMs >= silentAfterMs;
      return [device, { answers, sinceMs, silent: isSure ? !answers : (before?.silent ?? false) }];
    }),
  );
}

/** `device press-7 (10.0.0.5:502 unit 1) has not answered since …: timeout: …` */
export function silenceSentence({ device, where, state, lastAnswerAtMs, lastError }: ReadFacts): string {
  const at = where === "" ? "" : ` (${where})`;
  const last = lastAnswerAtMs === null ? "in this run" : `since ${new Date(lastAnswerAtMs).toISOString()}`;
  const why = lastError === null ? "" : `: ${lastError}`;
  return state === "offline"
    ? `device ${device}${at} has not answered ${last}${why}`
    : `device ${device}${at} answers again, after a silence, and not for long yet`;
}
