/** Jobs as people read them on a terminal. */
import { type Estimate, type Job, type JobView, jobTitle } from "../core/job.ts";
import { formatBytes } from "../core/units.ts";
import type { CliIo } from "./io.ts";
import { age, count, counted, harmless, moment, table } from "./plain-words.ts";

const BAR_COLUMNS = 24;
/** Where standard output is no terminal. */
const COLUMNS_DEFAULT = 100;

export function titleOf(job: Pick<Job, "kind" | "selection">): string {
  return harmless(jobTitle(job));
}

/** `1,250 of 20,000`, with what is left alone. */
export function progress({ total, done, skipped }: Pick<Job, "total" | "done" | "skipped">): string {
  const of = total === null ? "" : ` of ${count(Math.max(total, done + skipped))}`;
  return `${count(done)}${of}${skipped > 0 ? ` (${count(skipped)} left alone)` : ""}`;
}

export function bar({ total, done, skipped }: Pick<Job, "total" | "done" | "skipped">): string {
  const share = total === null || total === 0 ? 0 : Math.min(1, (done + skipped) / total);
  const full = Math.round(share * BAR_COLUMNS);
  return `[${"#".repeat(full)}${"-".repeat(BAR_COLUMNS - full)}] ${String(Math.floor(share * 100)).padStart(3)}%`;
}

/** One line for where it is now. */
export function nowLine(job: JobView): string {
  if (job.state !== "running") return `${progress(job)}, ${job.state}`;
  if (job.waitsFor !== null) return `${progress(job)}, waits: ${harmless(job.waitsFor)}`;
  const left = job.total === null ? null : job.total - job.done - job.skipped;
  const leftMs = left === null || left <= 0 ? null : (left / job.rate) * 1000;
  return `${progress(job)}, ${job.rate}/s${leftMs === null ? "" : `, ${leftMs < 1000 ? "" : "about "}${age(leftMs)} left`}`;
}

export function story(job: JobView, wallMs: number): string {
  const lines = [
    `job ${job.id}    ${titleOf(job)}`,
    `state    ${job.state}${job.error === null ? "" : `: ${harmless(job.error)}`}`,
    `done     ${nowLine(job)}`,
    `begun    ${moment(job.startedAtMs, wallMs)} by ${harmless(job.who)}${job.reason === null ? "" : `: ${harmless(job.reason)}`}`,
  ];
  if (job.endedAtMs !== null) lines.push(`ended    ${moment(job.endedAtMs, wallMs)}`);
  return lines.join("\n");
}

export function jobTable(io: CliIo, jobs: readonly JobView[], wallMs: number): string {
  const rows = jobs.map((job) => [
    String(job.id),
    job.state,
    progress(job),
    moment(job.startedAtMs, wallMs),
    harmless(job.who),
    titleOf(job),
  ]);
  const head = [
    { title: "job" },
    { title: "state" },
    { title: "done" },
    { title: "begun" },
    { title: "by", shrinkTo: 8 },
    { title: "what", shrinkTo: 20 },
  ];
  const columns = io.stdout.columns ?? COLUMNS_DEFAULT;
  return table(head, rows, columns, (text) => io.paint("dim", text)).join("\n");
}

export function estimateWords(estimate: Estimate, wallMs: number): string {
  const { count: found, complete, bytes, oldestMs, newestMs, rate, durationMs, goneAtMost } = estimate;
  const gone =
    goneAtMost === 0
      ? []
      : [
          `Removed by retention and not to be had again: at most ${counted(goneAtMost, "delivered message")}${estimate.keptFromMs === null ? "" : `; kept is what came from ${moment(estimate.keptFromMs, wallMs)} on`}.`,
        ];
  if (found === 0) return ["Nothing is found.", ...gone].join("\n");
  const span =
    oldestMs === null || newestMs === null
      ? ""
      : `, accepted from ${moment(oldestMs, wallMs)} to ${moment(newestMs, wallMs)}`;
  return [
    `${complete ? "" : "At least "}${counted(found, "delivery", "deliveries")}, ${formatBytes(bytes)} of payload${span}.`,
    `At ${rate}/s that takes ${complete ? "" : "at least "}${age(Math.max(durationMs, 1000))}.`,
    ...gone,
  ].join("\n");
}
