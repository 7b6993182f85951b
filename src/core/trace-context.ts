/**
 * W3C Trace Context: how a message says which trace it belongs to. Pure.
 *
 * Whoever sends it decides what stands there, so it is held against the standard before it is kept or passed on. What
 * is none is as if it were not there (section 3.2.2.5): a message is never refused for it.
 *
 * Source: https://www.w3.org/TR/trace-context-2/
 */

export interface TraceContext {
  /** 32 and 16 digits, lower case. */
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

/** As it was sent, and valid. */
export interface CarriedTrace {
  readonly traceparent: string;
  readonly tracestate: string | null;
}

/** Of a version to come, which may be longer than ours (55). */
const TRACEPARENT_CHARS_MAX = 256;
/** Section 3.3.1.5 asks for at least so many to be passed on. */
const TRACESTATE_CHARS_MAX = 512;
const TRACESTATE_MEMBERS_MAX = 32;

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/s;
const MEMBER =
  /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;
const NOTHING = /^0+$/;
const PRINTABLE = /^[\x20-\x7e]*$/;

/** Null for what is none. */
export function parseTraceparent(text: unknown): TraceContext | null {
  if (typeof text !== "string" || text.length > TRACEPARENT_CHARS_MAX || !PRINTABLE.test(text)) return null;
  const [, version, traceId = "", spanId = "", flags = "", more] = TRACEPARENT.exec(text) ?? [];
  if (version === undefined || version === "ff" || (version === "00" && more !== undefined)) return null;
  if (NOTHING.test(traceId) || NOTHING.test(spanId)) return null;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export function traceparentText({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}

/** What a sender has put beside its message; null where that is no trace. A state that is none goes without it. */
export function carriedTrace(traceparent: unknown, tracestate?: unknown): CarriedTrace | null {
  if (parseTraceparent(traceparent) === null) return null;
  return { traceparent: traceparent as string, tracestate: isTracestate(tracestate) ? tracestate : null };
}

/** The trace of a message as its log entries name it. */
export function traceIdOf(message: { readonly traceparent: string | null }): string | undefined {
  return parseTraceparent(message.traceparent)?.traceId;
}

function isTracestate(text: unknown): text is string {
  if (typeof text !== "string" || text.length > TRACESTATE_CHARS_MAX) return false;
  const members = text.split(",").map((member) => member.replaceAll(/^[ \t]+|[ \t]+$/g, ""));
  const said = members.filter((member) => member !== "");
  return (
    said.length > 0 && said.length <= TRACESTATE_MEMBERS_MAX && said.every((member) => MEMBER.test(member))
  );
}
