/** What a backend has, held against what was delivered to it. */
import { z } from "zod";
import { HoldfastError } from "../core/errors.ts";
import { FINDINGS, type Finding } from "../queue/id-list.ts";
import type { ApiContext } from "./context.ts";
import { mediaType, type Operation, operation } from "./operation.ts";
import { count, flowName, moment } from "./shapes.ts";

const LIST_BYTES_MAX = 128 * 2 ** 20;
const SHOWN_MAX = 5000;
const SHOWN_DEFAULT = 20;
const COLUMN_CHARS_MAX = 100;

const JSON_TYPE = "application/json";

const ofEach = <T extends z.ZodType>(value: () => T) =>
  z.object(Object.fromEntries(FINDINGS.map((what) => [what, value()])) as Record<Finding, T>);

const lines = (what: string) => () => z.string().describe(what);

export const reconcileOperations: readonly Operation[] = [
  operation({
    method: "POST",
    path: "/v1/reconcile",
    name: "reconcile",
    tag: "flows",
    summary: "Holds a backend's list of ids against what was delivered to it; reports, and changes nothing",
    notes:
      "missing: delivered here, and not there. doubled: there more than once. unexpected: there, and not known on this flow (any more). not delivered here: there, and here still waiting, unknown or dead. What is missing is sent again by `beginJob` with `kind: replay` and these ids. One list at a time.",
    role: "view",
    query: z.strictObject({
      flow: flowName.describe("The flow that delivers to that backend."),
      from: moment.optional().describe("Of messages accepted from then on."),
      to: moment.optional().describe("Of messages accepted before then; default: `madeAt`."),
      madeAt: moment
        .optional()
        .describe("When the list was made: what was delivered later is left out of account. Default: now."),
      column: z
        .string()
        .min(1)
        .max(COLUMN_CHARS_MAX)
        .default("id")
        .describe("What the id is called in the list: a column of CSV, a member of JSON."),
      limit: z.coerce
        .number()
        .int()
        .min(0)
        .max(SHOWN_MAX)
        .default(SHOWN_DEFAULT)
        .describe(`Ids that are shown of each kind, at most; default ${SHOWN_DEFAULT}.`),
    }),
    upload: {
      "text/csv": lines(
        "An id a line, in the first column or in the one that the first line calls `column`.",
      ),
      "application/x-ndjson": lines('A JSON value a line: `"id"`, or an object with one in `column`.'),
      "application/jsonl": lines("The same."),
      [JSON_TYPE]: () =>
        z
          .object({ ids: z.array(z.string()) })
          .describe("Read whole, and so of 8 MiB at most; longer lists go by lines."),
    },
    answer: () =>
      z.object({
        flow: z.string(),
        listed: count().describe("Ids in the list, each counted once."),
        agreed: count().describe("Of these: delivered here within the time."),
        later: count().describe("Delivered here after the list was made, and not on it."),
        outside: count().describe("In the list, and here of another time."),
        pruned: count().describe("Ever delivered on this flow, and removed by retention since."),
        found: ofEach(count),
        shown: ofEach(() =>
          z
            .array(
              z.object({
                id: z.string(),
                detail: z
                  .string()
                  .nullable()
                  .describe("How often it is there (doubled), or its state here (not delivered here)."),
              }),
            )
            .describe("The first `limit` of them."),
        ),
      }),
    async handle({ query: { flow, from, to, madeAt, column, limit }, request, reply }, context) {
      await demandFlow(flow, context);
      const { clock } = context;
      const madeAtMs = madeAt ?? clock.wallMs();
      const range = { fromMs: from ?? Number.NEGATIVE_INFINITY, toMs: to ?? madeAtMs, madeAtMs };
      const json = mediaType(request.headers) === JSON_TYPE;
      const { bytes, gone } = context.uploads.take(request.raw, reply.raw, {
        bytesMax: LIST_BYTES_MAX,
        clock,
      });
      const found = await context.reconciling.run({ flow, column, json, range, limit }, bytes, gone);
      return { flow, ...found };
    },
  }),
];

/** With a flow that there is not, everything would be unexpected. */
async function demandFlow(
  flow: string,
  { reader, steadyMs, watch }: Pick<ApiContext, "reader" | "steadyMs" | "watch">,
): Promise<void> {
  if (watch.report().flows.some((each) => each.flow === flow)) return;
  const { flows } = await reader.query("overview", { steadyNowMs: steadyMs() });
  if (flows.some((each) => each.flow === flow)) return;
  throw new HoldfastError("HF_NOT_FOUND", `there is no flow ${flow}`, { flow });
}
