/**
 * The relay: carries deliveries from the queue to their targets.
 *
 * Promise: once in effect at a target that honours the id, in order within a lane, and never silently
 * dropped: a delivery leaves the queue as delivered, dead, expired or discarded, with its reason.
 * A stuck head holds back its own lane only; a target that is away holds back its own flows only, and
 * charges no message for it.
 *
 * One dispatcher per target does the work (dispatcher.ts); this file starts them, tells them which lanes
 * have something waiting, sweeps for expiry, and shows what is going on.
 *
 * What it trades away: a batch is claimed, and that claim committed, before it is sent. That costs a
 * commit, and buys that a crash leaves `sending` behind for just those deliveries whose answer is lost.
 */
import type { Clock, Timer } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { Flow } from "../core/flow.ts";
import type { Logger } from "../core/logger.ts";
import type { Random } from "../core/random.ts";
import { BaseService } from "../core/service.ts";
import type { Arrival } from "../queue/arrivals.ts";
import type { Decision, DecisionResult } from "../queue/decide.ts";
import type { ExpireResult } from "../queue/expiry.ts";
import type { RedriveResult, RedriveSelection } from "../queue/repair.ts";
import type { Store } from "../queue/store.ts";
import type { Target } from "../targets/target.ts";
import { Dispatcher, type DispatcherOptions, type TargetView } from "./dispatcher.ts";
import { Pauses } from "./pauses.ts";
import type { RelayConfig } from "./schema.ts";

/** How often flows with a ttl are looked through for what has waited too long. */
const EXPIRE_EVERY_MS = 1000;

export interface RelayOptions {
  readonly config: RelayConfig;
  readonly flows: readonly Flow[];
  readonly targets: ReadonlyMap<string, Target>;
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly onOutcomes?: DispatcherOptions["onOutcomes"];
  /** Default: `target.deliver()`, and nothing besides. */
  readonly deliver?: DispatcherOptions["deliver"] | undefined;
}

export interface Way {
  readonly flow: Flow;
  readonly target: Target;
}

export class Relay extends BaseService {
  readonly #options: RelayOptions;
  readonly #flows: ReadonlyMap<string, Flow>;
  readonly #dispatchers: ReadonlyMap<string, Dispatcher>;
  readonly pauses: Pauses;
  #expireTimer: Timer | undefined;

  constructor(options: RelayOptions) {
    super();
    this.#options = options;
    this.#flows = new Map(options.flows.map((flow) => [flow.name, flow]));
    for (const flow of options.flows) checkFlow(flow, options.targets.get(flow.to)!);
    const { config, store, clock, random, logger, onOutcomes = () => {} } = options;
    const deliver = options.deliver ?? ((target, batch, signal) => target.deliver(batch, signal));
    this.pauses = new Pauses({
      store,
      flows: options.flows,
      targets: options.targets.keys(),
      onChange: () => {
        for (const dispatcher of this.#dispatchers.values()) dispatcher.pausesChanged();
      },
    });
    const isPaused: DispatcherOptions["isPaused"] = (flow, key) => this.pauses.holds(flow, key);
    this.#dispatchers = new Map(
      [...options.targets].map(([name, target]) => [
        name,
        new Dispatcher({ target, config, store, clock, random, logger, onOutcomes, isPaused, deliver }),
      ]),
    );
  }

  /** New deliveries, as the store tells of them. */
  arrived(arrivals: readonly Pick<Arrival, "lane" | "flow" | "key">[], how?: { headChanged: boolean }): void {
    for (const { lane, flow: name, key } of arrivals) {
      // A flow that is no longer configured keeps what waits in it: nobody said where it should go.
      const flow = this.#flows.get(name);
      if (flow) this.#dispatchers.get(flow.to)!.wake(lane, flow, key, how);
    }
  }

  /** Puts dead letters and held unknowns back. */
  async redrive(selection: RedriveSelection): Promise<RedriveResult> {
    const result = await this.#options.store.redrive(selection);
    this.arrived(result.lanes, { headChanged: true });
    return result;
  }

  /** A person's word on a command; what stands behind it in its lane may go then. */
  async decide(decision: Decision, signal?: AbortSignal): Promise<DecisionResult> {
    const result = await this.#options.store.decide(decision, signal);
    if (result.kind === "decided") this.arrived([result.lane], { headChanged: true });
    return result;
  }

  /** Where a flow goes; undefined where it is not in the config any more. */
  wayOf(name: string): Way | undefined {
    const flow = this.#flows.get(name);
    return flow && { flow, target: this.#options.targets.get(flow.to)! };
  }

  views(): Map<string, TargetView> {
    return new Map([...this.#dispatchers].map(([name, dispatcher]) => [name, dispatcher.view()]));
  }

  protected async onStart(): Promise<void> {
    const { store, logger } = this.#options;
    await this.pauses.load();
    const open = await store.openLanes();
    for (const name of new Set(open.map(({ flow }) => flow))) {
      if (!this.#flows.has(name)) {
        logger.warn(
          { flow: name },
          "messages wait in a flow that is not in the config any more; they are kept",
        );
      }
    }
    for (const dispatcher of this.#dispatchers.values()) dispatcher.start();
    this.arrived(open);
    this.#sweepExpired();
  }

  protected async onStop(): Promise<void> {
    this.#expireTimer?.cancel();
    await Promise.all([...this.#dispatchers.values()].map((dispatcher) => dispatcher.stop()));
  }

  #sweepExpired(): void {
    const { clock, store, flows } = this.#options;
    const sweeps = flows.flatMap(({ name, ttl }) =>
      ttl === undefined ? [] : [() => store.expire(name, store.steadyMs() - ttl)],
    );
    // Commands have a time each.
    if (flows.some(({ commands }) => commands)) sweeps.push(() => store.expireOutlived());
    if (sweeps.length === 0) return;
    this.#expireTimer = clock.after(EXPIRE_EVERY_MS, async () => {
      // A store that rejects has failed for good, and the gateway is stopping.
      await Promise.allSettled(sweeps.map((sweep) => this.#expireAll(sweep)));
      if (!this.stopping) this.#sweepExpired();
    });
  }

  /** In steps, each a commit of its own, until none is left. */
  async #expireAll(sweep: () => Promise<ExpireResult>): Promise<void> {
    for (let left = true; left && !this.stopping; ) {
      const { expired, unblocked } = await sweep();
      this.arrived(unblocked, { headChanged: true });
      left = expired > 0;
    }
  }
}

function checkFlow(flow: Flow, target: Target): void {
  if (flow.onUnknown === "probe" && !target.idempotent && !target.findOut) {
    throw new HoldfastError(
      "HF_CONFIG",
      `flows.${flow.name}.onUnknown is \`probe\`, but target ${flow.to} cannot be asked whether it has a message`,
      { flow: flow.name, target: flow.to },
    );
  }
}
