/** One job: what it does, how far it is, why it does not go on, and what can be done with it. */
import { useSignal } from "@preact/signals";
import { type JobKind, type JobState, type JobView, jobTitle } from "../../core/job.ts";
import { age, count, harmless, moment } from "../../core/plain-words.ts";
import { Acts, Ask, type NamedAct } from "./acting.tsx";
import { api } from "./api.ts";
import { askNow, nowMs, status } from "./live.ts";
import { type MarkKind, State } from "./marks.tsx";
import type { Asked } from "./repairs.tsx";
import { addressOf } from "./route.ts";

const MARKS: Record<JobState, MarkKind> = {
  running: "waiting",
  paused: "paused",
  finished: "ok",
  cancelled: "idle",
  failed: "alarm",
};

/** What the report has of an open job, and the list of every one. */
type ShownJob = Pick<
  JobView,
  "id" | "kind" | "state" | "selection" | "rate" | "total" | "done" | "skipped" | "startedAtMs" | "waitsFor"
> &
  Partial<Pick<JobView, "who" | "reason" | "endedAtMs" | "error">>;

/** Those that run or are paused, also after the page was loaded anew: the gateway knows them. */
export function OpenJobs({ kind }: { kind: JobKind }) {
  const jobs = status.value!.health.jobs.filter((job) => job.kind === kind);
  if (jobs.length === 0) return null;
  return (
    <section aria-labelledby="open-jobs-title">
      <div class="row">
        <h2 id="open-jobs-title">Jobs that do this now</h2>
        <a href={addressOf("jobs")}>All jobs</a>
      </div>
      <JobList jobs={jobs} />
    </section>
  );
}

export function JobList({ jobs }: { jobs: readonly ShownJob[] }) {
  const asked = useSignal<Asked | null>(null);
  return (
    <>
      <ul class="jobs">
        {jobs.map((job) => (
          <Job
            key={job.id}
            job={job}
            ask={(question) => {
              asked.value = question;
            }}
          />
        ))}
      </ul>
      {asked.value && (
        <Ask
          {...asked.value}
          onClose={() => {
            asked.value = null;
            askNow();
          }}
        />
      )}
    </>
  );
}

function Job({ job, ask }: { job: ShownJob; ask: (question: Asked) => void }) {
  const { id, state, total, done, skipped, waitsFor, rate, startedAtMs, endedAtMs, who, reason, error } = job;
  const open = state === "running" || state === "paused";
  const left = total === null ? null : Math.max(0, total - done - skipped);
  return (
    <li class="box" aria-label={`Job ${id}`}>
      <h2>
        Job {id}: {harmless(jobTitle(job))} <State kind={MARKS[state]}>{state}</State>
      </h2>
      {open && total !== null && (
        <progress
          max={Math.max(1, total)}
          value={Math.min(total, done + skipped)}
          aria-label={`Progress of job ${id}`}
        />
      )}
      <p>
        {count(done)}
        {total === null ? "" : ` of ${count(total)}`} put in line
        {skipped > 0 && `, ${count(skipped)} left alone because they were in another state by then`}
        {open && `, at most ${count(rate)} a second`}
        {state === "running" &&
          waitsFor === null &&
          left !== null &&
          left > 0 &&
          `; about ${age(Math.max(1000, (left * 1000) / rate))} to go`}
        .{waitsFor !== null && <b> It waits: {harmless(waitsFor)}.</b>}
        {error && <span class="error"> {harmless(error)}.</span>}
      </p>
      <p class="quiet">
        Begun {who === undefined ? "" : `by ${harmless(who)} `}at {moment(startedAtMs, nowMs.value)}
        {endedAtMs ? `, ended at ${moment(endedAtMs, nowMs.value)}` : ""}
        {reason ? `, because: ${harmless(reason)}` : ""}.
      </p>
      {open && <Acts acts={actsOn(job, ask)} />}
    </li>
  );
}

function actsOn(job: ShownJob, ask: (question: Asked) => void): NamedAct[] {
  const { id, state } = job;
  const question = (
    name: string,
    what: "pause" | "resume" | "cancel",
    then: string,
    so: string,
  ): NamedAct => ({
    name,
    on: `job ${id}`,
    onAct: () =>
      ask({
        title: `${name} job ${id}?`,
        yes: `${name} the job`,
        children: <p>{then}</p>,
        act: async () => {
          const { done } = await api.changeJob(id, what);
          return `${so} It has put ${count(done)} in line.`;
        },
      }),
  });
  return [
    state === "paused"
      ? question("Go on with", "resume", "It goes on where it was.", "It goes on.")
      : question(
          "Pause",
          "pause",
          "It stays where it is, over restarts too, until somebody goes on with it.",
          "It is paused.",
        ),
    question(
      "Cancel",
      "cancel",
      "It ends where it is. What it has put in line stays there.",
      "It is cancelled.",
    ),
  ];
}
