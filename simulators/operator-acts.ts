/** What a person does in a scenario, through the gateway's API, as the console and the command line do. */
import { z } from "zod";
import { type Clock, sleep } from "../src/core/clock.ts";
import { safeParse } from "../src/core/safe-parse.ts";
import { askGateway } from "./gateway-process.ts";
import type { ScenarioEvent } from "./scenario.ts";

/** Between two looks whether a job is done. */
const JOB_LOOK_MS = 100;
const NO_ANSWER = "nothing: no answer";

const count = z.int().min(0);

type OperatorAct = Extract<ScenarioEvent, { do: "redrive" | "discard" | "replay" }>;

/** In a sentence, what was done. */
export async function performAct(
  base: string | null,
  event: OperatorAct,
  clock: Clock,
  signal?: AbortSignal,
): Promise<string> {
  switch (event.do) {
    case "redrive":
      return `a person puts back ${(await redrive(base, event.flow)) ?? NO_ANSWER}`;
    case "discard":
      return `a person gives up ${(await discard(base, event.flow)) ?? NO_ANSWER}`;
    case "replay": {
      const replayed = await replay(base, event.flow, clock, signal);
      return `a person has ${replayed ?? NO_ANSWER} of ${event.flow} delivered once more`;
    }
  }
}

/** What a person does who has mended the cause: everything back in line. How many that were, or null. */
async function redrive(base: string | null, flow?: string): Promise<number | null> {
  const answer = await askGateway(base, "/v1/dead/retry", of(flow));
  const parsed = safeParse(z.looseObject({ redriven: count }), answer);
  return parsed.success ? parsed.data.redriven : null;
}

/** What a person does for whom they are not worth it. How many that were, or null. */
async function discard(base: string | null, flow?: string): Promise<number | null> {
  const reason = "nobody needs them any more";
  const answer = await askGateway(base, "/v1/dead/discard", { ...of(flow), reason });
  const parsed = safeParse(z.looseObject({ discarded: count }), answer);
  return parsed.success ? parsed.data.discarded : null;
}

function of(flow: string | undefined): { readonly flow: string } | { readonly all: true } {
  return flow === undefined ? { all: true } : { flow };
}

const jobShape = z.looseObject({ id: z.int(), state: z.string(), done: count });

/** What a person does whose backend has lost them. How many when the job is done, or null. */
async function replay(
  base: string | null,
  flow: string,
  clock: Clock,
  signal?: AbortSignal,
): Promise<number | null> {
  const reason = "the backend lost what it had";
  let job = safeParse(jobShape, await askGateway(base, "/v1/jobs", { kind: "replay", flow, reason }));
  while (job.success && job.data.state === "running" && !signal?.aborted) {
    await sleep(clock, JOB_LOOK_MS, signal);
    job = safeParse(jobShape, await askGateway(base, `/v1/jobs/${job.data.id}`));
  }
  return job.success && job.data.state === "finished" ? job.data.done : null;
}
