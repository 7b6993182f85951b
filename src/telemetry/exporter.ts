/**
 * Spans on their way to the collector: OTLP over HTTP, in JSON.
 *
 * Promise: nothing of a message waits for it. Spans wait in memory, at most `queueBytesMax` of them beside the batch that
 * is being sent; beyond that the oldest are dropped, since of an outage the newest say more. What became of each is
 * counted. A stop takes no longer than `stopTimeout`.
 *
 * States: idle → gathering (until `interval` is over, or a batch is full) → sending → idle | gathering | backing off.
 *
 * A collector that is away, or says "later" (429, 502, 503, 504), is given the same batch again; one that refuses a batch
 * otherwise will refuse it for ever (OTLP specification, section "Failures"), so that batch is dropped. Where an answer
 * was lost, a span may arrive twice: collectors tell them by their ids. The log says once that it takes none, and once
 * that it takes them again.
 *
 * Why not the library: docs/decisions/0014-spans-are-sent-by-our-own-exporter.md.
 */
import { promisify } from "node:util";
import { gzip as gzipWithCallback } from "node:zlib";
import { type Clock, sleep, type Timer } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import { authHeader } from "../core/http-auth.ts";
import { HttpClient, type HttpExchange } from "../core/http-exchange.ts";
import { originOf } from "../core/http-options.ts";
import { parseJson } from "../core/json-pointer.ts";
import type { Logger } from "../core/logger.ts";
import type { Random } from "../core/random.ts";
import { BaseService } from "../core/service.ts";
import type { TracesConfig } from "./schema.ts";
import { type Attributes, attributesJson } from "./span.ts";

const gzip = promisify(gzipWithCallback);

const RETRY_MS_MIN = 1000;
const RETRY_MS_MAX = 60_000;
/** Of an answer only what it says of spans that were not taken is of interest. */
const ANSWER_BYTES_MAX = 16 * 2 ** 10;
/** Of a queue that is too long some more are dropped than need be: to move it up for each span would be dear. */
const LEFT_AFTER_DROP = 0.9;
const RETRYABLE = new Set([429, 502, 503, 504]);
const TRACES_PATH = "/v1/traces";

/** `rejected`: the collector refused it. `dropped`: nobody took it in time. */
export type SpanOutcome = "exported" | "rejected" | "dropped";

export interface ExporterOptions {
  readonly config: TracesConfig;
  /** What all spans have in common. */
  readonly resource: Attributes;
  readonly version: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly onOutcome: (outcome: SpanOutcome, spans: number) => void;
}

type Sent =
  | { readonly kind: "taken"; readonly rejected: number }
  | { readonly kind: "later" | "refused"; readonly reason: string; readonly afterMs?: number };

export class Exporter extends BaseService {
  readonly #options: ExporterOptions;
  readonly #client: HttpClient;
  readonly #path: string;
  readonly #headers: Record<string, string>;
  readonly #opening: string;
  /** Spans as JSON, the oldest first; those that are being sent are not among them. */
  #queue: string[] = [];
  #queueBytes = 0;
  #timer: Timer | undefined;
  #sending: Promise<void> | undefined;
  #failures = 0;
  /** Since the collector was last seen to take some. */
  #lost = 0;
  readonly #over = new AbortController();

  constructor(options: ExporterOptions) {
    super();
    this.#options = options;
    const { config, clock, resource, version } = options;
    this.#path = tracesPath(config.endpoint);
    this.#headers = { "content-type": "application/json", "user-agent": `holdfast/${version}` };
    for (const [name, value] of Object.entries(config.headers))
      this.#headers[name.toLowerCase()] = value.trim();
    if (config.auth) {
      const [name, value] = authHeader(config.auth);
      this.#headers[name] = value;
    }
    if (config.compression === "gzip") this.#headers["content-encoding"] = "gzip";
    const about = JSON.stringify({ attributes: attributesJson(resource) });
    const scope = JSON.stringify({ name: "holdfast", version });
    this.#opening = `{"resourceSpans":[{"resource":${about},"scopeSpans":[{"scope":${scope},"spans":[`;
    this.#client = new HttpClient({
      origin: originOf(config.endpoint),
      connections: 1,
      connectTimeoutMs: config.timeout,
      requestTimeoutMs: config.timeout,
      responseBytesMax: ANSWER_BYTES_MAX,
      tls: config.tls,
      clock,
    });
  }

  /** Takes a span; never waits, never throws. */
  add(span: string): void {
    const { queueBytesMax, batchBytesMax, interval } = this.#options.config;
    this.#queue.push(span);
    this.#queueBytes += span.length;
    this.#dropBeyond(this.#over.signal.aborted ? 0 : queueBytesMax);
    if (this.#sending || this.stopping) return;
    if (this.#failures === 0 && this.#queueBytes >= batchBytesMax) this.#sendAfter(0);
    else if (!this.#timer) this.#sendAfter(interval);
  }

  #dropBeyond(bytesMax: number): void {
    if (this.#queueBytes <= bytesMax) return;
    let spans = 0;
    while (this.#queueBytes > bytesMax * LEFT_AFTER_DROP) this.#queueBytes -= this.#queue[spans++]!.length;
    this.#queue.splice(0, spans);
    this.#lose("dropped", spans);
  }

  #lose(outcome: "dropped" | "rejected", spans: number): void {
    this.#lost += spans;
    this.#options.onOutcome(outcome, spans);
  }

  protected async onStart(): Promise<void> {}

  protected async onStop(): Promise<void> {
    this.#timer?.cancel();
    const { clock, config } = this.#options;
    const flushed = this.#flush();
    await Promise.race([flushed, sleep(clock, config.stopTimeout, this.#over.signal)]);
    this.#over.abort();
    await this.#client.close();
    await flushed;
    this.#dropBeyond(0);
  }

  /** A collector that does not take what is left the first time is not asked again. */
  async #flush(): Promise<void> {
    await this.#sending;
    while (this.#queue.length > 0 && !this.#over.signal.aborted) {
      await this.#send();
      if (this.#failures > 0) break;
    }
    this.#over.abort();
  }

  #sendAfter(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(delayMs, () => {
      this.#timer = undefined;
      this.#sending = this.#send().then((nextMs) => {
        this.#sending = undefined;
        if (this.#queue.length > 0 && !this.stopping) this.#sendAfter(nextMs);
      });
    });
  }

  /** Never rejects; resolves with the delay before the next one. */
  async #send(): Promise<number> {
    const { config, random, onOutcome } = this.#options;
    const batch = this.#takeBatch();
    const sent = await this.#post(batch);
    if (sent.kind === "taken") {
      const rejected = Math.min(sent.rejected, batch.length);
      onOutcome("exported", batch.length - rejected);
      if (rejected > 0) this.#lose("rejected", rejected);
      this.#wentThrough();
      return this.#queueBytes >= config.batchBytesMax ? 0 : config.interval;
    }
    if (sent.kind === "refused") this.#lose("rejected", batch.length);
    else this.#putBack(batch);
    this.#failed(sent.reason);
    // Full jitter: a hundred gateways of a plant lose their collector at the same moment.
    const mostMs = Math.min(RETRY_MS_MIN * 2 ** Math.min(this.#failures, 10), RETRY_MS_MAX);
    return Math.max(RETRY_MS_MIN + random.below(mostMs), Math.min(sent.afterMs ?? 0, RETRY_MS_MAX));
  }

  #takeBatch(): string[] {
    let bytes = 0;
    let spans = 0;
    while (spans < this.#queue.length && (spans === 0 || bytes < this.#options.config.batchBytesMax)) {
      bytes += this.#queue[spans++]!.length;
    }
    this.#queueBytes -= bytes;
    return this.#queue.splice(0, spans);
  }

  #putBack(batch: readonly string[]): void {
    this.#queue = [...batch, ...this.#queue];
    this.#queueBytes += batch.reduce((sum, span) => sum + span.length, 0);
    this.#dropBeyond(this.#options.config.queueBytesMax);
  }

  async #post(batch: readonly string[]): Promise<Sent> {
    const text = Buffer.from(`${this.#opening}${batch.join(",")}]}]}]}`);
    try {
      const body = this.#options.config.compression === "gzip" ? await gzip(text) : text;
      const request = { method: "POST", path: this.#path, headers: this.#headers, body };
      return sentOf(await this.#client.send(request, this.#over.signal));
    } catch (error) {
      return { kind: "refused", reason: errorText(error) };
    }
  }

  #wentThrough(): void {
    if (this.#failures > 0) {
      this.#options.logger.info({ lost: this.#lost }, "the collector takes traces again");
    }
    this.#failures = 0;
    this.#lost = 0;
  }

  #failed(reason: string): void {
    const { logger, config } = this.#options;
    if (this.#failures === 0) {
      logger.warn(
        { endpoint: originOf(config.endpoint), reason },
        "the collector takes no traces; messages are carried all the same",
      );
    }
    this.#failures += 1;
  }
}

function tracesPath(endpoint: string): string {
  const { pathname, search } = new URL(endpoint);
  const path = pathname.replace(/\/+$/, "");
  return `${path.endsWith(TRACES_PATH) ? path : path + TRACES_PATH}${search}`;
}

function sentOf(exchange: HttpExchange): Sent {
  if (exchange.kind !== "answer") return { kind: "later", reason: exchange.reason };
  const { status, headers, body } = exchange;
  if (status >= 200 && status < 300) return { kind: "taken", rejected: rejectedOf(body) };
  const reason = `HTTP ${status}`;
  if (!RETRYABLE.has(status)) return { kind: "refused", reason };
  const seconds = Number([headers["retry-after"]].flat()[0]);
  return { kind: "later", reason, ...(seconds > 0 ? { afterMs: seconds * 1000 } : {}) };
}

/** ExportTracePartialSuccess: what of a batch that was taken was not. A 64-bit number is text in JSON. */
function rejectedOf(body: Buffer): number {
  const answer = parseJson(body) as { partialSuccess?: { rejectedSpans?: unknown } } | null | undefined;
  const rejected = Number(answer?.partialSuccess?.rejectedSpans ?? 0);
  return Number.isSafeInteger(rejected) && rejected > 0 ? rejected : 0;
}
