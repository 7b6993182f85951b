/** Dead letters: what needs a person, putting it back in line, giving it up. */
import { z } from "zod";
import { CURSOR_PATTERN, DEAD_PAGE_MAX } from "../queue/queries-failures.ts";
import { reason } from "./acts.ts";
import { reasons } from "./flow-shapes.ts";
import { type Operation, operation } from "./operation.ts";
import { deliveries, isSelection, NO_SELECTION, selected, selection, step, stepped } from "./selection.ts";
import { count, epochMs, flowName, pageLimit } from "./shapes.ts";

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
    body: z.strictObject({ ...selection, reason: reason.optional() }).refine(isSelection, NO_SELECTION),
    answer: () => z.object({ redriven: count(), ...step() }),
    async handle({ body: { reason: why, ...asked }, caller }, { redrive, watch }) {
      const act = { who: caller.name, what: "retryDead", detail: asked, reason: why ?? null };
      const { redriven, next, left } = await redrive({ ...selected(asked), act });
      const sentence = `${caller.name} put ${deliveries(redriven)} back in line`;
      watch.events.tell({ kind: "act", severity: "info", subject: caller.name, sentence });
      return { redriven, ...stepped({ next, left }) };
    },
  }),
  operation({
    method: "POST",
    path: "/v1/dead/discard",
    name: "discardDead",
    tag: "repair",
    summary: "Gives dead letters and held unknowns up: they are not sent, and stay on record as discarded",
    notes:
      "Nothing brings them back. What stands behind a held one in its lane goes on. Discarded messages leave the store after queue.retention.",
    role: "operate",
    body: z.strictObject({ ...selection, reason }).refine(isSelection, NO_SELECTION),
    answer: () => z.object({ discarded: count(), ...step() }),
    async handle({ body: { reason: why, ...asked }, caller }, { repairs, watch }) {
      const act = { who: caller.name, what: "discardDead", detail: asked, reason: why };
      const word = { by: caller.name, why };
      const { count: discarded, ...rest } = await repairs.discard({ ...selected(asked), word, act });
      const sentence = `${caller.name} discarded ${deliveries(discarded)}: ${why}`;
      watch.events.tell({ kind: "act", severity: "info", subject: caller.name, sentence });
      return { discarded, ...stepped(rest) };
    },
  }),
];
