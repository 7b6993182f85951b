/**
 * Carries jobs on (queue/jobs.ts says what they are): looks up what is next on the reader's thread, has the store move
 * it, tells the relay which lanes have something now, and waits as long as the job's rate wants.
 *
 * Promise: a job goes at its rate at most, one short commit a step, and on where it was after a restart. Its steps give
 * way: none is taken while the store has no room, and none while the target that it feeds is away, since what is put
 * in line then would hit that target all at once when it is back.
 */
import { type Clock, sleep } from "../core/clock.ts";
import { isBuiltInFlow } from "../core/command-message.ts";
import { errorText, HoldfastError } from "../core/errors.ts";
import type { Flow } from "../core/flow.ts";
import type { Estimate, Job, JobKind, JobSelection, JobView } from "../core/job.ts";
import type { Logger } from "../core/logger.ts";
import { BaseService } from "../core/service.ts";
import type { Act } from "../queue/acts.ts";
import type { JobChange, JobStart } from "../queue/jobs.ts";
import type { JobPageParams } from "../queue/queries-jobs.ts";
import type { Querying } from "../queue/reader.ts";
import type { Store } from "../queue/store.ts";
import type { Relay } from "./relay.ts";
import type { RelayConfig } from "./schema.ts";

/** A step is what the rate gives in so long… */
const STEP_MS = 250;
/** …but not more deliveries than this, so that its commit stays short. */
const STEP_ROWS_MAX = 200;
/** Between two looks whether what a job waits for is over, and after a question that failed. */
const HOLD_MS = 1000;
/** Questions in a row that may fail before the job does. */
const FAILURES_MAX = 10;
/** An estimate looks at pages for at most this long. */
const ESTIMATE_MS_MAX = 5000;
const ESTIMATE_PAGE = 5000;

export interface JobAsk {
  readonly kind: JobKind;
  readonly selection: JobSelection;
  readonly ids?: readonly string[];
  /** Messages a second. */
  readonly rate?: number;
}

export interface JobsOptions {
  readonly config: RelayConfig["jobs"];
  readonly flows: readonly Flow[];
  readonly store: Pick<Store, "call" | "state">;
  readonly reader: Querying;
  readonly relay: Pick<Relay, "arrived" | "views" | "pauses">;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Open {
  job: Job;
  waitsFor: string | null;
}

export class Jobs extends BaseService {
  readonly #options: JobsOptions;
  readonly #flows: ReadonlyMap<string, Flow>;
  readonly #open = new Map<number, Open>();
  readonly #working = new Map<number, Promise<void>>();
  readonly #stop = new AbortController();
  /** Deliveries put in line in this run, by kind of job. */
  readonly moved: Record<JobKind, number> = { redrive: 0, replay: 0 };

  /** Called when a job begins, pauses, goes on or ends. */
  onState: (job: Job) => void = () => {};

  constructor(options: JobsOptions) {
    super();
    this.#options = options;
    this.#flows = new Map(options.flows.map((flow) => [flow.name, flow]));
  }

  /** Those that run or are paused. */
  open(): JobView[] {
    return [...this.#open.values()].map(({ job, waitsFor }) => ({ ...job, waitsFor }));
  }

  /** Throws HF_REQUEST for what cannot be done. */
  async estimate(ask: JobAsk): Promise<Estimate> {
    const rate = this.#checked(ask);
    const { reader, clock } = this.#options;
    const { kind, selection, ids } = ask;
    const scope = await reader.query("jobScope", { flow: selection.flow });
    const { untilSeq, keptFromMs } = scope;
    const untilMs = clock.monoMs() + ESTIMATE_MS_MAX;
    const params: JobPageParams = { kind, selection, ids, afterSeq: 0, untilSeq, limit: ESTIMATE_PAGE };
    const seen = { count: 0, bytes: 0, oldest: [] as number[], newest: [] as number[] };
    let ended = false;
    for (let afterSeq = 0; !ended && clock.monoMs() < untilMs; ) {
      const page = await reader.query("jobPage", { ...params, afterSeq });
      seen.count += page.rows.length;
      seen.bytes += page.bytes;
      if (page.oldestMs !== null) seen.oldest = [Math.min(...seen.oldest, page.oldestMs)];
      if (page.newestMs !== null) seen.newest = [Math.max(...seen.newest, page.newestMs)];
      ended = page.ended;
      afterSeq = page.toSeq;
    }
    const { fromMs = 0 } = selection;
    const mayBeGone = kind === "replay" && !ids && (keptFromMs === null || fromMs < keptFromMs);
    return {
      count: seen.count,
      bytes: seen.bytes,
      oldestMs: seen.oldest[0] ?? null,
      newestMs: seen.newest[0] ?? null,
      complete: ended,
      rate,
      durationMs: Math.ceil((seen.count / rate) * 1000),
      goneAtMost: mayBeGone ? scope.prunedDelivered : 0,
      keptFromMs,
    };
  }

  /** Resolves when it is on disk. Throws HF_REQUEST for what cannot be done, HF_TOO_MANY where too many are open. */
  async begin(ask: JobAsk, act: Act): Promise<JobView> {
    const { count, complete, rate } = await this.estimate(ask);
    const { openMax } = this.#options.config;
    const start: JobStart = { ...ask, rate, total: complete ? count : null, openMax, act };
    const result = await this.#options.store.call("startJob", start);
    if (result.kind === "too many") {
      const message = `${result.open} jobs run or are paused already (relay.jobs.openMax)`;
      throw new HoldfastError("HF_TOO_MANY", message, { retryAfterS: 5 });
    }
    return this.#took(result.job);
  }

  /** Throws HF_NOT_FOUND, or HF_JOB_STATE where it is in another state than that is about. */
  async change(id: number, to: JobChange["to"], act: Act): Promise<JobView> {
    const result = await this.#options.store.call("changeJob", { id, to, act });
    if (result.kind === "not found") throw new HoldfastError("HF_NOT_FOUND", `there is no job ${id}`, { id });
    if (result.kind === "not now") {
      const { state } = result.job;
      throw new HoldfastError("HF_JOB_STATE", `job ${id} is ${state}`, { id, state });
    }
    return this.#took(result.job);
  }

  protected async onStart(): Promise<void> {
    for (const job of await this.#options.reader.query("jobs", { open: true })) this.#took(job, false);
  }

  protected async onStop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#working.values());
  }

  /** As the store has it now. */
  #took(job: Job, isNews = true): JobView {
    const known = this.#open.get(job.id) ?? { job, waitsFor: null };
    known.job = job;
    if (job.state !== "running") known.waitsFor = null;
    if (isOpen(job)) this.#open.set(job.id, known);
    else this.#open.delete(job.id);
    if (isNews) this.onState(job);
    if (job.state === "running" && !this.#working.has(job.id) && !this.stopping) {
      const work = this.#work(known).finally(() => this.#working.delete(job.id));
      this.#working.set(job.id, work);
    }
    return { ...job, waitsFor: known.waitsFor };
  }

  async #work(open: Open): Promise<void> {
    const { clock, logger } = this.#options;
    const { signal } = this.#stop;
    let dueMs = clock.monoMs();
    for (let failures = 0; open.job.state === "running" && !this.stopping; ) {
      open.waitsFor = this.#hold(open.job);
      if (open.waitsFor !== null) {
        await sleep(clock, HOLD_MS, signal);
        continue;
      }
      try {
        const moved = await this.#step(open);
        failures = 0;
        dueMs = Math.max(dueMs, clock.monoMs()) + (moved / open.job.rate) * 1000;
      } catch (error) {
        if (this.stopping || this.#options.store.state.kind === "failed") return;
        failures += 1;
        logger.warn({ job: open.job.id, err: error }, "a step of a job failed; it is tried again");
        if (failures >= FAILURES_MAX) return this.#fail(open, errorText(error));
        dueMs = clock.monoMs() + HOLD_MS;
      }
      const waitMs = Math.ceil(dueMs - clock.monoMs());
      if (waitMs > 0) await sleep(clock, waitMs, signal);
    }
  }

  /** How many it moved. */
  async #step(open: Open): Promise<number> {
    const { store, reader, relay } = this.#options;
    const { id, kind, selection, rate, untilSeq, atSeq } = open.job;
    const into = selection.into === undefined ? undefined : this.#flows.get(selection.into);
    if (selection.into !== undefined && !into) {
      await this.#fail(open, `flow ${selection.into} is not in the config any more`);
      return 0;
    }
    const limit = Math.min(STEP_ROWS_MAX, Math.max(1, Math.ceil((rate * STEP_MS) / 1000)));
    const job = selection.named === undefined ? undefined : id;
    const look: JobPageParams = { kind, selection, job, afterSeq: atSeq, untilSeq, limit };
    let page = await reader.query("jobPage", look);
    // What is only looked at needs no commit.
    while (page.rows.length === 0 && !page.ended && !this.stopping && open.job.state === "running") {
      page = await reader.query("jobPage", { ...look, afterSeq: page.toSeq });
    }
    if (this.stopping) return 0;
    const { rows, toSeq, ended } = page;
    const step = { id, fromSeq: atSeq, toSeq, rows, ended, intoOrder: into?.orderBy };
    const result = await store.call("stepJob", step);
    this.moved[kind] += result.moved;
    relay.arrived(result.lanes, { headChanged: true });
    this.#took(result.job, result.job.state !== open.job.state);
    return result.moved;
  }

  async #fail(open: Open, error: string): Promise<void> {
    this.#options.logger.error({ job: open.job.id, err: error }, "a job failed");
    const result = await this.#options.store.call("changeJob", { id: open.job.id, to: "failed", error });
    if (result.kind === "changed") this.#took(result.job);
  }

  #hold({ selection }: Job): string | null {
    const { store, relay } = this.#options;
    if (store.state.kind === "full") return "the store has no room";
    const flow = this.#flows.get(selection.into ?? selection.flow ?? "");
    if (!flow) return null;
    const pause = relay.pauses.all.find(
      ({ kind, name }) => (kind === "flow" && name === flow.name) || (kind === "target" && name === flow.to),
    );
    if (pause) return `${pause.kind} ${pause.name} is paused`;
    return relay.views().get(flow.to)?.circuit.state === "open" ? `target ${flow.to} is away` : null;
  }

  /** Its rate. */
  #checked({ selection, rate = this.#options.config.rate }: JobAsk): number {
    const { rateMax } = this.#options.config;
    if (rate > rateMax) {
      throw new HoldfastError("HF_REQUEST", `rate: at most ${rateMax} a second (relay.jobs.rateMax)`);
    }
    for (const name of [selection.flow, selection.into]) {
      if (name !== undefined && isBuiltInFlow(name)) {
        throw new HoldfastError("HF_REQUEST", `${name}: commands and their results are never sent again`);
      }
    }
    if (selection.into !== undefined && !this.#flows.has(selection.into)) {
      throw new HoldfastError("HF_REQUEST", `into: flow ${selection.into} is not in the config`);
    }
    return rate;
  }
}

function isOpen({ state }: Job): boolean {
  return state === "running" || state === "paused";
}
