/** Writes down what a target claims, and holds it against what its backend knows. */

import type { Arrival, Backend } from "../../simulators/backends/backend.ts";
import type { Outcome } from "../../src/core/outcome.ts";
import { letsLaneGoOn } from "../../src/targets/batch.ts";
import type { Target, TargetDelivery } from "../../src/targets/target.ts";
import { noAbort } from "./deliveries.ts";

interface Claim {
  readonly id: string;
  readonly outcome: Outcome;
  /** How many arrivals there were when the call began. */
  readonly from: number;
}

const KINDS = ["delivered", "retry", "reject", "unknown"];
/** No call takes longer, whatever the backend does. */
const CALL_MS_MAX = 8000;

export interface DriveOptions {
  readonly perLane?: number;
  readonly roundsMax?: number;
  readonly beforeRound?: () => Promise<void>;
}

export class Witness {
  readonly #backend: Backend;
  readonly #claims: Claim[] = [];
  readonly #found: string[] = [];

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  check(holds: boolean, problem: string): void {
    if (!holds) this.#found.push(problem);
  }

  /** One call, its claims written down. */
  async deliver(target: Target, batch: readonly TargetDelivery[], signal = noAbort): Promise<Outcome[]> {
    const from = this.#backend.arrivals().length;
    const outcomes = await within(CALL_MS_MAX, target.deliver(batch, signal), "an answer from deliver()");
    this.check(outcomes.length === batch.length, `${batch.length} deliveries, ${outcomes.length} outcomes`);
    return batch.map((delivery, at) => {
      const outcome = outcomes[at] ?? { kind: "unknown", reason: "(no outcome)" };
      this.check(KINDS.includes(outcome.kind), `no such outcome: ${JSON.stringify(outcome)}`);
      this.#claims.push({ id: delivery.message.id, outcome, from });
      return outcome;
    });
  }

  /**
   * Delivers until all is delivered or rejected, as a relay would: in lane order, a lane that is stuck again
   * from its head and later each time, `resend` set after an unknown. `first`: outcomes of a call made before. Resolves to the
   * last outcome of each.
   */
  async drive(
    target: Target,
    batch: readonly TargetDelivery[],
    first?: readonly Outcome[],
    options: DriveOptions = {},
  ): Promise<Map<string, Outcome>> {
    const { perLane = Number.POSITIVE_INFINITY, roundsMax = 30 } = options;
    const last = new Map<string, Outcome>();
    let open = [...batch];
    /** Rounds that a lane sits out, because of its own head and not for the target's sake. */
    const sitsOut = new Map<string, number>();
    const settle = (tried: readonly TargetDelivery[], outcomes: readonly Outcome[]) => {
      const byId = new Map(tried.map(({ message }, at) => [message.id, outcomes[at]!]));
      open = open.flatMap((delivery) => {
        const outcome = byId.get(delivery.message.id);
        if (!outcome) return [delivery];
        last.set(delivery.message.id, outcome);
        if (letsLaneGoOn(outcome)) return [];
        const itsOwn =
          outcome.kind === "unknown" || (outcome.kind === "retry" && outcome.fault === "message");
        if (itsOwn)
          sitsOut.set(delivery.lane, Math.max(sitsOut.get(delivery.lane) ?? 0, delivery.attempt - 1));
        return [
          {
            ...delivery,
            attempt: delivery.attempt + 1,
            resend: delivery.resend || outcome.kind === "unknown",
          },
        ];
      });
    };
    if (first) settle(batch, first);
    for (let round = 0; round < roundsMax && open.length > 0; round++) {
      await options.beforeRound?.();
      const taken = new Map<string, number>();
      const resting = new Set([...sitsOut].filter(([, rounds]) => rounds > 0).map(([lane]) => lane));
      for (const lane of resting) sitsOut.set(lane, sitsOut.get(lane)! - 1);
      const tried = open.filter(({ lane }) => {
        if (resting.has(lane)) return false;
        const count = taken.get(lane) ?? 0;
        taken.set(lane, count + 1);
        return count < perLane;
      });
      if (tried.length > 0) settle(tried, await this.deliver(target, tried));
    }
    return last;
  }

  /** Every one of `batch` took effect, once. */
  checkAllInEffect(batch: readonly TargetDelivery[]): void {
    const effects = new Map<string, number>();
    for (const arrival of this.#effects()) {
      const what = `${arrival.device}-${sequenceOf(arrival)}`;
      effects.set(what, (effects.get(what) ?? 0) + 1);
    }
    for (const { message } of batch) {
      const count = effects.get(message.id) ?? 0;
      this.check(count === 1, `${message.id} took effect ${count} times`);
    }
  }

  #effects(): Arrival[] {
    return this.#backend.arrivals().filter(({ effect }) => effect);
  }

  /** Everything found, and what can only be said at the end: order, and claims against what came of them. */
  problems(): string[] {
    const found = [...this.#found];
    const highest = new Map<string, number>();
    for (const arrival of this.#effects()) {
      const n = sequenceOf(arrival);
      const before = highest.get(arrival.device) ?? -1;
      if (n <= before) found.push(`${arrival.device}: ${n} took effect after ${before}`);
      highest.set(arrival.device, Math.max(n, before));
    }
    const arrivals = this.#backend.arrivals();
    /** By id: tries of unknown fate that had not arrived when the next one began, and may come at any time. */
    const onTheirWay = new Map<string, number>();
    for (const [at, { id, outcome, from }] of this.#claims.entries()) {
      const next = this.#claims.slice(at + 1).find((claim) => claim.id === id);
      const until = next?.from ?? arrivals.length;
      const came = arrivals.slice(from, until).filter((each) => each.id === id);
      const late = onTheirWay.get(id) ?? 0;
      if (outcome.kind === "delivered" && !arrivals.some((each) => each.id === id && each.taken)) {
        found.push(`${id}: called delivered, and the backend does not have it`);
      }
      if (outcome.kind === "retry" || outcome.kind === "reject") {
        if (came.filter(({ taken }) => taken).length > late) {
          found.push(`${id}: called ${outcome.kind} (${outcome.reason}), and the backend took it`);
        }
      }
      const made = outcome.kind === "unknown" ? 1 : 0;
      onTheirWay.set(id, Math.max(0, late + made - came.length));
    }
    return found;
  }
}

/** The `n` in the payload, or in the payload within an envelope. */
function sequenceOf({ payload }: Arrival): number {
  const body = JSON.parse(payload.toString("utf8"));
  return body.n ?? body.payload?.n ?? body.data?.n;
}

export async function within<T>(limitMs: number, work: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
