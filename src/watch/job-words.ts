/** Jobs as the report and the list of events show them. Pure. */
import { type Job, type JobState, jobTitle } from "../core/job.ts";
import { count } from "../core/plain-words.ts";
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
  const left =
    skipped === 0 ? "" : `, ${count(skipped)} left alone because they were in another state by then`;
  const so: Record<JobState, string> = {
    running: `goes at ${count(rate)} a second${total === null ? "" : `: ${count(done)} of ${count(total)} done`}`,
    paused: `is paused after ${count(done)}`,
    finished: `is finished: ${count(done)} put in line${left}`,
    cancelled: `was cancelled after ${count(done)}${left}`,
    failed: `failed after ${count(done)}: ${error}`,
  };
  return so[state];
}
