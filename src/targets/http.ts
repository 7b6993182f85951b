/**
 * The `http` target: messages as requests to a web service, with undici.
 *
 * Promise: `delivered` only after a 2xx (or a result that says so); everything else by the table in
 * http-outcome.ts. Each request carries an Idempotency-Key that is the same at every try.
 *
 * Order: one message a request: the messages of a lane go one after the other, different lanes side by side
 * over at most `connections` connections. Batches: one request carries the batch in its order, and the
 * backend has to keep it; two requests never carry the same lane at the same time.
 *
 * A batch that is refused as a whole without results is cut in halves until the bad message stands alone, so
 * that one bad message does not reject its neighbours. That costs about 2·log2(n) requests for each.
 *
 * Once the backend has shown that it is away, the rest of the call is answered without being tried: the
 * relay decides when to try again.
 *
 * Trades away: HTTP/2 and pipelining. A request that was not answered is `unknown`, which a new connection
 * per request would make rarer; kept-alive connections that the server closes under us are the usual case.
 */

import { HttpClient, type HttpExchange, type HttpRequest } from "../core/http-exchange.ts";
import { originOf } from "../core/http-options.ts";
import { delivered, notSent, type Outcome, reject, retryTarget, unknown } from "../core/outcome.ts";
import { BaseService } from "../core/service.ts";
import { letsLaneGoOn, notSentStopping, placesByLane } from "./batch.ts";
import type { HttpTargetConfig } from "./http-options.ts";
import { httpOutcome, retryAfterMs } from "./http-outcome.ts";
import { HttpRequestMaker, requestPath } from "./http-request.ts";
import { itemOutcomes, sayingOf } from "./http-results.ts";
import { Slots } from "./slots.ts";
import type { Target, TargetContext, TargetDelivery, TargetHealth } from "./target.ts";
import { Template } from "./template.ts";

/** A 500 counts against the message where the backend took another within this time. */
const SUCCESS_RECENT_MS = 60_000;
/** Single messages: enough per call that each connection has a lane to work on. */
const SINGLES_PER_CONNECTION = 4;

/** What one deliver() call has learnt of the backend so far. */
interface Call {
  readonly signal: AbortSignal;
  /** Why the rest need not be tried. */
  away: string | null;
}

export class HttpTarget extends BaseService implements Target {
  readonly type = "http";
  readonly name: string;
  readonly idempotent: boolean;
  readonly batchMax: number;
  readonly batchBytesMax: number;
  readonly concurrency: number;
  readonly together: boolean;
  readonly #config: HttpTargetConfig;
  readonly #context: TargetContext;
  readonly #requests: HttpRequestMaker;
  readonly #client: HttpClient;
  readonly #slots: Slots;
  #lastSuccessMs = Number.NEGATIVE_INFINITY;

  constructor(config: HttpTargetConfig, context: TargetContext) {
    super();
    this.name = context.name;
    this.#config = config;
    this.#context = context;
    this.idempotent = config.idempotent;
    this.batchMax = config.batch === "none" ? config.connections * SINGLES_PER_CONNECTION : config.batchMax;
    this.batchBytesMax = config.batchBytesMax;
    this.concurrency = config.connections;
    this.together = config.batch !== "none";
    this.#slots = new Slots(config.connections);
    this.#requests = new HttpRequestMaker(config, context.gateway, context.clock);
    this.#client = new HttpClient({
      origin: originOf(config.url),
      connections: config.connections,
      connectTimeoutMs: config.connectTimeout,
      requestTimeoutMs: config.requestTimeout,
      responseBytesMax: config.responseBytesMax,
      tls: config.tls,
      clock: context.clock,
      connect: context.connect,
    });
  }

  protected async onStart(): Promise<void> {}

  protected async onStop(): Promise<void> {
    await this.#client.close();
  }

  async deliver(batch: readonly TargetDelivery[], signal: AbortSignal): Promise<Outcome[]> {
    const outcomes = new Array<Outcome>(batch.length).fill(notSent);
    const call: Call = { signal, away: null };
    if (this.#config.batch === "none") {
      await Promise.all(
        placesByLane(batch).map((places) => this.#deliverLane(batch, places, outcomes, call)),
      );
    } else if (batch.length > 0) {
      await this.#deliverTogether(batch, [...batch.keys()], outcomes, call);
    }
    return outcomes;
  }

  async #deliverLane(
    batch: readonly TargetDelivery[],
    places: readonly number[],
    outcomes: Outcome[],
    call: Call,
  ): Promise<void> {
    for (const place of places) {
      const outcome = await this.#slots.run(() => this.#deliverOne(batch[place]!, call));
      outcomes[place] = outcome;
      if (!letsLaneGoOn(outcome)) return; // the rest of the lane stays `notSent`
    }
  }

  async #deliverOne(delivery: TargetDelivery, call: Call): Promise<Outcome> {
    const blocked = this.#blocked(call);
    if (blocked) return blocked;
    const request = this.#requests.single(delivery);
    if ("problem" in request) return reject(request.problem);
    delivery.trace?.begun();
    const exchange = await this.#client.send(request, call.signal);
    delivery.trace?.answered();
    const outcome = this.#outcomeOf(exchange);
    this.#learn(outcome, call);
    return outcome;
  }

  /** `places` keep the order of the batch; answers go to the same places of `outcomes`. */
  async #deliverTogether(
    batch: readonly TargetDelivery[],
    places: readonly number[],
    outcomes: Outcome[],
    call: Call,
  ): Promise<void> {
    const deliveries = places.map((place) => batch[place]!);
    const lanesStuck = new Set<string>();
    const answerAll = (outcome: Outcome) => {
      for (const place of places) {
        // Of each lane the first bears the answer; those behind it were held back by it.
        const { lane } = batch[place]!;
        outcomes[place] = lanesStuck.has(lane) && outcome.kind === "retry" ? notTakenWith(outcome) : outcome;
        if (!letsLaneGoOn(outcome)) lanesStuck.add(lane);
      }
    };
    const blocked = this.#blocked(call);
    if (blocked) return answerAll(blocked);
    const request = this.#requests.many(deliveries);
    if ("problem" in request) return answerAll(reject(request.problem));
    const exchange = await this.#slots.run(() => this.#client.send(request, call.signal));
    const items = exchange.kind === "answer" ? itemOutcomes(exchange, deliveries, this.#facts()) : null;
    if (items) {
      for (const [at, place] of places.entries()) outcomes[place] = items[at]!;
      for (const item of items) if (item.kind === "delivered") this.#learn(item, call);
      return;
    }
    const outcome = this.#outcomeOf(exchange);
    this.#learn(outcome, call);
    if (places.length === 1 || !isAboutContent(outcome, exchange)) return answerAll(outcome);
    const middle = Math.ceil(places.length / 2);
    const firstHalf = places.slice(0, middle);
    await this.#deliverTogether(batch, firstHalf, outcomes, call);
    for (const place of firstHalf) {
      if (!letsLaneGoOn(outcomes[place]!)) lanesStuck.add(batch[place]!.lane);
    }
    const secondHalf = places.slice(middle).filter((place) => !lanesStuck.has(batch[place]!.lane));
    if (secondHalf.length > 0) await this.#deliverTogether(batch, secondHalf, outcomes, call);
  }

  #blocked(call: Call): Outcome | null {
    if (this.stopping || call.signal.aborted) return notSentStopping;
    return call.away === null ? null : retryTarget(`not tried: ${call.away}`);
  }

  #learn(outcome: Outcome, call: Call): void {
    if (outcome.kind === "delivered") this.#lastSuccessMs = this.#context.clock.monoMs();
    if (outcome.kind === "unknown" || (outcome.kind === "retry" && outcome.fault === "target")) {
      call.away ??= outcome.reason;
    }
  }

  #facts() {
    return {
      urlFromMessage: this.#requests.urlFromMessage,
      amidSuccesses: this.#context.clock.monoMs() - this.#lastSuccessMs < SUCCESS_RECENT_MS,
      conflict: this.#config.conflict,
    };
  }

  #outcomeOf(exchange: HttpExchange): Outcome {
    if (exchange.kind === "not sent") return retryTarget(exchange.reason);
    if (exchange.kind === "no answer") return unknown(exchange.reason);
    const header = (name: string) => [exchange.headers[name]].flat()[0];
    const clocks = { date: header("date"), wallMs: this.#context.clock.wallMs() };
    return httpOutcome(
      {
        status: exchange.status,
        retryAfterMs: retryAfterMs(header("retry-after"), clocks),
        says: exchange.status >= 300 ? sayingOf(exchange) : undefined,
      },
      { ...this.#facts(), of: "request" },
    );
  }

  check(delivery: TargetDelivery): string[] {
    const one = this.#config.batch === "none";
    const request = one ? this.#requests.single(delivery) : this.#requests.many([delivery]);
    return "problem" in request ? [request.problem] : [];
  }

  async probe(signal: AbortSignal): Promise<TargetHealth> {
    const { probeUrl, url } = this.#config;
    const path = new Template(url).constant ? pathOf(url) : "/";
    const exchange = await this.#ask(probeUrl ? "GET" : "HEAD", probeUrl ? pathOf(probeUrl) : path, signal);
    if (exchange.kind !== "answer") return { reachable: false, detail: exchange.reason };
    const { status } = exchange;
    // A server without HEAD says so (501) and is well all the same.
    const well = status < 500 ? ![401, 403, 407, 429].includes(status) : status === 501 && !probeUrl;
    return { reachable: well, detail: `HTTP ${status} from ${originOf(url)}` };
  }

  get findOut(): Target["findOut"] {
    const { hasUrl } = this.#config;
    if (!hasUrl) return undefined;
    const template = new Template(hasUrl);
    const cannotSay = unknown("the backend was asked whether it has it and could not say");
    return async ({ message }, signal) => {
      const values = { topic: "", device: "", gateway: this.#context.gateway, flow: "", id: message.id };
      const found = requestPath(template, values);
      if ("problem" in found) return cannotSay;
      const exchange = await this.#ask("GET", found.path, signal);
      if (exchange.kind !== "answer") return cannotSay;
      if (exchange.status === 200) return delivered("the backend was asked and has it");
      return exchange.status === 404 ? "send again" : cannotSay;
    };
  }

  #ask(method: string, path: string, signal: AbortSignal): Promise<HttpExchange> {
    if (this.stopping) return Promise.resolve({ kind: "not sent", reason: "the target is stopped" });
    const request: HttpRequest = { method, path, headers: this.#requests.fixedHeaders, body: null };
    return this.#client.send(request, signal);
  }
}

/** True where a smaller request may fare better: the answer is about what is in it. */
function isAboutContent(outcome: Outcome, exchange: HttpExchange): boolean {
  if (outcome.kind === "reject") return true;
  return (
    outcome.kind === "retry" &&
    outcome.fault === "message" &&
    exchange.kind === "answer" &&
    exchange.status === 500
  );
}

function notTakenWith(outcome: Extract<Outcome, { kind: "retry" }>): Outcome {
  return {
    ...outcome,
    fault: "predecessor",
    reason: `refused with an earlier one of its lane: ${outcome.reason}`,
  };
}

function pathOf(url: string): string {
  const { pathname, search } = new URL(url.replaceAll(/\{[^{}]*\}/g, ""));
  return pathname + search;
}
