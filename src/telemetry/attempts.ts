/**
 * Spans of tries to deliver: one for each message, or, where a target hands a batch over as one, one for the batch.
 *
 * What a target never got to (an earlier one of the lane was in the way, the backend had shown that it is away) was not
 * tried, and has no span. Of a batch every link says what became of its message.
 */
import type { Outcome } from "../core/outcome.ts";
import { carriedTrace, parseTraceparent, type TraceContext, traceparentText } from "../core/trace-context.ts";
import type { DeliveryTrace, Target, TargetDelivery } from "../targets/target.ts";
import { type Attributes, KIND, type Link, type Span } from "./span.ts";
import type { Begun } from "./span-clock.ts";

export interface Sending {
  readonly target: Pick<Target, "name" | "type">;
  /** The try belongs to the message's own trace. */
  readonly join: boolean;
  readonly linksMax: number;
  readonly begin: () => Begun;
  /** Of a trace that begins here. */
  readonly newContext: () => TraceContext;
  readonly mayTrace: () => boolean;
  readonly add: (span: Span) => void;
}

/** A batch on its way, as its target is given it. */
export interface Traced {
  readonly batch: readonly TargetDelivery[];
  /** In step with the batch; none where the target failed instead of answering. */
  ended(outcomes: readonly Outcome[]): void;
}

/** Null where nothing of it is traced. */
export function spansOfEach(batch: readonly TargetDelivery[], sending: Sending): Traced | null {
  const tries = batch.map((delivery) => tryOf(delivery, sending));
  if (tries.every((each) => each === null)) return null;
  return {
    batch: batch.map((delivery, at) => ({ ...delivery, trace: tries[at]?.trace })),
    ended(outcomes) {
      for (const [at, each] of tries.entries()) each?.ended(outcomes[at]);
    },
  };
}

function tryOf(delivery: TargetDelivery, sending: Sending) {
  const link = linkOf(delivery);
  if (!link || !sending.mayTrace()) return null;
  const { join, begin, newContext, target, add } = sending;
  const fresh = newContext();
  const context = join ? { ...fresh, traceId: link.context.traceId } : fresh;
  // The state says where a trace has been; one that begins here has been nowhere.
  const state = join ? (link.state ?? null) : null;
  let begun: Begun | null = null;
  let answeredMs: number | null = null;
  const trace: DeliveryTrace = {
    traceparent: traceparentText(context),
    tracestate: state,
    begun() {
      begun = begin();
    },
    answered() {
      answeredMs ??= begun?.nowMs() ?? null;
    },
  };
  return {
    trace,
    ended(outcome: Outcome | undefined) {
      if (!begun && outcome?.kind === "retry") return;
      const { startMs, doubt, nowMs } = begun ?? begin();
      add({
        context,
        parentSpanId: join ? link.context.spanId : null,
        state,
        name: `send ${delivery.flow}`,
        kind: target.type === "mqtt" ? KIND.producer : KIND.client,
        startMs,
        endMs: answeredMs ?? nowMs(),
        attributes: {
          ...sendAttributes(target),
          ...messageAttributes(delivery),
          ...outcomeAttributes(outcome),
          "messaging.message.body.size": delivery.message.payload.length,
          ...doubt,
        },
        links: [link],
        error: errorOf(outcome),
      });
    },
  };
}

/** Null where none of its messages is traced. */
export function spanOfBatch(batch: readonly TargetDelivery[], sending: Sending): Traced | null {
  const links = batch.map(linkOf);
  if (links.every((link) => link === null) || !sending.mayTrace()) return null;
  const { begin, newContext, linksMax, target, add } = sending;
  const context = newContext();
  const begun = begin();
  const trace: DeliveryTrace = {
    traceparent: traceparentText(context),
    tracestate: null,
    begun() {},
    answered() {},
  };
  return {
    batch: batch.map((delivery) => ({ ...delivery, trace })),
    ended(outcomes) {
      const found = batch.flatMap((delivery, at): Link[] => {
        const link = links[at];
        const attributes = { ...messageAttributes(delivery), ...outcomeAttributes(outcomes[at]) };
        return link ? [{ ...link, attributes }] : [];
      });
      const failed = batch.flatMap((_, at) => errorOf(outcomes[at]) ?? []);
      const kinds = new Set(batch.map((_, at) => kindOf(outcomes[at])));
      const flows = new Set(batch.map(({ flow }) => flow));
      const [flow] = flows.size === 1 ? flows : [];
      add({
        context,
        name: `send ${flow ?? target.name}`,
        kind: KIND.client,
        startMs: begun.startMs,
        endMs: begun.nowMs(),
        attributes: {
          ...sendAttributes(target),
          "messaging.batch.message_count": batch.length,
          "holdfast.flow": flow,
          "holdfast.outcome": kinds.size === 1 ? [...kinds][0] : "mixed",
          "holdfast.failed": failed.length,
          "error.type": failed.length > 0 ? "not delivered" : null,
          ...begun.doubt,
        },
        links: found.slice(0, linksMax),
        linksDropped: Math.max(0, found.length - linksMax),
        error: failed.length === 0 ? null : `${failed.length} of ${batch.length}: ${failed[0]}`,
      });
    },
  };
}

/** To the span of the message's intake; null where the message is not traced. */
function linkOf({ message }: TargetDelivery): Link | null {
  const context = parseTraceparent(message.traceparent);
  if (!context?.sampled) return null;
  return { context, state: carriedTrace(message.traceparent, message.headers.tracestate)?.tracestate };
}

function sendAttributes({ type, name }: Sending["target"]): Attributes {
  return {
    "messaging.system": type,
    "messaging.operation.type": "send",
    "messaging.operation.name": "send",
    "messaging.destination.name": name,
  };
}

function messageAttributes(delivery: TargetDelivery): Attributes {
  const { message, flow, attempt, waitedMs, resend, replay } = delivery;
  return {
    "messaging.message.id": message.id,
    "holdfast.flow": flow,
    "holdfast.device": message.device,
    "holdfast.attempt": attempt,
    "holdfast.wait_ms": waitedMs,
    "holdfast.resend": resend || null,
    "holdfast.replay": replay || null,
  };
}

const FAILED_ITSELF = "the target failed instead of answering";

/** What the relay makes of a target that says nothing. */
const kindOf = (outcome: Outcome | undefined) => outcome?.kind ?? "unknown";

function outcomeAttributes(outcome: Outcome | undefined): Attributes {
  const kind = kindOf(outcome);
  return {
    "holdfast.outcome": kind,
    "holdfast.fault": outcome?.kind === "retry" ? outcome.fault : null,
    "holdfast.reason": errorOf(outcome),
    "error.type": kind === "delivered" ? null : kind,
  };
}

function errorOf(outcome: Outcome | undefined): string | null {
  if (!outcome) return FAILED_ITSELF;
  return outcome.kind === "delivered" ? null : outcome.reason;
}
