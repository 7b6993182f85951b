/** Dead letters as they are read page by page, of one flow or reason or all, and their repair in small steps. */
import { signal } from "@preact/signals";
import type { DeadLetter } from "../../queue/queries-failures.ts";
import type { Failures } from "../../queue/queries-reasons.ts";
import type { Progress } from "./acting.tsx";
import { api, said } from "./api.ts";

const PAGE = 500;
/** Put back by one request, so that no commit becomes long. */
const RETRY_STEP = 1000;

export interface DeadFilter {
  readonly flow?: string;
  readonly reason?: string;
}

export class DeadList {
  readonly filter: DeadFilter;
  readonly letters = signal<readonly DeadLetter[]>([]);
  /** Of the flow, whatever the reason; null before the first answer. */
  readonly reasons = signal<Failures | null>(null);
  readonly error = signal<string | null>(null);
  #next: string | null | undefined;
  #reading = false;

  constructor(filter: DeadFilter) {
    this.filter = filter;
  }

  get exhausted(): boolean {
    return this.#next === null;
  }

  /** How many this list has, read or not. */
  get total(): number {
    const reasons = this.reasons.value;
    if (!reasons || this.filter.reason === undefined) return reasons?.count ?? 0;
    return (
      reasons.groups.find(({ reason }) => reason === this.filter.reason)?.count ?? this.letters.value.length
    );
  }

  /** From the beginning; what is shown stays until the answer is there. */
  async readAnew(): Promise<void> {
    this.#next = undefined;
    await this.readOn();
  }

  async readOn(): Promise<void> {
    if (this.#reading || this.exhausted) return;
    this.#reading = true;
    const from = this.#next;
    try {
      const page = await api.dead({ ...this.filter, after: from ?? undefined, limit: PAGE });
      this.letters.value = from === undefined ? page.letters : [...this.letters.value, ...page.letters];
      this.reasons.value = page.reasons;
      this.#next = page.next;
      this.error.value = null;
    } catch (error) {
      this.error.value = said(error);
    } finally {
      this.#reading = false;
    }
  }
}

/** Puts back these, by id. */
export async function retryIds(
  ids: readonly string[],
  flow: string | undefined,
  progress: Progress,
): Promise<string> {
  let redriven = 0;
  for (let at = 0; at < ids.length && !progress.stopped(); at += RETRY_STEP) {
    const step = ids.slice(at, at + RETRY_STEP);
    redriven += (await api.retry({ ids: step, flow, limit: 5 * RETRY_STEP })).redriven;
    progress.tell(`${redriven} put back …`);
  }
  return outcome(redriven, progress);
}

/** Puts back all of a flow, or all there are: those that are there now, oldest first. */
export async function retryFlow(flow: string | undefined, most: number, progress: Progress): Promise<string> {
  let redriven = 0;
  while (redriven < most && !progress.stopped()) {
    const limit = Math.min(RETRY_STEP, most - redriven);
    const step = await api.retry(flow === undefined ? { all: true, limit } : { flow, limit });
    redriven += step.redriven;
    progress.tell(`${redriven} of ${most} put back …`);
    if (step.redriven < limit) break;
  }
  return outcome(redriven, progress);
}

/** Puts back those of one reason: reads which they are, and names them. */
export async function retryReason(filter: Required<DeadFilter>, progress: Progress): Promise<string> {
  const ids: string[] = [];
  let after: string | undefined;
  do {
    const page = await api.dead({ ...filter, after, limit: RETRY_STEP });
    ids.push(...page.letters.map(({ id }) => id));
    after = page.next ?? undefined;
    progress.tell(`${ids.length} found …`);
  } while (after !== undefined && !progress.stopped());
  return retryIds(ids, filter.flow, progress);
}

function outcome(redriven: number, progress: Progress): string {
  const stopped = progress.stopped() ? "Stopped. " : "";
  return redriven === 0
    ? `${stopped}None needed it any more.`
    : `${stopped}${redriven} put back in line, in order and under ${redriven === 1 ? "its id" : "their ids"}. What becomes of ${redriven === 1 ? "it" : "them"} is shown as it happens.`;
}
