/** What states mean, in sentences for the person at the box. Pure. */

import { flowWords, isBuiltInFlow, targetWords } from "../../core/command-message.ts";
import type { DeliveryState } from "../../core/outcome.ts";
import { age, count, counted, harmless, moment } from "../../core/plain-words.ts";
import type { DeliveryHistory, HistoryEntry, MessageHistory } from "../../queue/queries-history.ts";
import type { FlowState, TargetReport, TargetState } from "../../watch/health.ts";
import type { MarkKind } from "./marks.tsx";

/** A target by its name, or, built in, by what it is: a device that is commanded, an upstream that gets results. */
export const placeWords = (target: string | null): string =>
  target === null ? "?" : isBuiltInFlow(target) ? targetWords(target) : target;

/** `12/s`, `0.4/s`, `3/min`; what is not known is a dash. */
export function perSecond(rate: number | null): string {
  if (rate === null) return "–";
  if (rate === 0) return "0/s";
  if (rate < 0.1) return `${Math.max(1, Math.round(rate * 60))}/min`;
  return rate < 10 ? `${rate.toFixed(1)}/s` : `${count(Math.round(rate))}/s`;
}

/** `0.8 ms`, `12 ms`, `1.4 s`, `3 min 12 s` */
export function took(ms: number): string {
  if (ms < 10) return `${Math.round(ms * 10) / 10} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${Math.round(ms / 100) / 10} s` : age(ms);
}

export const TARGET_MARKS: Record<TargetState, MarkKind> = {
  healthy: "ok",
  unproven: "idle",
  stalled: "attention",
  down: "alarm",
};

export const FLOW_MARKS: Record<FlowState, MarkKind> = {
  flowing: "ok",
  idle: "idle",
  waiting: "waiting",
  held: "attention",
  stalled: "alarm",
  paused: "paused",
  exporting: "paused",
};

export const DELIVERY_MARKS: Record<DeliveryState, MarkKind> = {
  waiting: "waiting",
  sending: "waiting",
  unknown: "unknown",
  delivered: "ok",
  dead: "alarm",
  expired: "attention",
  evicted: "attention",
  discarded: "attention",
};

/** A target as last reported; how long until it is tried again is told as of now. */
export interface LiveTarget extends TargetReport {
  /** Counts down from what was reported. */
  readonly nextTryNowInMs: number | null;
}

/** `has not answered since 14:02:11; next try in 12 s` */
export function awayWords({ downSinceMs, nextTryNowInMs }: LiveTarget, asOfMs: number): string {
  const since = downSinceMs === null ? "" : ` since ${moment(downSinceMs, asOfMs)}`;
  return `has not answered${since}; ${nextTry(nextTryNowInMs)}`;
}

/** Why a target is called what it is called. */
export function targetEvidence(target: LiveTarget, asOfMs: number): string {
  const ago = (ms: number) => `${age(Math.max(0, asOfMs - ms))} ago`;
  if (target.state === "down") return `${awayWords(target, asOfMs).replace(/^h/, "H")}.`;
  const { lastDeliveredAtMs: delivered, lastProbeOkAtMs: probed } = target;
  if (delivered !== null && delivered >= (probed ?? 0)) return `Took a message ${ago(delivered)}.`;
  return probed === null
    ? "Nothing was sent to it yet, so nothing is known of it."
    : `Answered a probe ${ago(probed)}.`;
}

function nextTry(inMs: number | null): string {
  return inMs !== null && inMs > 0 ? `next try in ${age(Math.ceil(inMs / 1000) * 1000)}` : "being tried now";
}

/** Where one delivery stands, and what happens next. */
export function deliverySentence(
  delivery: DeliveryHistory,
  target: LiveTarget | undefined,
  asOfMs: number,
): string {
  const { state, attempts, behind, dueInMs, reason, export: held, heldSinceMs } = delivery;
  if (held !== null) {
    const since = heldSinceMs === null ? "" : ` since ${moment(heldSinceMs, asOfMs)}`;
    return `Held for export ${held}${since}: it is on its way to another box, and not sent from here before that is ended.`;
  }
  const name = delivery.target === null ? "its target" : placeWords(delivery.target);
  const at = moment(delivery.updatedAtMs, asOfMs);
  const because = reason === null ? "" : `: ${harmless(reason)}`;
  const tries = counted(attempts, "try", "tries");
  const again = dueInMs === null || dueInMs === 0 ? "as soon as it can be" : `in ${age(dueInMs)}`;
  switch (state) {
    case "waiting":
      if (target?.state === "down") {
        return `Stored on this box. ${name} ${awayWords(target, asOfMs)}. No try is charged for that.`;
      }
      if (behind > 0) return `Stored on this box. ${counted(behind, "other")} of its lane go before it.`;
      if (attempts > 0)
        return `Stored on this box. ${tries} did not get through; next one ${again}. The last answer was${because || " not recorded"}.`;
      return `Stored on this box; it goes to ${name} in its turn${because}.`;
    case "sending":
      return `Being sent to ${name} since ${at}.`;
    case "unknown":
      return dueInMs === null
        ? `Sent, and the answer was lost${because}. A person must decide: retry sends it again under the same id.`
        : `Sent, and the answer was lost${because}. Taken up again ${again}, under the same id.`;
    case "delivered":
      return `Delivered to ${name} at ${at}, ${attempts <= 1 ? "at the first try" : `after ${tries}`}${because}.`;
    case "dead":
      return `Set aside at ${at} after ${tries}${because}. It stays here until a person decides.`;
    case "expired":
    case "evicted":
    case "discarded":
      return `${state.charAt(0).toUpperCase()}${state.slice(1)} at ${at}${because}.`;
  }
}

export interface TimelineEntry {
  readonly atMs: number;
  readonly mark: MarkKind;
  readonly flow: string | null;
  readonly what: string;
  readonly detail: string | null;
}

/** What kinds of entries mean (queue/ and relay/ write them); one that is not known is shown as it is. */
const KINDS: Record<string, readonly [what: string, mark: MarkKind]> = {
  duplicate: ["Duplicate suppressed", "idle"],
  retry: ["Tried, not taken", "attention"],
  outage: ["Not taken: its target was away (no try charged)", "attention"],
  unknown: ["Sent, answer lost", "unknown"],
  held: ["Held for a person", "unknown"],
  dead: ["Set aside as a dead letter", "alarm"],
  delivered: ["Delivered", "ok"],
  redrive: ["Put back in line by a person", "waiting"],
  expired: ["Expired", "attention"],
  discarded: ["Discarded", "attention"],
  edit: ["Edited by a person", "waiting"],
  asked: ["The backend was asked", "idle"],
  replay: ["To be delivered again: a replay", "waiting"],
  export: ["On its way to another box", "paused"],
  released: ["Goes on here", "waiting"],
  moved: ["On another box", "attention"],
  imported: ["Taken in from another box", "ok"],
};

/** All that happened to a message, oldest first. */
export function timeline({ message, deliveries, history }: MessageHistory): TimelineEntry[] {
  const flows = deliveries.map(({ flow }) => flowWords(flow)).join(", ");
  const entries = history.map(({ atMs, flow, kind, detail }: HistoryEntry): TimelineEntry => {
    const [what, mark] = KINDS[kind] ?? [harmless(kind), "idle"];
    return { atMs, mark, flow, what, detail: detail === null ? null : harmless(detail) };
  });
  for (const { flow, target, state, reason, attempts, updatedAtMs: atMs } of deliveries) {
    const written = history.some((entry) => entry.flow === flow && entry.kind === state);
    if (state === "waiting" || state === "sending" || written) continue;
    const what =
      state === "delivered"
        ? `Delivered to ${target === null ? "its target" : placeWords(target)}${attempts <= 1 ? " at the first try" : ""}`
        : (KINDS[state]?.[0] ?? state);
    const detail = reason === null ? null : harmless(reason);
    // What was written down stays in the order of writing, whatever the clock did meanwhile.
    const next = entries.findIndex((entry) => entry.atMs > atMs);
    entries.splice(next === -1 ? entries.length : next, 0, {
      atMs,
      mark: DELIVERY_MARKS[state],
      flow,
      what,
      detail,
    });
  }
  const accepted: TimelineEntry = {
    atMs: message.acceptedAtMs,
    mark: "ok",
    flow: null,
    what: "Accepted and on disk",
    detail: flows === "" ? "no flow takes its topic: it is kept and goes nowhere" : `put on ${flows}`,
  };
  const made: TimelineEntry[] =
    message.producedAtMs === null
      ? []
      : [
          {
            atMs: message.producedAtMs,
            mark: "idle",
            flow: null,
            what: "Made, by the device's clock",
            detail: null,
          },
        ];
  return [...made, accepted, ...entries];
}
