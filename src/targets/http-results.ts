/**
 * What a backend says in the body of its answer: in free words for a reason, and for a batch the result
 * of each message:
 *
 *   { "results": [ { "id": "…", "status": 201 }, { "id": "…", "status": 422, "reason": "no such part" },
 *                  { "id": "…", "status": "retry", "retryAfter": 30 } ] }
 *
 * `status` is an HTTP status, or one of the words in WORDS. `reason` and `retryAfter` (seconds) may be left
 * out; order does not matter.
 */
import { z } from "zod";
import type { HttpExchange } from "../core/http-exchange.ts";
import { type Outcome, unknown } from "../core/outcome.ts";
import { safeParse } from "../core/safe-parse.ts";
import { type HttpFacts, httpOutcome, RETRY_AFTER_MS_MAX } from "./http-outcome.ts";
import type { TargetDelivery } from "./target.ts";

type Answer = Extract<HttpExchange, { kind: "answer" }>;

/** The words, as the HTTP status they stand for. */
const WORDS = { delivered: 200, accepted: 202, duplicate: 200, retry: 503, rejected: 422 } as const;

const resultsSchema = z.object({ results: z.array(z.unknown()) });

const resultSchema = z.object({
  id: z.string(),
  status: z.union([z.int().min(200).max(599), z.enum(Object.keys(WORDS) as (keyof typeof WORDS)[])]),
  reason: z.string().optional(),
  retryAfter: z.number().min(0).optional(),
});

/** One outcome per delivery where the answer has results; null where it speaks for the request as a whole. */
export function itemOutcomes(
  answer: Answer,
  deliveries: readonly TargetDelivery[],
  facts: Omit<HttpFacts, "of">,
): Outcome[] | null {
  if (answer.status >= 500 || (answer.status >= 300 && answer.status < 400)) return null;
  if (answer.status < 300 && !answer.whole && isJsonType(answer)) {
    return deliveries.map(() =>
      unknown(`HTTP ${answer.status}: the answer broke off or is too long to read`),
    );
  }
  const results = readableResults(answer);
  if (results.length === 0) {
    // 207 says that the results differ: without them nothing is known (RFC 4918, section 13).
    return answer.status === 207 ? deliveries.map(() => unknown("HTTP 207 without readable results")) : null;
  }
  const byId = new Map(results.map((result) => [result.id, result]));
  return deliveries.map(({ message }) => {
    const result = byId.get(message.id);
    if (!result) return unknown(`HTTP ${answer.status}: the answer has no result for it`);
    const status = typeof result.status === "number" ? result.status : WORDS[result.status];
    const retryAfterMs =
      result.retryAfter === undefined ? undefined : Math.min(result.retryAfter * 1000, RETRY_AFTER_MS_MAX);
    return httpOutcome({ status, retryAfterMs, says: result.reason }, { ...facts, of: "item" });
  });
}

/**
 * The results that can be read. One that cannot be does not take the others along: they may say no, and their
 * request's 200 must not be taken for a yes to all.
 */
function readableResults(answer: Answer): z.output<typeof resultSchema>[] {
  const { results = [] } = safeParse(resultsSchema, jsonOf(answer)).data ?? {};
  return results.flatMap((result) => safeParse(resultSchema, result).data ?? []);
}

/** The backend's own words: the detail of a problem (RFC 9457), a usual field, or a short plain text. */
export function sayingOf(answer: Answer): string | undefined {
  const json = jsonOf(answer);
  if (json !== null && typeof json === "object") {
    for (const field of ["detail", "title", "message", "error", "reason"]) {
      const value = (json as Record<string, unknown>)[field];
      if (typeof value === "string" && value.length > 0) return tidy(value);
    }
    return undefined;
  }
  const type = String(answer.headers["content-type"] ?? "");
  return type.startsWith("text/plain") ? tidy(answer.body.toString("utf8")) || undefined : undefined;
}

function tidy(text: string): string {
  return text.replaceAll(/\s+/g, " ").trim().slice(0, SAYING_CHARS_MAX);
}

const SAYING_CHARS_MAX = 200;

function isJsonType(answer: Answer): boolean {
  return /[/+]json\b/i.test(String(answer.headers["content-type"] ?? ""));
}

function jsonOf(answer: Answer): unknown {
  if (!answer.whole || !isJsonType(answer)) return null;
  try {
    return JSON.parse(answer.body.toString("utf8"));
  } catch {
    return null;
  }
}
