/** Which deliveries a repair is about, and what one step of it came to (queue/selection.ts). */
import { z } from "zod";
import type { Left, Selection } from "../queue/selection.ts";
import { count, deliveryState, flowName, messageId } from "./shapes.ts";

/** Done by one request; a client that wants more asks again, so that no commit becomes long. */
export const REPAIR_LIMIT_MAX = 5000;
const LIMIT_DEFAULT = 1000;
const IDS_MAX = 1000;
const GROUP_CHARS_MAX = 2000;

/** What a body has that names deliveries; refined by isSelection. */
export const selection = {
  ids: z.array(messageId).min(1).max(IDS_MAX).optional(),
  flow: flowName.optional().describe("All of this flow; with ids or a group: only on this flow."),
  group: z
    .string()
    .min(1)
    .max(GROUP_CHARS_MAX)
    .optional()
    .describe("Of this group of reasons alone, as `reasons.groups[].reason` of `GET /v1/dead` calls it."),
  all: z.literal(true).optional().describe("All there are, of every flow."),
  after: count().optional().describe("`next` of the step before."),
  limit: z.int().min(1).max(REPAIR_LIMIT_MAX).default(LIMIT_DEFAULT),
};

export function isSelection({
  ids,
  flow,
  group,
  all,
}: { [K in "ids" | "flow" | "group" | "all"]?: unknown }) {
  return [ids, flow, group, all].some((each) => each !== undefined);
}

export const NO_SELECTION = { message: 'expected ids, flow, group, or "all": true' };

export function selected<S extends Selection & { readonly all?: true }>({
  all: _,
  ...rest
}: S): Omit<S, "all"> {
  return rest;
}

/** Shapes of answers are functions (see operation.ts). */
export const step = () => ({
  next: count()
    .nullable()
    .describe(
      "Where there may be more: ask again with it as `after`; null at the end. A step may find none and go on.",
    ),
  left: z
    .array(z.object({ id: z.string(), states: z.array(deliveryState) }))
    .describe(
      "Of ids that were asked for, those of which nothing was taken, and what they are; no state: not found.",
    ),
});

export function stepped({ next, left }: { readonly next?: number; readonly left?: readonly Left[] }) {
  return { next: next ?? null, left: left ?? [] };
}

export function deliveries(n: number): string {
  return `${n} ${n === 1 ? "delivery" : "deliveries"}`;
}
