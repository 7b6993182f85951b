/**
 * What an HTTP answer says of a message. Pure; docs/targets.md has the same as a table.
 *
 * Three questions decide:
 * - Did the backend take it? 2xx: yes. An answer that says no by itself (4xx, 500, 503): no. A gateway that
 *   speaks for a backend it lost (502, 504): nobody knows.
 * - Is it the message or the backend? What depends on this message's content is the message's. A wrong URL,
 *   wrong credentials, a redirect or too much load concern every message: the target's, so that a wrong
 *   line in the config stops the flow and loses nothing.
 * - Can another try do better? If not, the message is rejected and waits for a person as a dead letter.
 */
import { wallClockTrusted } from "../core/clock.ts";
import { REASON_CHARS_MAX } from "../core/limits.ts";
import { delivered, type Outcome, reject, retryMessage, retryTarget, unknown } from "../core/outcome.ts";

export interface HttpAnswer {
  readonly status: number;
  readonly retryAfterMs?: number | undefined;
  /** The backend's own words, where it gave some. */
  readonly says?: string | undefined;
}

export interface HttpFacts {
  /** The answer to a whole request, or the result of one message within it. */
  readonly of: "request" | "item";
  /** The URL is made from the message, so that 404 may be about the message. */
  readonly urlFromMessage: boolean;
  /** The backend took something else a short while ago, so that a 500 is likely about this message. */
  readonly amidSuccesses: boolean;
  readonly conflict: "retry" | "delivered" | "reject";
}

export function httpOutcome(answer: HttpAnswer, facts: HttpFacts): Outcome {
  const { status, retryAfterMs } = answer;
  const reason = reasonOf(answer);
  const item = facts.of === "item";
  if (status >= 200 && status < 300) return delivered(String(status));
  if (status >= 300 && status < 400) {
    if (item) return reject(`${reason} (no result for a message)`);
    return retryTarget(`${reason} (redirects are not followed; set the final URL)`);
  }
  switch (status) {
    case 401: // Unauthorized
    case 402: // Payment Required
    case 403: // Forbidden
    case 407: // Proxy Authentication Required
      return item ? reject(reason) : retryTarget(reason, retryAfterMs);
    case 404: // Not Found
    case 410: // Gone
      return item || facts.urlFromMessage ? reject(reason) : retryTarget(reason, retryAfterMs);
    case 405: // Method Not Allowed
    case 421: // Misdirected Request
    case 426: // Upgrade Required
      return item ? reject(reason) : retryTarget(reason, retryAfterMs);
    case 408: // Request Timeout: the request did not arrive whole
    case 423: // Locked
    case 424: // Failed Dependency
    case 425: // Too Early
      return retryMessage(reason, retryAfterMs);
    case 409: // Conflict
      if (facts.conflict === "delivered") return delivered(reason);
      return facts.conflict === "reject" ? reject(reason) : retryMessage(reason, retryAfterMs);
    case 429: // Too Many Requests
      return item ? retryMessage(reason, retryAfterMs) : retryTarget(reason, retryAfterMs);
    case 500: // Internal Server Error
      return item || facts.amidSuccesses
        ? retryMessage(reason, retryAfterMs)
        : retryTarget(reason, retryAfterMs);
    case 502: // Bad Gateway
    case 504: // Gateway Timeout
    case 520: // Cloudflare: the origin's answer was not understood
    case 524: // Cloudflare: the origin did not answer in time
      return unknown(reason);
  }
  if (status >= 400 && status < 500) return reject(reason);
  if (status >= 500 && status < 600)
    return item ? retryMessage(reason, retryAfterMs) : retryTarget(reason, retryAfterMs);
  return unknown(`${reason} (not a final HTTP status)`);
}

function reasonOf({ status, says }: HttpAnswer): string {
  return `HTTP ${status}${says ? `: ${says}` : ""}`.slice(0, REASON_CHARS_MAX);
}

/** A longer wait than this is not believed. */
export const RETRY_AFTER_MS_MAX = 24 * 3_600_000;

/**
 * Retry-After in ms: seconds or a date (RFC 9110, section 10.2.3); undefined where it is neither. A date is
 * counted from when the answer says it was given (`date`), since both are read off one clock. Ours, which may be
 * years off, is asked only where the answer has no date of its own, and only where it can be believed.
 */
export function retryAfterMs(
  header: string | undefined,
  { date, wallMs }: { readonly date?: string | undefined; readonly wallMs: number },
): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const givenMs = httpDateMs(date?.trim() ?? "");
  const fromMs = !Number.isNaN(givenMs) ? givenMs : wallClockTrusted(wallMs) ? wallMs : Number.NaN;
  const waitMs = /^\d+$/.test(text) ? Number(text) * 1000 : httpDateMs(text) - fromMs;
  return Number.isNaN(waitMs) ? undefined : Math.min(Math.max(waitMs, 0), RETRY_AFTER_MS_MAX);
}

/** Only the forms that HTTP knows; Date.parse alone would take `1.5` for a date. */
function httpDateMs(text: string): number {
  return /^[A-Z][a-z]+,? /.test(text) ? Date.parse(text) : Number.NaN;
}
