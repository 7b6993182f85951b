/** Jobs for a door without a relay behind it: what is asked for is written down, and answered as said. */
import { HoldfastError } from "../../src/core/errors.ts";
import type { Estimate, JobView } from "../../src/core/job.ts";
import type { Act } from "../../src/queue/acts.ts";
import type { JobAsk, Jobs } from "../../src/relay/jobs.ts";

export class ScriptedJobs implements Pick<Jobs, "open" | "moved" | "estimate" | "begin" | "change"> {
  readonly moved = { redrive: 0, replay: 0 };
  readonly asked: JobAsk[] = [];
  readonly acts: Act[] = [];
  jobs: JobView[] = [];
  counted: Estimate = {
    count: 0,
    bytes: 0,
    oldestMs: null,
    newestMs: null,
    complete: true,
    rate: 100,
    durationMs: 0,
    goneAtMost: 0,
    keptFromMs: null,
  };

  open(): JobView[] {
    return this.jobs.filter(({ state }) => state === "running" || state === "paused");
  }

  async estimate(ask: JobAsk): Promise<Estimate> {
    this.asked.push(ask);
    return this.counted;
  }

  async begin(ask: JobAsk, act: Act): Promise<JobView> {
    this.asked.push(ask);
    this.acts.push(act);
    const job = madeJob({ ...ask, id: this.jobs.length + 1, rate: ask.rate ?? 100 });
    this.jobs.push(job);
    return job;
  }

  async change(id: number, to: JobView["state"], act: Act): Promise<JobView> {
    const found = this.jobs.find((job) => job.id === id);
    if (!found) throw new HoldfastError("HF_NOT_FOUND", `there is no job ${id}`, { id });
    this.acts.push(act);
    const changed = { ...found, state: to };
    this.jobs = this.jobs.map((job) => (job.id === id ? changed : job));
    return changed;
  }
}

export function madeJob(fields: Partial<JobView> = {}): JobView {
  return {
    id: 1,
    kind: "redrive",
    state: "running",
    selection: {},
    rate: 100,
    who: "local",
    reason: null,
    total: 10,
    done: 0,
    skipped: 0,
    atSeq: 0,
    untilSeq: 10,
    startedAtMs: 1,
    updatedAtMs: 1,
    endedAtMs: null,
    error: null,
    waitsFor: null,
    ...fields,
  };
}
