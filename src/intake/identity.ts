/** Finds a message's own id, time and trace where the config says they stand. Pure. */
import { pointerValue } from "../core/json-pointer.ts";
import { topicMatches } from "../core/topic.ts";
import { type CarriedTrace, carriedTrace } from "../core/trace-context.ts";
import type { Draft } from "./draft.ts";
import type { IdentityRule } from "./schema.ts";

export interface Found {
  readonly producerId: string | null;
  readonly scope: "device" | "global";
  readonly producedAtMs: number | null;
  /** ms, or null for the default window. */
  readonly windowMs: number | null;
  readonly trace: CarriedTrace | null;
}

const NOTHING: Found = {
  producerId: null,
  scope: "device",
  producedAtMs: null,
  windowMs: null,
  trace: null,
};

export function ruleFor(rules: readonly IdentityRule[], topic: string): IdentityRule | undefined {
  return rules.find((rule) =>
    typeof rule.topics === "string"
      ? topicMatches(rule.topics, topic)
      : rule.topics.some((filter) => topicMatches(filter, topic)),
  );
}

/**
 * What the door knows itself comes before what the payload says. An id of the door's is the device's own, whatever
 * the rule says of ids in payloads: two PLCs count their readings by the same numbers.
 */
export function identify(draft: Draft, rule: IdentityRule | undefined, json: () => unknown): Found {
  const found = rule ? applyRule(draft, rule, json) : NOTHING;
  const own = idText(draft.producerId);
  return {
    ...found,
    producerId: own ?? found.producerId,
    scope: own === null ? found.scope : "device",
    producedAtMs: validTime(draft.producedAtMs ?? Number.NaN) ?? found.producedAtMs,
    trace: draft.trace ?? found.trace,
  };
}

function applyRule(draft: Draft, rule: IdentityRule, json: () => unknown): Found {
  return {
    producerId: rule.id ? idText(rawId(draft, rule.id, json)) : null,
    scope: rule.scope,
    producedAtMs: rule.producedAt
      ? timeMs(pointerValue(json() ?? null, rule.producedAt.pointer), rule.producedAt.unit)
      : null,
    windowMs: rule.window ?? null,
    trace: rule.traceparent ? carriedTrace(pointerValue(json() ?? null, rule.traceparent.pointer)) : null,
  };
}

function rawId(draft: Draft, where: NonNullable<IdentityRule["id"]>, json: () => unknown): unknown {
  if ("pointer" in where) return pointerValue(json() ?? null, where.pointer);
  if ("header" in where) return draft.headers?.[where.header];
  return draft.topic.split("/")[where.topicLevel];
}

/**
 * A whole number beyond 2^53 is no id: it has lost its last digits in reading, so that its neighbours would
 * look like its duplicates and be suppressed.
 */
function idText(value: unknown): string | null {
  if (typeof value === "string" && value.length > 0) return value;
  if (typeof value !== "number" || !Number.isFinite(value)) return null;
  return Number.isSafeInteger(value) || !Number.isInteger(value) ? String(value) : null;
}

function timeMs(value: unknown, unit: "iso" | "s" | "ms"): number | null {
  if (unit === "iso") return typeof value === "string" ? validTime(Date.parse(value)) : null;
  return typeof value === "number" ? validTime(value * (unit === "s" ? 1000 : 1)) : null;
}

/** A whole ms that a Date can show, or null. */
function validTime(ms: number): number | null {
  return Math.abs(ms) <= TIME_MS_MAX ? Math.round(ms) : null;
}

/** The range of ECMAScript time values. */
const TIME_MS_MAX = 8.64e15;
