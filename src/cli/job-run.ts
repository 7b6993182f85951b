/**
 * Begins a job and follows it: an estimate first, then its progress. The job is the gateway's: Ctrl-C ends the
 * following alone, and says how the job is stopped.
 */
import { sleep, systemClock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { Estimate, JobView } from "../core/job.ts";
import type { GatewayClient } from "./api-client.ts";
import type { CliIo } from "./io.ts";
import { bar, estimateWords, nowLine, titleOf } from "./job-words.ts";
import { keepAlive, onTerminate } from "./signals.ts";
import { withGateway } from "./with-gateway.ts";

const LOOK_EVERY_MS = 500;
/** Where standard error is no terminal, a line each. */
const LINE_EVERY_MS = 10_000;

export interface JobOptions {
  readonly data?: string;
  readonly rate?: string;
  readonly estimate?: boolean;
  readonly wait?: boolean;
  readonly reason?: string;
}

/** `50`, `50/s`, `600/min`: deliveries a second. */
export function rateFrom(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)(?:\/(s|min|h))?$/.exec(text);
  const rate = match && Number(match[1]) / { s: 1, min: 60, h: 3600 }[(match[2] ?? "s") as "s" | "min" | "h"];
  if (rate) return rate;
  throw new HoldfastError("HF_USAGE", `--rate takes a rate such as 50/s or 600/min, not ${text}`);
}

export const NEEDS_GATEWAY = "Only a running gateway carries jobs on.";

/** `ask`: the body of a request to begin it, but for rate and reason. */
export async function runJob(io: CliIo, ask: object, options: JobOptions): Promise<void> {
  const body = { ...ask, rate: rateFrom(options.rate), reason: options.reason };
  await withGateway(io, options.data, NEEDS_GATEWAY, async (gateway) => {
    const estimate = (await gateway.ask("POST", "/v1/jobs/estimate", body, { waitS: 10 })) as Estimate;
    if (!io.json) io.note(estimateWords(estimate, systemClock.wallMs()));
    if (options.estimate || estimate.count === 0) {
      if (io.json) io.printJson({ estimate, job: null });
      return;
    }
    const job = (await gateway.ask("POST", "/v1/jobs", body, { waitS: 10 })) as JobView;
    if (!io.json) io.note(`Job ${job.id} has begun: ${titleOf(job)}.`);
    const last = options.wait === false ? job : await follow(io, gateway, job);
    if (io.json) io.printJson({ estimate, job: last });
    else io.print(`job ${last.id}: ${nowLine(last)}`);
    if (last.state === "failed" || last.state === "cancelled") io.exitCode = 1;
  });
}

/** Resolves when it is over or paused, or when the person at the terminal has seen enough. */
export async function follow(io: CliIo, gateway: GatewayClient, begun: JobView): Promise<JobView> {
  const seenEnough = new AbortController();
  const release = keepAlive();
  const unhook = onTerminate(() => seenEnough.abort());
  const live = !io.json && io.stderr.isTTY === true;
  let job = begun;
  let saidAtMs = systemClock.monoMs();
  try {
    while (job.state === "running" && !seenEnough.signal.aborted) {
      await sleep(systemClock, LOOK_EVERY_MS, seenEnough.signal);
      job = (await gateway.job(job.id)) ?? job;
      if (live) io.stderr.write(`\r\u001b[K${bar(job)} ${nowLine(job)}`);
      else if (!io.json && systemClock.monoMs() - saidAtMs >= LINE_EVERY_MS) {
        saidAtMs = systemClock.monoMs();
        io.note(nowLine(job));
      }
    }
  } finally {
    unhook();
    release();
    if (live) io.stderr.write("\n");
  }
  if (seenEnough.signal.aborted && job.state === "running" && !io.json) {
    io.note(
      `The job goes on without you: holdfast job show ${job.id}; to end it: holdfast job cancel ${job.id}`,
    );
  }
  return job;
}
