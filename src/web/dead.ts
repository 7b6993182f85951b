/** Dead letters: what needs a person, and putting it back in line. */
import { z } from "zod";
import { CURSOR_PATTERN, DEAD_PAGE_MAX } from "../queue/queries-failures.ts";
import { reason } from "./acts.ts";
import { reasons } from "./flow-shapes.ts";
import { type Operation, operation } from "./operation.ts";
import { count, epochMs, flowName, messageId, pageLimit } from "./shapes.ts";

/** Put back by one request; a client that wants more asks again, so that no commit becomes long. */
export const RETRY_LIMIT_MAX = 5000;
const RETRY_LIMIT_DEFAULT = 1000;
const IDS_MAX = 1000;
const REASON_CHARS_MAX = 2000;

export const deadOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/dead",
    name: "listDead",
    tag: "repair",
    summary: "Dead letters, newest first, and why they are dead",
    role: "view",
    query: z.strictObject({
      flow: flowName.optional(),
      reason: z
        .string()
        .min(1)
        .max(REASON_CHARS_MAX)
        .optional()
        .describe("Of this group alone, as `reasons` calls it; `total` and `reasons` are of all groups."),
      after: z.string().regex(CURSOR_PATTERN, "expected `next` of the page before").optional(),
      limit: pageLimit(DEAD_PAGE_MAX, 100),
    }),
    answer: () =>
      z.object({
        total: count(),
        letters: z.array(
          z.object({
            id: z.string(),
            seq: count(),
            device: z.string(),
            topic: z.string(),
            flow: z.string(),
            key: z.string(),
            reason: z.string().nullable(),
            attempts: count(),
            acceptedAtMs: epochMs(),
            deadAtMs: epochMs(),
            payloadBytes: count(),
          }),
        ),
        next: z.string().nullable(),
        reasons: reasons().describe("Over all of them, not only this page."),
      }),
    handle: ({ query }, { reader }) => reader.query("deadLetters", query),
  }),
  operation({
    method: "POST",
    path: "/v1/dead/retry",
    name: "retryDead",
    tag: "repair",
    summary:
      "Puts dead letters and held unknowns back in line, under their id and at their place in the lane",
    role: "operate",
    body: z
      .strictObject({
        flow: flowName.optional(),
        ids: z.array(messageId).min(1).max(IDS_MAX).optional(),
        all: z.literal(true).optional(),
        reason: reason.optional(),
        limit: z.int().min(1).max(RETRY_LIMIT_MAX).default(RETRY_LIMIT_DEFAULT),
      })
      .refine(({ flow, ids, all }) => flow !== undefined || ids !== undefined || all, {
        message: 'expected flow, ids, or "all": true',
      }),
    answer: () => z.object({ redriven: count() }),
    async handle({ body: { reason: why, ...asked }, caller }, { redrive, watch }) {
      const { all: _, ...selection } = asked;
      const act = { who: caller.name, what: "retryDead", detail: asked, reason: why ?? null };
      const { redriven } = await redrive({ ...selection, act });
      const sentence = `${caller.name} put ${redriven} ${redriven === 1 ? "delivery" : "deliveries"} back in line`;
      watch.events.tell({ kind: "act", severity: "info", subject: caller.name, sentence });
      return { redriven };
    },
  }),
];
