/**
 * A span as OTLP over HTTP writes it in JSON (opentelemetry-proto, trace.proto; ids are hex there, 64-bit numbers text).
 * Pure.
 */
import type { TraceContext } from "../core/trace-context.ts";

/** Longer texts are cut: a topic may have 64 KiB. */
const TEXT_CHARS_MAX = 500;

/** opentelemetry-proto, enum SpanKind. */
export const KIND = { internal: 1, server: 2, client: 3, producer: 4, consumer: 5 } as const;

export type Attributes = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface Link {
  readonly context: TraceContext;
  readonly state?: string | null;
  readonly attributes?: Attributes;
}

export interface Span {
  readonly context: TraceContext;
  readonly parentSpanId?: string | null;
  readonly state?: string | null;
  readonly name: string;
  readonly kind: (typeof KIND)[keyof typeof KIND];
  /** Epoch ms, with a fraction. */
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Attributes;
  readonly links?: readonly Link[];
  readonly linksDropped?: number;
  /** Why it failed; null where it did not. */
  readonly error: string | null;
}

export function spanJson(span: Span): string {
  const { context, links = [], error } = span;
  return JSON.stringify({
    traceId: context.traceId,
    spanId: context.spanId,
    parentSpanId: span.parentSpanId ?? undefined,
    traceState: span.state ?? undefined,
    flags: SAMPLED,
    name: span.name,
    kind: span.kind,
    startTimeUnixNano: nanoseconds(span.startMs),
    endTimeUnixNano: nanoseconds(span.endMs),
    attributes: attributesJson(span.attributes),
    links: links.map(({ context: { traceId, spanId, sampled }, state, attributes = {} }) => ({
      traceId,
      spanId,
      traceState: state ?? undefined,
      attributes: attributesJson(attributes),
      flags: sampled ? SAMPLED : 0,
    })),
    droppedLinksCount: span.linksDropped || undefined,
    status: error === null ? {} : { code: STATUS_ERROR, message: textOf(error) },
  });
}

const SAMPLED = 1;
const STATUS_ERROR = 2;

/** What has no value is left out. */
export function attributesJson(attributes: Attributes): object[] {
  return Object.entries(attributes).flatMap(([key, value]) =>
    value === undefined || value === null ? [] : [{ key, value: valueJson(value) }],
  );
}

function valueJson(value: string | number | boolean): object {
  if (typeof value === "string") return { stringValue: textOf(value) };
  if (typeof value === "boolean") return { boolValue: value };
  return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
}

/** Half a character, as a cut may leave it, is no text that a collector has to take. */
function textOf(text: string): string {
  return text.slice(0, TEXT_CHARS_MAX).toWellFormed();
}

/** A number of so many digits is no longer exact. */
function nanoseconds(epochMs: number): string {
  const ms = Math.max(0, epochMs);
  const whole = Math.floor(ms);
  const rest = Math.min(Math.floor((ms - whole) * 1e6), 999_999);
  return `${whole}${String(rest).padStart(6, "0")}`;
}
