/**
 * Traces: what happens to a message, as spans of OpenTelemetry, for whoever looks at many systems at once.
 *
 *   receive   from the draft at the door to its receipt; in the trace of its producer, where that says which
 *   commit    of that the part in which the store has it: its turn in the group commit, and the fsync
 *   send      one try to deliver one message, or one batch that goes together
 *
 * A message may wait for days, so no span lasts across the queue: `send` begins a trace of its own and has a link to the
 * message's `receive` (or joins that trace, by `acrossQueue`). What ties them is the traceparent that is stored with the
 * message, in the commit that stores it: links survive a restart. A message that was stored without one has none.
 *
 * Promise: nothing of a message waits for a trace or fails by one; what was asked to be traced is traced up to
 * `messagesPerSecondMax`, and what is beyond is counted. Where nothing is traced there is no object of this class, and
 * nobody asks for one.
 *
 * Names and attributes: OpenTelemetry's semantic conventions for messaging, and ours under `holdfast.`.
 */
import type { Clock } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { Outcome } from "../core/outcome.ts";
import type { Random } from "../core/random.ts";
import { BaseService } from "../core/service.ts";
import {
  type CarriedTrace,
  parseTraceparent,
  type TraceContext,
  traceparentText,
} from "../core/trace-context.ts";
import type { Draft, Receipt } from "../intake/draft.ts";
import type { IntakeTrace, IntakeTracing } from "../intake/tracing.ts";
import type { Target, TargetDelivery } from "../targets/target.ts";
import { type Sending, spanOfBatch, spansOfEach } from "./attempts.ts";
import { Exporter, type SpanOutcome } from "./exporter.ts";
import type { TracesConfig } from "./schema.ts";
import { type Attributes, KIND, type Span, spanJson } from "./span.ts";
import { SpanClock } from "./span-clock.ts";

export interface TracesOptions {
  readonly config: TracesConfig;
  readonly gateway: string;
  readonly version: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** `skipped`: above messagesPerSecondMax. */
  readonly onOutcome: (outcome: SpanOutcome | "skipped", spans: number) => void;
}

const SECOND_MS = 1000;

export class Traces extends BaseService implements IntakeTracing {
  readonly #options: TracesOptions;
  readonly #exporter: Exporter;
  readonly #mayReceive: () => boolean;
  readonly #maySend: () => boolean;
  readonly #spanClock: SpanClock;
  readonly #idBytes = Buffer.alloc(24);

  constructor(options: TracesOptions) {
    super();
    this.#options = options;
    this.#spanClock = new SpanClock(options.clock);
    const { config, gateway, version } = options;
    this.#exporter = new Exporter({
      ...options,
      resource: {
        "service.name": config.serviceName,
        "service.instance.id": gateway,
        "service.version": version,
        ...config.attributes,
      },
    });
    this.#mayReceive = this.#budget();
    this.#maySend = this.#budget();
  }

  protected onStart(): Promise<void> {
    return this.#exporter.start();
  }

  protected onStop(): Promise<void> {
    return this.#exporter.stop();
  }

  received(draft: Draft): IntakeTrace {
    const begun = this.#spanClock.begin();
    let committingMs: number | null = null;
    let carried: CarriedTrace | null = null;
    let context: TraceContext | null | undefined;
    const decide = (by: CarriedTrace | null) => {
      carried = by;
      context = this.#intakeContext(by);
      return context;
    };
    const end = (attributes: Attributes, error: string | null) => {
      // One that never got so far is traced by what its door knew.
      const ours = context === undefined ? decide(draft.trace ?? null) : context;
      if (!ours) return;
      const endMs = begun.nowMs();
      const state = carried?.tracestate ?? null;
      this.#add({
        context: ours,
        parentSpanId: parseTraceparent(carried?.traceparent)?.spanId,
        state,
        name: `receive ${draft.source}`,
        kind: draft.source === "http" ? KIND.server : KIND.consumer,
        startMs: begun.startMs,
        endMs,
        attributes: { ...draftAttributes(draft), ...attributes, ...begun.doubt },
        error,
      });
      if (committingMs === null) return;
      this.#add({
        context: { ...ours, spanId: this.#newIds().spanId },
        parentSpanId: ours.spanId,
        state,
        name: "commit",
        kind: KIND.internal,
        startMs: committingMs,
        endMs,
        attributes: begun.doubt,
        error,
      });
    };
    return {
      committing: (by) => {
        const ours = decide(by);
        if (!ours) return by?.traceparent ?? null;
        committingMs = begun.nowMs();
        return traceparentText(ours);
      },
      ended: (receipt) => end(receiptAttributes(receipt), receipt.kind === "refused" ? receipt.reason : null),
      failed: (error) => end({ "error.type": "not stored" }, errorText(error)),
    };
  }

  /** Null where this one is not traced. */
  #intakeContext(carried: CarriedTrace | null): TraceContext | null {
    const parent = carried && parseTraceparent(carried.traceparent);
    if (parent && !parent.sampled) return null;
    const { traceId, spanId, chance } = this.#newIds();
    if (!parent && chance >= this.#options.config.sampleRatio) return null;
    if (!this.#mayReceive()) return null;
    return { traceId: parent?.traceId ?? traceId, spanId, sampled: true };
  }

  /** As `target.deliver()`, noted while it happens. */
  async deliver(target: Target, batch: readonly TargetDelivery[], signal: AbortSignal): Promise<Outcome[]> {
    const { acrossQueue, linksMax } = this.#options.config;
    const sending: Sending = {
      target,
      join: acrossQueue === "join",
      linksMax,
      begin: () => this.#spanClock.begin(),
      newContext: () => {
        const { traceId, spanId } = this.#newIds();
        return { traceId, spanId, sampled: true };
      },
      mayTrace: this.#maySend,
      add: (span) => this.#add(span),
    };
    const traced = target.together ? spanOfBatch(batch, sending) : spansOfEach(batch, sending);
    if (!traced) return target.deliver(batch, signal);
    try {
      const outcomes = await target.deliver(traced.batch, signal);
      traced.ended(outcomes);
      return outcomes;
    } catch (error) {
      traced.ended([]);
      throw error;
    }
  }

  /** Ids by chance, and where they fall in [0, 1): what samples one is its id. */
  #newIds(): { readonly traceId: string; readonly spanId: string; readonly chance: number } {
    const bytes = this.#idBytes;
    this.#options.random.fill(bytes);
    return {
      traceId: bytes.toString("hex", 0, 16),
      spanId: bytes.toString("hex", 16, 24),
      chance: bytes.readUIntBE(10, 6) / 2 ** 48,
    };
  }

  #add(span: Span): void {
    this.#exporter.add(spanJson(span));
  }

  /** At most so many in any second. What it says no to is counted. */
  #budget(): () => boolean {
    const { clock, config, onOutcome } = this.#options;
    let beganMs = Number.NEGATIVE_INFINITY;
    let used = 0;
    return () => {
      const nowMs = clock.monoMs();
      if (nowMs - beganMs >= SECOND_MS) {
        beganMs = nowMs;
        used = 0;
      }
      used += 1;
      if (used <= config.messagesPerSecondMax) return true;
      onOutcome("skipped", 1);
      return false;
    };
  }
}

function draftAttributes(draft: Draft): Attributes {
  return {
    "messaging.system": draft.source,
    "messaging.operation.type": "receive",
    "messaging.operation.name": "receive",
    "messaging.destination.name": draft.topic,
    "messaging.client.id": draft.mqtt?.client,
    "messaging.message.body.size": draft.payload.length,
    "holdfast.device": draft.device,
    "holdfast.qos": draft.qos,
  };
}

function receiptAttributes(receipt: Receipt): Attributes {
  if (receipt.kind === "refused") return { "holdfast.receipt": "refused", "error.type": receipt.code };
  return {
    "holdfast.receipt": receipt.kind,
    "messaging.message.id": receipt.id,
    "holdfast.late": receipt.kind === "stored" && receipt.late ? true : null,
  };
}
