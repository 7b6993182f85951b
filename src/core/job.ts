/** Jobs: work on many deliveries, a step at a time. What they are, and what they are called; pure, for a browser too. */

export const JOB_KINDS = ["redrive", "replay"] as const;
export type JobKind = (typeof JOB_KINDS)[number];
export const JOB_STATES = ["running", "paused", "finished", "cancelled", "failed"] as const;
export type JobState = (typeof JOB_STATES)[number];

export interface JobSelection {
  /** On this flow. */
  readonly flow?: string;
  readonly device?: string;
  /** MQTT topic filter. */
  readonly topic?: string;
  /** Accepted from (inclusive) to (exclusive): wall clock, epoch ms. */
  readonly fromMs?: number;
  readonly toMs?: number;
  /** Dead for this reason, as dead letters are grouped. */
  readonly group?: string;
  /** To be delivered on this flow instead of the one it was delivered on. */
  readonly into?: string;
  /** How many were named one by one. */
  readonly named?: number;
}

export interface Job {
  readonly id: number;
  readonly kind: JobKind;
  readonly state: JobState;
  readonly selection: JobSelection;
  readonly rate: number;
  readonly who: string;
  readonly reason: string | null;
  readonly total: number | null;
  readonly done: number;
  readonly skipped: number;
  readonly atSeq: number;
  readonly untilSeq: number;
  /** Wall clock, epoch ms. */
  readonly startedAtMs: number;
  readonly updatedAtMs: number;
  readonly endedAtMs: number | null;
  readonly error: string | null;
}

export interface Estimate {
  /** Deliveries that would be put in line, and their payloads' bytes. */
  readonly count: number;
  readonly bytes: number;
  /** Accepted when: wall clock, epoch ms. */
  readonly oldestMs: number | null;
  readonly newestMs: number | null;
  /** False where counting took too long: there are at least so many. */
  readonly complete: boolean;
  readonly rate: number;
  readonly durationMs: number;
  /** Replay: delivered messages that retention has removed and that may have been meant; 0 where none can be. */
  readonly goneAtMost: number;
  /** When the oldest message that is kept was accepted. */
  readonly keptFromMs: number | null;
}

export interface JobView extends Job {
  /** Why it does not go on just now; null where it does, or is not running. */
  readonly waitsFor: string | null;
}

/** `redrive of flow mes, device press-7`: what it does and to which. */
export function jobTitle({ kind, selection }: Pick<Job, "kind" | "selection">): string {
  const { into } = selection;
  const what = selectionWords(selection);
  return `${kind} of ${what}${into === undefined ? "" : ` into flow ${into}`}`;
}

function selectionWords(selection: JobSelection): string {
  const { flow, device, topic, group, fromMs, toMs, named } = selection;
  const time = (ms: number) => new Date(ms).toISOString();
  const parts = [
    named === undefined ? null : `${named} messages named one by one`,
    flow === undefined ? null : `flow ${flow}`,
    device === undefined ? null : `device ${device}`,
    topic === undefined ? null : `topic ${topic}`,
    group === undefined ? null : `reason "${group}"`,
    fromMs === undefined ? null : `from ${time(fromMs)}`,
    toMs === undefined ? null : `to ${time(toMs)}`,
  ].filter((part) => part !== null);
  return parts.length === 0 ? "everything" : parts.join(", ");
}
