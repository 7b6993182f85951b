/** Jobs: work on many deliveries at a rate, with progress, that can be paused and survives a restart. */
import { z } from "zod";
import { HoldfastError } from "../core/errors.ts";
import type { Job, JobView } from "../core/job.ts";
import type { JobAsk } from "../relay/jobs.ts";
import { reason } from "./acts.ts";
import type { ApiContext } from "./context.ts";
import { estimate, JOB_BODY_BYTES_MAX, job, jobAsk } from "./job-shapes.ts";
import { type Operation, operation } from "./operation.ts";
import { count, pageLimit } from "./shapes.ts";

const JOBS_PAGE_MAX = 1000;

const jobId = z.strictObject({ id: z.coerce.number().int().min(1).describe("Number of the job.") });

function askOf({ kind, from, to, rate, ids, all: _, reason: __, ...rest }: z.output<typeof jobAsk>): JobAsk {
  return { kind, selection: { ...rest, fromMs: from, toMs: to }, ids, rate };
}

/** An open job with what it waits for, which only the relay knows. */
function viewOf(found: Job, { jobs }: Pick<ApiContext, "jobs">): JobView {
  return { ...found, waitsFor: jobs.open().find(({ id }) => id === found.id)?.waitsFor ?? null };
}

function changing(
  what: "pause" | "resume" | "cancel",
  to: "paused" | "running" | "cancelled",
  summary: string,
) {
  const name = `${what}Job`;
  return operation({
    method: "POST",
    path: `/v1/jobs/:id/${what}`,
    name,
    tag: "repair",
    summary,
    role: "operate",
    params: jobId,
    body: z.strictObject({ reason: reason.optional() }),
    answer: job,
    handle: ({ params: { id }, body, caller }, { jobs }) =>
      jobs.change(id, to, {
        who: caller.name,
        what: name,
        detail: { job: id },
        reason: body.reason ?? null,
      }),
  });
}

export const jobOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/jobs",
    name: "listJobs",
    tag: "repair",
    summary: "Jobs, newest first: what they do, how far they are",
    notes:
      "The newest 1,000 are kept. Those that are open are in `health.jobs` of /v1/status and of the stream, too.",
    role: "view",
    query: z.strictObject({
      open: z.enum(["true", "false"]).optional().describe("`true`: only those that run or are paused."),
      before: z.coerce.number().int().min(1).optional().describe("`next` of the page before."),
      limit: pageLimit(JOBS_PAGE_MAX, 100),
    }),
    answer: () => z.object({ jobs: z.array(job()), next: count().nullable() }),
    async handle({ query: { open, before, limit = 100 } }, context) {
      const found = await context.reader.query("jobs", { open: open === "true", before, limit });
      const next = found.length < limit ? null : (found.at(-1)?.id ?? null);
      return { jobs: found.map((each) => viewOf(each, context)), next };
    },
  }),
  operation({
    method: "POST",
    path: "/v1/jobs/estimate",
    name: "estimateJob",
    tag: "repair",
    summary: "What a job would do, without doing it: how many, how old, how large, how long it would take",
    role: "view",
    body: jobAsk,
    bodyBytesMax: JOB_BODY_BYTES_MAX,
    answer: estimate,
    handle: ({ body }, { jobs }) => jobs.estimate(askOf(body)),
  }),
  operation({
    method: "POST",
    path: "/v1/jobs",
    name: "beginJob",
    tag: "repair",
    summary:
      "Begins a job: `redrive` puts dead letters back in line, `replay` delivers delivered messages again",
    notes:
      "Ids and the order of each lane are kept. A job takes what there is when it begins, goes from the oldest to the newest at its rate, waits while its target is away, and goes on after a restart. A replay is marked as such at the target; commands are never replayed.",
    role: "operate",
    body: jobAsk,
    bodyBytesMax: JOB_BODY_BYTES_MAX,
    status: 201,
    answer: job,
    handle({ body, caller }, { jobs }) {
      const { reason: why, ids, ...detail } = body;
      const named = ids ? { ids: ids.length } : {};
      const act = {
        who: caller.name,
        what: "beginJob",
        detail: { ...detail, ...named },
        reason: why ?? null,
      };
      return jobs.begin(askOf(body), act);
    },
  }),
  operation({
    method: "GET",
    path: "/v1/jobs/:id",
    name: "getJob",
    tag: "repair",
    summary: "One job",
    role: "view",
    params: jobId,
    answer: job,
    async handle({ params: { id } }, context) {
      const found = await context.reader.query("job", { id });
      if (!found) throw new HoldfastError("HF_NOT_FOUND", `there is no job ${id}`, { id });
      return viewOf(found, context);
    },
  }),
  changing("pause", "paused", "Pauses a job: it stays where it is, over restarts too"),
  changing("resume", "running", "Goes on with a paused job"),
  changing("cancel", "cancelled", "Ends a job where it is; what it has put in line stays there"),
];
