/** How the figures went, for charts. */
import { z } from "zod";
import { HISTORY_SPANS, type HistorySpan, type HistoryView } from "../watch/history.ts";
import { type Operation, operation } from "./operation.ts";
import { epochMs } from "./shapes.ts";

const SPANS = Object.keys(HISTORY_SPANS) as [HistorySpan, ...HistorySpan[]];

const column = (means: string) => z.array(z.number().nullable()).describe(means);

const columns = (): z.ZodType<HistoryView["columns"]> =>
  z.object({
    accepted: column("Messages taken in the step."),
    duplicates: column("Duplicates suppressed in it."),
    delivered: column("Deliveries made in it."),
    failedTries: column("Answers of targets in it that were anything but a yes."),
    waiting: column("Waiting or being sent at its end."),
    unknown: column("Of unknown fate at its end."),
    dead: column("Dead letters at its end."),
    oldestMs: column("Age of the oldest that waited at its end."),
    commitMsMean: column("How long a commit took, which is what an acknowledgement waits for."),
    commitMsMax: column("The longest of them."),
    deliveryMsMean: column("From being accepted to being delivered."),
    deliveryMsMax: column("The longest of them."),
    forMs: column("How long the step was: longer than usual where the store could not be read."),
  });

export const historyOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/history",
    name: "getHistory",
    tag: "gateway",
    summary: "Rates, backlog and latency over the last hour, day or month",
    notes:
      "Kept in memory since this run's start: the hour in steps of 10 s, the day of 1 min, the month of 1 h. One number per step, oldest first; null where there was nothing to measure.",
    role: "view",
    query: z.strictObject({ span: z.enum(SPANS).default("hour") }),
    answer: () =>
      z.object({
        span: z.enum(SPANS),
        stepMs: z.number(),
        asOfMs: epochMs(),
        sinceMs: epochMs().describe("Nothing is known from before."),
        agoMs: z.array(z.number()).describe("How long before `asOfMs` each step ended."),
        columns: columns(),
      }),
    handle: ({ query: { span } }, { watch }) => watch.history.view(span),
  }),
];
