/** The record of acts: who did what to the gateway, when and why. */
import { z } from "zod";
import { REASON_CHARS_MAX } from "../core/limits.ts";
import type { Act } from "../queue/acts.ts";
import { ACTS_PAGE_MAX } from "../queue/queries-acts.ts";
import type { Caller } from "./callers.ts";
import type { ApiContext } from "./context.ts";
import { type Operation, operation } from "./operation.ts";
import { count, epochMs, pageLimit } from "./shapes.ts";

/** Why somebody does something; asked for where it destroys. */
export const reason = z.string().trim().min(1).max(REASON_CHARS_MAX).describe("Why; it goes on record.");

/** Not waited for: whoever comes because the store has no room must get in. */
export function putOnRecord(
  act: ApiContext["act"],
  { name }: Caller,
  what: string,
  detail: Act["detail"],
  why: string | null = null,
): void {
  // A store that rejects has failed for good, and the gateway is stopping.
  act({ who: name, what, detail, reason: why }).catch(() => {});
}

export const actOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/acts",
    name: "listActs",
    tag: "gateway",
    summary: "What people and programs did to the gateway, newest first: who, when, what, why",
    notes: "Each is in the commit that it made. Nothing in it can be changed; the newest 100,000 are kept.",
    role: "operate",
    query: z.strictObject({
      who: z.string().max(64).optional().describe("Name of a token, or `local`."),
      what: z.string().max(64).optional().describe("Name of an operation, such as `retryDead`."),
      before: z.coerce.number().int().min(1).optional().describe("`next` of the page before."),
      limit: pageLimit(ACTS_PAGE_MAX, 100),
    }),
    answer: () =>
      z.object({
        acts: z.array(
          z.object({
            id: count(),
            atMs: epochMs(),
            who: z.string(),
            what: z.string(),
            detail: z
              .record(z.string(), z.unknown())
              .describe("What it was asked to do, and what came of it."),
            reason: z.string().nullable(),
          }),
        ),
        next: count().nullable(),
      }),
    handle: ({ query }, { reader }) => reader.query("acts", query),
  }),
];
