/**
 * What a backend may want to know of a message besides its payload, by the same names in every protocol:
 * MQTT 5 user properties and HTTP headers. The envelope (envelope.ts) carries the same facts as JSON.
 */
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
  if (message.traceparent) pairs.push(["traceparent", message.traceparent]);
  return pairs;
}
