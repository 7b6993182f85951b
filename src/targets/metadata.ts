/**
 * What a backend may want to know of a message besides its payload, by the same names in every protocol:
 * MQTT 5 user properties and HTTP headers. The envelope (envelope.ts) carries the same facts as JSON.
 */
import { carriedTrace } from "../core/trace-context.ts";
import type { TargetDelivery } from "./target.ts";

/** RFC 3339 in UTC; null for what no calendar can say (a device clock may claim anything). */
export function isoTime(epochMs: number | null): string | null {
  if (epochMs === null || !(Math.abs(epochMs) <= CALENDAR_MS_MAX)) return null;
  return new Date(epochMs).toISOString();
}

/** ECMA-262, section 21.4.1.1: the last millisecond a Date can hold. */
const CALENDAR_MS_MAX = 8.64e15;

/** Name and value pairs; names are lower case. What is not known is left out. */
export function metadata(delivery: TargetDelivery, gateway: string): [string, string][] {
  const { message, flow, late, edited, replay } = delivery;
  const pairs: [string, string][] = [
    ["holdfast-id", message.id],
    ["holdfast-device", message.device],
    ["holdfast-flow", flow],
    ["holdfast-gateway", gateway],
  ];
  const producedAt = isoTime(message.producedAtMs);
  if (producedAt) pairs.push(["holdfast-produced-at", producedAt]);
  const acceptedAt = isoTime(message.acceptedAtMs);
  if (acceptedAt) pairs.push(["holdfast-accepted-at", acceptedAt]);
  if (!message.clockTrusted) pairs.push(["holdfast-clock-trusted", "false"]);
  if (late) pairs.push(["holdfast-late", "true"]);
  if (edited) pairs.push(["holdfast-edited", "true"]);
  if (replay) pairs.push(["holdfast-replay", "true"]);
  return pairs;
}

/**
 * The trace that a backend goes on with: that of this try where it is traced, else as the producer gave it. In every
 * protocol under these names, and as it stands: what is valid is printable ASCII.
 */
export function traceFields({ trace, message }: TargetDelivery): [string, string][] {
  const told = trace ?? carriedTrace(message.traceparent, message.headers.tracestate);
  if (!told) return [];
  const { traceparent, tracestate } = told;
  return [
    ["traceparent", traceparent],
    ...(tracestate ? [["tracestate", tracestate] as [string, string]] : []),
  ];
}
