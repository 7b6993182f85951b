/** Jobs as the report and the list of events show them. Pure. */
import { type Job, type JobState, jobTitle } from "../core/job.ts";
import type { GatewayEvent } from "./events.ts";
import type { JobFacts } from "./sources.ts";

type OpenJob = ReturnType<JobFacts["open"]>[number];

export function jobBrief(job: OpenJob): OpenJob {
  const { id, kind, state, selection, rate, total, done, skipped, startedAtMs, waitsFor } = job;
  return { id, kind, state, selection, rate, total, done, skipped, startedAtMs, waitsFor };
}

export function jobWords(job: Job): Pick<GatewayEvent, "severity" | "sentence"> {
  const severity = job.state === "failed" ? "attention" : "info";
  return { severity, sentence: `job ${job.id} (${jobTitle(job)}, by ${job.who}) ${stateWords(job)}` };
}

function stateWords({ state, total, rate, done, skipped, error }: Job): string {
  const left = skipped === 0 ? "" : `, ${skipped} left alone because they were in another state by then`;
  const so: Record<JobState, string> = {
    running: `goes at ${rate} a second${total === null ? "" : `: ${done} of ${total} done`}`,
    paused: `is paused after ${done}`,
    finished: `is finished: ${done} put in line${left}`,
    cancelled: `was cancelled after ${done}${left}`,
    failed: `failed after ${done}: ${error}`,
  };
  return so[state];
}
