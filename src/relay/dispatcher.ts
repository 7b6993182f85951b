/**
 * One target's deliveries: picks lanes that are due, claims, hands over, records what came of it.
 *
 * A lane is in one of: ready (in the queue), busy (in a call), delayed (its head has a time to wait for),
 * held (its head waits for a person), paused (somebody said so; pauses.ts), or gone (nothing open in it; it comes back with its next message).
 * Work is in the number of due lanes, never in the size of the backlog. Whether the target is there at all
 * is the breaker's to know (breaker.ts).
 *
 * The settlement of one call and the claim of the next go to the store in the same turn, so a lane that is
 * always full costs one commit a batch.
 */
import type { Clock, Timer } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import type { Flow } from "../core/flow.ts";
import type { Logger } from "../core/logger.ts";
import { type Outcome, unknown } from "../core/outcome.ts";
import type { Random } from "../core/random.ts";
import { traceIdOf } from "../core/trace-context.ts";
import type { ClaimedDelivery, ClaimedLane, ClaimReply, Settlement } from "../queue/requests.ts";
import type { Store } from "../queue/store.ts";
import type { Target, TargetDelivery } from "../targets/target.ts";
import { Breaker, type Evidence } from "./breaker.ts";
import type { Circuit } from "./circuit.ts";
import { givenTo } from "./given.ts";
import type { RelayConfig } from "./schema.ts";
import { heldSettlement, prepareUnknowns } from "./unknowns.ts";
import { verdict } from "./verdict.ts";

/** One call takes from at most this many lanes. */
const LANES_PER_CALL_MAX = 512;
/** What a target gets to answer in after it was told to give up. */
const ABANDON_AFTER_MS = 1000;

export interface DispatcherOptions {
  readonly target: Target;
  readonly config: RelayConfig;
  readonly store: Pick<Store, "claim" | "settle" | "steadyMs">;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Whether nothing is to be claimed from a lane for now. */
  readonly isPaused: (flow: Flow, key: string) => boolean;
  /** Hands a batch to its target: `target.deliver()`, or what notes that while it happens. */
  readonly deliver: (target: Target, ...how: Parameters<Target["deliver"]>) => Promise<Outcome[]>;
  /** Called with each batch's outcomes, for metrics. */
  readonly onOutcomes: (
    target: string,
    deliveries: readonly ClaimedDelivery[],
    outcomes: readonly Outcome[],
    flowOf: (lane: number) => Flow,
  ) => void;
}

interface Lane {
  readonly id: number;
  readonly flow: Flow;
  readonly key: string;
  phase: "ready" | "busy" | "delayed" | "held" | "paused";
  /** Something arrived since its last claim was asked for… */
  fresh: boolean;
  /** …or its head is another one now: put back by a person, or the old one has expired. */
  headChanged: boolean;
  /** When an answer for one of its deliveries was last lost and the circuit opened for it; mono ms. */
  silentAtMs: number;
  timer: Timer | undefined;
}

export interface TargetView extends Evidence {
  readonly circuit: Circuit;
  readonly lanesDelayed: number;
  readonly lanesHeld: number;
  readonly callsInFlight: number;
  /** Whether it can say if it has a message whose answer was lost. */
  readonly canBeAsked: boolean;
}

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #breaker: Breaker;
  readonly #lanes = new Map<number, Lane>();
  readonly #abort = new AbortController();
  readonly #calls = new Set<Promise<void>>();
  /** Calls whose target has not answered yet; a call is also in #calls until its outcome is on disk. */
  #inFlight = 0;
  #ready: Lane[] = [];
  #woken = false;
  #running = false;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    const { target, config, clock, random, logger } = options;
    this.#breaker = new Breaker({
      target,
      config,
      clock,
      random,
      logger,
      hasWork: () => this.#ready.length > 0,
      onPassable: () => this.#pump(),
    });
  }

  start(): void {
    this.#running = true;
    this.#breaker.start();
    this.#pump();
  }

  /**
   * Takes no more and waits for what is in the air. After the drain timeout the target is told to give up,
   * and one that does not even then is abandoned: the next start finds its deliveries in the air.
   */
  async stop(): Promise<void> {
    this.#running = false;
    this.#breaker.stop();
    for (const lane of this.#lanes.values()) lane.timer?.cancel();
    const { clock, config, logger, target } = this.#options;
    const abandoned = Promise.withResolvers<void>();
    const timers = [
      clock.after(config.drainTimeout, () => this.#abort.abort(new Error("the gateway is stopping"))),
      clock.after(config.drainTimeout + ABANDON_AFTER_MS, abandoned.resolve),
    ];
    await Promise.race([this.#drained(), abandoned.promise]);
    for (const timer of timers) timer.cancel();
    if (this.#calls.size === 0) return;
    logger.error({ target: target.name, calls: this.#calls.size }, "a target did not let go; abandoned");
  }

  async #drained(): Promise<void> {
    while (this.#calls.size > 0) await Promise.allSettled(this.#calls);
  }

  /** A lane has something waiting: new, redriven, or left from the last run. */
  wake(id: number, flow: Flow, key: string, { headChanged = false } = {}): void {
    const known = this.#lanes.get(id);
    if (known) {
      known.fresh = true;
      known.headChanged ||= headChanged;
      // A new head need not wait for the old one's time; without an order, nothing that is new has to.
      const passes = headChanged || flow.orderBy === "none";
      if (passes && (known.phase === "held" || known.phase === "delayed")) this.#makeReady(known);
    } else {
      const lane: Lane = {
        id,
        flow,
        key,
        phase: "ready",
        fresh: true,
        headChanged,
        silentAtMs: Number.POSITIVE_INFINITY,
        timer: undefined,
      };
      this.#lanes.set(id, lane);
      this.#makeReady(lane);
    }
    this.#pumpSoon();
  }

  /** Somebody has paused or resumed something: lanes that were ready may be paused now, and the other way round. */
  pausesChanged(): void {
    this.#ready = [];
    for (const lane of this.#lanes.values()) {
      if (lane.phase === "ready" || lane.phase === "paused") this.#makeReady(lane);
    }
    this.#pump();
  }

  view(): TargetView {
    let lanesDelayed = 0;
    let lanesHeld = 0;
    for (const lane of this.#lanes.values()) {
      if (lane.phase === "delayed") lanesDelayed += 1;
      else if (lane.phase === "held") lanesHeld += 1;
    }
    const { circuit, evidence } = this.#breaker;
    const canBeAsked = this.#options.target.findOut !== undefined;
    return { circuit, ...evidence, lanesDelayed, lanesHeld, callsInFlight: this.#inFlight, canBeAsked };
  }

  /** Once all lanes that are being woken are awake: they share a call, and so a commit. */
  #pumpSoon(): void {
    if (this.#woken) return;
    this.#woken = true;
    queueMicrotask(() => {
      this.#woken = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#running && this.#ready.length > 0 && this.#inFlight < this.#breaker.callsMax) {
      this.#inFlight += 1;
      this.#track(this.#call(this.#pick()));
    }
  }

  #track(call: Promise<void>): void {
    const tracked = call
      .catch((error) => {
        // The store rejects only when it has failed for good; the gateway is stopping then.
        this.#options.logger.error(
          { target: this.#options.target.name, err: errorText(error) },
          "a call could not be recorded",
        );
        this.#running = false;
      })
      .finally(() => {
        this.#calls.delete(tracked);
        this.#pump();
      });
    this.#calls.add(tracked);
  }

  /**
   * Lanes for one call, from the front of the queue: its share of those that are ready, so that one call is
   * claimed while another is on its way, and a slow one holds back few.
   */
  #pick(): Lane[] {
    const callsFree = this.#breaker.callsMax - this.#inFlight + 1; // this one is counted already
    const share = Math.ceil(this.#ready.length / callsFree);
    const lanes = this.#ready.splice(0, Math.min(share, this.#batchMax, LANES_PER_CALL_MAX));
    for (const lane of lanes) {
      lane.phase = "busy";
      lane.fresh = false;
      lane.headChanged = false;
    }
    return lanes;
  }

  /** Half-open, one message is let through. */
  get #batchMax(): number {
    return this.#breaker.circuit.state === "half-open" ? 1 : this.#options.target.batchMax;
  }

  async #call(lanes: readonly Lane[]): Promise<void> {
    const { target, store } = this.#options;
    const nowMs = store.steadyMs();
    const limit = this.#batchMax;
    const share = Math.ceil(limit / lanes.length);
    const claimed = await store.claim({
      nowMs,
      limit,
      bytesMax: target.batchBytesMax,
      lanes: lanes.map(({ id, flow }) => ({
        lane: id,
        limit: Math.min(share, flow.batchMax ?? share),
        expireBeforeMs: flow.ttl === undefined ? 0 : nowMs - flow.ttl,
        unordered: flow.orderBy === "none",
        noted: flow.commands,
      })),
    });
    const settlements = claimed.deliveries.length > 0 ? await this.#handOver(claimed.deliveries) : [];
    this.#inFlight -= 1;
    const settled = settlements.length > 0 ? store.settle(settlements) : undefined;
    this.#release(lanes, claimed, settlements);
    // The next claim may be asked for now: it stands behind this settlement in the store's queue.
    this.#pump();
    await settled;
  }

  /** Gives a batch to the target and says what becomes of each of its deliveries. */
  async #handOver(deliveries: readonly ClaimedDelivery[]): Promise<Settlement[]> {
    const { target, clock, store, random } = this.#options;
    const flowOf = (lane: number) => this.#lanes.get(lane)!.flow;
    const beganMs = clock.monoMs();
    const prepared = await prepareUnknowns(deliveries, {
      target,
      flowOf: ({ lane }) => flowOf(lane),
      given: (delivery) => this.#targetDelivery(delivery),
      signal: this.#abort.signal,
    });
    const toSend = deliveries.filter((_, at) => prepared[at]!.kind === "send");
    const sent = toSend.length > 0 ? await this.#send(toSend) : [];
    let next = 0;
    const outcomes = prepared.map((step) =>
      step.kind === "send" ? sent[next++]! : step.kind === "done" ? step.outcome : null,
    );
    // That a backend could not say whether it has a message is no word on whether it takes messages.
    this.#breaker.learn([...sent, ...outcomes.filter((outcome) => outcome?.kind === "delivered")]);
    this.#options.onOutcomes(target.name, toSend, sent, flowOf);
    const steadyMs = store.steadyMs();
    return deliveries.map((delivery, at) => {
      const outcome = outcomes[at];
      if (!outcome) return heldSettlement(delivery);
      const othersAnswered = this.#othersAnswered(delivery, outcome, beganMs);
      const flow = flowOf(delivery.lane);
      const settlement = verdict(delivery, outcome, { flow, steadyMs, random, othersAnswered });
      this.#log(delivery, settlement);
      return settlement;
    });
  }

  /**
   * Whether the target answered others while it left this one unanswered: in this call or beside it, or
   * since it left the same one unanswered before. One that is always sent alone must not go on for ever.
   */
  #othersAnswered({ lane: id, wasUnknown }: ClaimedDelivery, outcome: Outcome, beganMs: number): boolean {
    if (outcome.kind !== "unknown") return false;
    const lane = this.#lanes.get(id)!;
    const sinceMs = wasUnknown ? Math.min(lane.silentAtMs, beganMs) : beganMs;
    // While the circuit is closed it is no case of being sent alone: what others got since then may be from before
    // the link broke, and a message would be charged twice for one outage.
    const alone = this.#breaker.circuit.state !== "closed";
    lane.silentAtMs = alone ? this.#options.clock.monoMs() : Number.POSITIVE_INFINITY;
    return this.#breaker.answeredSince(sinceMs);
  }

  /** What did not simply go through, under the names by which the log is joined. */
  #log({ lane, message }: ClaimedDelivery, { state, note, reason, attempts }: Settlement): void {
    if (note === null) return;
    const level = state === "dead" ? "warn" : note === "unknown" ? "info" : "debug";
    const { id: messageId, device } = message;
    const flow = this.#lanes.get(lane)!.flow.name;
    const entry = {
      target: this.#options.target.name,
      flow,
      device,
      messageId,
      traceId: traceIdOf(message),
      attempts,
      reason,
    };
    this.#options.logger[level](entry, `delivery ${state}`);
  }

  async #send(deliveries: readonly ClaimedDelivery[]): Promise<Outcome[]> {
    const { target, logger, deliver } = this.#options;
    const batch = deliveries.map((delivery) => this.#targetDelivery(delivery));
    try {
      const outcomes = await deliver(target, batch, this.#abort.signal);
      if (outcomes.length === batch.length) return outcomes;
      logger.error(
        { target: target.name, given: batch.length, answered: outcomes.length },
        "a target left deliveries unanswered",
      );
    } catch (error) {
      logger.error({ target: target.name, err: errorText(error) }, "a target failed instead of answering");
      return batch.map(() => unknown(`the target failed instead of answering: ${errorText(error)}`));
    }
    return batch.map(() => unknown("the target did not answer for each delivery"));
  }

  #targetDelivery(delivery: ClaimedDelivery): TargetDelivery {
    const { flow, key } = this.#lanes.get(delivery.lane)!;
    return givenTo(flow, key, delivery, this.#options.store.steadyMs());
  }

  /** Puts each lane of a call where its claim and its settlements leave it. */
  #release(lanes: readonly Lane[], claimed: ClaimReply, settlements: readonly Settlement[]): void {
    const found = new Map(claimed.lanes.map((lane) => [lane.lane, lane]));
    const settledOf = Map.groupBy(settlements, ({ lane }) => lane);
    const steadyMs = this.#options.store.steadyMs();
    for (const lane of lanes)
      this.#releaseLane(lane, found.get(lane.id), settledOf.get(lane.id) ?? [], steadyMs);
  }

  #releaseLane(
    lane: Lane,
    found: ClaimedLane | undefined,
    settled: readonly Settlement[],
    steadyMs: number,
  ): void {
    const finished = settled.filter(({ state }) => state !== "waiting" && state !== "unknown").length;
    const left = (found?.open ?? 0) - finished;
    if (left <= 0 && !lane.fresh) {
      this.#lanes.delete(lane.id);
      return;
    }
    const unordered = lane.flow.orderBy === "none";
    const dues = settled.flatMap(({ dueAtMs }) => (dueAtMs !== null && dueAtMs > steadyMs ? [dueAtMs] : []));
    if (found?.blockedUntilMs) dues.push(found.blockedUntilMs);
    const heldHead =
      found?.held || settled.some(({ state, dueAtMs }) => state === "unknown" && dueAtMs === null);
    // Without an order others may go on; the lane waits only when a claim found nothing that is due.
    if (lane.headChanged || (unordered && (settled.length > 0 || lane.fresh))) this.#makeReady(lane);
    else if (heldHead && !unordered) lane.phase = "held";
    else if (dues.length > 0) this.#delay(lane, Math.min(...dues) - steadyMs);
    else if (heldHead && !lane.fresh) lane.phase = "held";
    else this.#makeReady(lane);
  }

  #makeReady(lane: Lane): void {
    lane.timer?.cancel();
    lane.timer = undefined;
    const paused = this.#options.isPaused(lane.flow, lane.key);
    lane.phase = paused ? "paused" : "ready";
    if (!paused) this.#ready.push(lane);
  }

  #delay(lane: Lane, delayMs: number): void {
    lane.phase = "delayed";
    lane.timer = this.#options.clock.after(delayMs, () => {
      this.#makeReady(lane);
      this.#pump();
    });
  }
}
