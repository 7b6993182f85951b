/**
 * Which of the machines that adapters read have fallen silent, or answer and are of no use. Pure.
 *
 * A machine that does not answer once is asked again a moment later, so that one missed answer is nobody's business.
 * It counts as silent when it has not answered for `deviceSilentAfter` without a break, and as well again when it has
 * answered for as long: one that comes and goes is one problem, not many. So does one that answers, and says no.
 */
import type { ReadFacts } from "./sources.ts";

interface Trouble {
  readonly on: boolean;
  readonly now: boolean;
  /** Since when it is as it is now; mono. */
  readonly sinceMs: number;
}

export interface DeviceMemory {
  readonly silent: Trouble;
  readonly failing: Trouble;
}

export function rememberDevices(
  devices: readonly ReadFacts[],
  known: ReadonlyMap<string, DeviceMemory>,
  monoMs: number,
  sureAfterMs: number,
): Map<string, DeviceMemory> {
  const trouble = (before: Trouble | undefined, now: boolean): Trouble => {
    const sinceMs = before?.now === now ? before.sinceMs : monoMs;
    return { now, sinceMs, on: monoMs - sinceMs >= sureAfterMs ? now : (before?.on ?? false) };
  };
  return new Map(
    devices.map(({ device, state }) => {
      const before = known.get(device);
      const silent = trouble(before?.silent, state === "offline");
      return [device, { silent, failing: trouble(before?.failing, state === "failing") }];
    }),
  );
}

/** `device press-7 (10.0.0.5:502 unit 1) has not answered since …: timeout: …` */
export function silenceSentence(facts: ReadFacts): string {
  const { state, lastAnswerAtMs } = facts;
  const last = lastAnswerAtMs === null ? "in this run" : `since ${new Date(lastAnswerAtMs).toISOString()}`;
  return state === "offline"
    ? `${deviceText(facts)} has not answered ${last}${whyText(facts)}`
    : `${deviceText(facts)} answers again, after a silence, and not for long yet`;
}

/** `device press-7 (10.0.0.5:502 unit 1) answers, and refuses some or all of it, or makes no sense: illegal-…` */
export function failureSentence(facts: ReadFacts): string {
  return facts.state === "failing"
    ? `${deviceText(facts)} answers, and refuses some or all of what it is asked, or makes no sense${whyText(facts)}`
    : `${deviceText(facts)} does not refuse anything any more, and not for long yet`;
}

function deviceText({ device, where }: ReadFacts): string {
  return `device ${device}${where === "" ? "" : ` (${where})`}`;
}

function whyText({ lastError }: ReadFacts): string {
  return lastError === null ? "" : `: ${lastError}`;
}
