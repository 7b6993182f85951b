/** A notification: what one message says of one or more alerts, for people and for programs. Pure. */
import { createHash } from "node:crypto";
import { age, harmless } from "../core/plain-words.ts";
import type { AlertEvent, Happening } from "./alerts.ts";

/** Named in one text; of the rest their number is said. */
const NAMED_MAX = 10;

/** Something to be told of an alert, as it waits for a channel. */
export interface Telling extends Happening {
  /** Steady: since when it waits. */
  readonly queuedSteadyMs: number;
  /** Wall clock, epoch ms: when it happened. */
  readonly atMs: number;
}

export interface Notification {
  /** The same for every try at telling the same; a receiver knows a repeat by it. */
  readonly id: string;
  readonly text: string;
  /** JSON. */
  readonly body: string;
}

export function notificationOf(tellings: readonly Telling[], gateway: string, wallMs: number): Notification {
  const names = tellings.map(({ event, alert }) => `${alert.id} ${event} ${alert.reminders}`);
  const id = createHash("sha256").update(names.join("\n")).digest("base64url").slice(0, 22);
  const lines = tellings.slice(0, NAMED_MAX).map((telling) => lineOf(telling));
  if (tellings.length > NAMED_MAX) lines.push(`… and ${tellings.length - NAMED_MAX} more`);
  return notification(id, wallMs, gateway, `${gateway}: ${lines.join("\n")}`, tellings);
}

/** To see that a channel works. */
export function testNotification(id: string, gateway: string, wallMs: number, who: string): Notification {
  const text = `${gateway}: a test, asked for by ${harmless(who)}. Nothing is wrong.`;
  return notification(id, wallMs, gateway, text, []);
}

/** The form of Standard Webhooks' payloads: type, timestamp, and what it is about. */
function notification(
  id: string,
  wallMs: number,
  gateway: string,
  text: string,
  tellings: readonly Telling[],
): Notification {
  const alerts = tellings.map(({ event, alert, atMs }) => ({
    event,
    id: alert.id,
    key: alert.key,
    rule: alert.rule,
    subject: alert.subject,
    severity: alert.severity,
    sentence: alert.sentence,
    since: isoTime(alert.sinceMs),
    at: isoTime(atMs),
  }));
  const type = tellings.length === 0 ? "holdfast.test" : "holdfast.alerts";
  const body = JSON.stringify({ type, timestamp: isoTime(wallMs), id, gateway, text, alerts });
  return { id, text, body };
}

const LEAD: Record<AlertEvent, (severity: string) => string> = {
  raised: (severity) => (severity === "alarm" ? "ALARM: " : ""),
  reminder: (severity) => (severity === "alarm" ? "still an ALARM: " : "still: "),
  resolved: () => "over: ",
};

function lineOf({ event, alert, atMs }: Telling): string {
  const lasted = Math.max(0, atMs - alert.sinceMs);
  const tail =
    event === "raised" ? "" : event === "resolved" ? ` (it lasted ${age(lasted)})` : ` (for ${age(lasted)})`;
  return `${LEAD[event](alert.severity)}${harmless(alert.sentence)}${tail}`;
}

/** What a wall clock says may be anything; a date has its limits. */
function isoTime(wallMs: number): string {
  const date = new Date(wallMs);
  return Number.isNaN(date.getTime()) ? new Date(0).toISOString() : date.toISOString();
}
