/**
 * Intake: the one way in. Every door (MQTT, HTTP, adapters) hands a draft to accept() and acknowledges its
 * machine by the receipt.
 *
 * Promise: a receipt `stored` or `duplicate` is given after the commit that makes it true has been fsynced.
 * A message is validated, given its identity, held against what is known, matched with the flows and
 * committed with its deliveries: one draft, one commit, one receipt.
 *
 * The id: the producer's own where one is declared (within its device unless the config says it is unique
 * among all), otherwise a UUIDv7. It is what backends deduplicate on, so a message that is sent again long
 * after our own window has passed still goes out under the same id.
 *
 * What it trades away: nothing is acknowledged while the store has no room; the sender waits. The one
 * exception is a message that is refused for good (invalid, or unrouted under `unrouted: refuse`).
 */
import { type Clock, wallMsBetween } from "../core/clock.ts";
import { type Flow, FlowMatcher } from "../core/flow.ts";
import { parseJson } from "../core/json-pointer.ts";
import { HEADERS_BYTES_MAX, MESSAGE_ID_BYTES_MAX, NAME_BYTES_MAX, UNORDERED_LANES } from "../core/limits.ts";
import { topicNameProblem } from "../core/topic.ts";
import type { CarriedTrace } from "../core/trace-context.ts";
import { formatBytes, formatDuration } from "../core/units.ts";
import type { AppendRequest, Route } from "../queue/requests.ts";
import type { Store } from "../queue/store.ts";
import { DOOR } from "../queue/tally.ts";
import type { Accepting, Draft, Receipt } from "./draft.ts";
import { type Found, identify, ruleFor } from "./identity.ts";
import type { IntakeConfig } from "./schema.ts";
import type { IntakeTrace, IntakeTracing } from "./tracing.ts";

export interface IntakeOptions {
  readonly config: IntakeConfig;
  readonly flows: readonly Flow[];
  readonly store: Pick<Store, "append" | "write" | "count" | "steadyMs" | "registerFlows">;
  readonly clock: Clock;
  readonly newId: () => string;
  /** Absent where nothing is traced. */
  readonly tracing?: IntakeTracing | undefined;
  /** Flow options as they may be shown, for the record of flow versions. */
  readonly describeFlow: (flow: Flow) => string;
}

export class Intake implements Accepting {
  readonly #options: IntakeOptions;
  readonly #matcher: FlowMatcher;
  readonly #versions = new Map<string, number>();

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#matcher = new FlowMatcher(options.flows);
  }

  /** Makes the flows known to the store; before the first accept(). */
  async prepare(): Promise<void> {
    const { flows, store, describeFlow } = this.#options;
    const versions = await store.registerFlows(
      flows.map((flow) => ({ flow: flow.name, hash: flow.hash, config: describeFlow(flow) })),
    );
    for (const [at, flow] of flows.entries()) this.#versions.set(flow.name, versions[at]!);
  }

  accept(draft: Draft, signal?: AbortSignal): Promise<Receipt> {
    const { tracing } = this.#options;
    return tracing ? this.#traced(draft, tracing.received(draft), signal) : this.#take(draft, signal);
  }

  async #traced(draft: Draft, trace: IntakeTrace, signal?: AbortSignal): Promise<Receipt> {
    try {
      const receipt = await this.#take(draft, signal, trace);
      trace.ended(receipt);
      return receipt;
    } catch (error) {
      trace.failed(error);
      throw error;
    }
  }

  async #take(draft: Draft, signal?: AbortSignal, trace?: IntakeTrace): Promise<Receipt> {
    const { config, store } = this.#options;
    const problem = this.#problem(draft);
    if (problem) return this.#refuse("HF_MESSAGE_INVALID", problem);
    let parsed: { json: unknown } | undefined;
    const json = () => {
      parsed ??= { json: parseJson(draft.payload) };
      return parsed.json;
    };
    const found = identify(draft, ruleFor(config.identities, draft.topic), json);
    const id = this.#messageId(draft, found);
    const idProblem = found.producerId === null ? null : messageIdProblem(id);
    if (idProblem) return this.#refuse("HF_MESSAGE_INVALID", idProblem);
    const flows = this.#matcher.match(draft.topic, json);
    if (flows.length === 0 && config.unrouted !== "keep") {
      if (config.unrouted === "refuse") return this.#refuse("HF_UNROUTED", "no flow takes its topic");
      await this.#drop(draft);
      return { kind: "dropped", id };
    }
    const request = this.#request(draft, id, found, flows, trace);
    const reply = await store.append(request, signal);
    if (reply.kind === "duplicate") return { kind: "duplicate", id: reply.id, seq: reply.seq };
    const late = request.routes.some((route) => route.late);
    return { kind: "stored", id, seq: reply.seq, flows: flows.length, late };
  }

  #problem(draft: Draft): string | null {
    const { payloadBytesMax } = this.#options.config;
    const topic = topicNameProblem(draft.topic);
    if (topic) return `its topic cannot be used: ${topic}`;
    if (draft.payload.length > payloadBytesMax) {
      return `its payload of ${formatBytes(draft.payload.length)} is above intake.payloadBytesMax (${formatBytes(payloadBytesMax)})`;
    }
    if (draft.device.length === 0 || Buffer.byteLength(draft.device) > NAME_BYTES_MAX) {
      return `its device name is empty or longer than ${NAME_BYTES_MAX} bytes`;
    }
    if (draft.mqtt && draft.qos > 0 && !isPacketId(draft.mqtt.packetId)) {
      return `its packet id ${draft.mqtt.packetId} is none`; // [MQTT-2.3.1-1]
    }
    if (draft.headers && Buffer.byteLength(JSON.stringify(draft.headers)) > HEADERS_BYTES_MAX) {
      return `its headers are larger than ${formatBytes(HEADERS_BYTES_MAX)}`;
    }
    return null;
  }

  #messageId(draft: Draft, { producerId, scope }: Found): string {
    if (producerId === null) return this.#options.newId();
    // Escaped, or device `a` with id `b:c` and device `a:b` with id `c` would be one message.
    return scope === "global"
      ? producerId
      : `${draft.device.replace(/[%:]/g, encodeURIComponent)}:${producerId}`;
  }

  #request(
    draft: Draft,
    id: string,
    found: Found,
    flows: readonly Flow[],
    trace: IntakeTrace | undefined,
  ): AppendRequest {
    const { clock, store, config } = this.#options;
    const acceptedAtMs = clock.wallMs();
    const steadyAtMs = store.steadyMs();
    const expireAtMs = steadyAtMs + (found.windowMs ?? config.duplicateWindow);
    // Where one of the two clocks is plainly wrong, nobody knows whether it is late.
    const lateByMs = found.producedAtMs === null ? 0 : (wallMsBetween(found.producedAtMs, acceptedAtMs) ?? 0);
    return {
      id,
      device: draft.device,
      source: draft.source,
      topic: draft.topic,
      payload: draft.payload,
      contentType: draft.contentType ?? null,
      qos: draft.qos,
      retain: draft.retain ?? false,
      producedAtMs: found.producedAtMs,
      acceptedAtMs,
      steadyAtMs,
      // From here on its deliveries belong to the span of its intake, where there is one.
      traceparent: (trace ? trace.committing(found.trace) : found.trace?.traceparent) ?? null,
      headers: headersText(draft.headers, found.trace),
      identity: draft.request
        ? { ...draft.request, expireAtMs }
        : found.producerId === null
          ? null
          : {
              scope: found.scope === "global" ? "" : draft.device,
              key: found.producerId,
              expireAtMs,
            },
      mqtt: draft.mqtt && draft.qos > 0 ? { ...draft.mqtt, expireAtMs } : null,
      routes: onePerFlow(flows.map((flow) => this.#route(flow, draft, lateByMs, steadyAtMs))),
      session: draft.session ?? [],
      urgent: draft.urgent,
      supersede: draft.supersede,
    };
  }

  #route(flow: Flow, draft: Draft, lateByMs: number, steadyAtMs: number): Route {
    if (flow.commands && draft.ttlMs !== undefined) {
      return { ...this.#waiting(flow, draft), expireAtMs: steadyAtMs + draft.ttlMs };
    }
    const late = flow.lateAfter !== undefined && lateByMs > flow.lateAfter;
    if (late && flow.late === "divert") {
      const other = this.#options.flows.find(({ name }) => name === flow.divertTo)!;
      return { ...this.#waiting(other, draft), late };
    }
    const waiting = { ...this.#waiting(flow, draft), late };
    if (!late || flow.late === "deliver") return waiting;
    const state = flow.late === "dead" ? "dead" : "discarded";
    return { ...waiting, state, reason: `late by ${formatDuration(Math.round(lateByMs))}` };
  }

  #waiting(flow: Flow, draft: Draft): Route {
    const key =
      flow.orderBy === "device" ? draft.device : flow.orderBy === "topic" ? draft.topic : this.#shard();
    return { version: this.#versions.get(flow.name)!, key, state: "waiting", late: false, reason: null };
  }

  #shard(): string {
    this.#nextShard = (this.#nextShard + 1) % UNORDERED_LANES;
    return String(this.#nextShard);
  }
  #nextShard = 0;

  async #refuse(code: "HF_MESSAGE_INVALID" | "HF_UNROUTED", reason: string): Promise<Receipt> {
    await this.#options.store.count(DOOR, "refused");
    return { kind: "refused", code, reason };
  }

  async #drop(draft: Draft): Promise<void> {
    const { store } = this.#options;
    const session = draft.session ?? [];
    await Promise.all([store.count(DOOR, "dropped"), session.length > 0 ? store.write(session) : undefined]);
  }
}

/** Ids travel as headers and in file names of backends: nothing that ends a line or is not text. */
function messageIdProblem(id: string): string | null {
  if (Buffer.byteLength(id) > MESSAGE_ID_BYTES_MAX)
    return `its id is longer than ${MESSAGE_ID_BYTES_MAX} bytes`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for.
  if (/[\u0000-\u001f\u007f]/.test(id) || !id.isWellFormed())
    return "its id has characters that are not text";
  return null;
}

/** The state of a trace travels as a header, and is one in every protocol. */
function headersText(headers: Draft["headers"], trace: CarriedTrace | null): string | null {
  const all = trace?.tracestate ? { ...headers, tracestate: trace.tracestate } : headers;
  return all && Object.keys(all).length > 0 ? JSON.stringify(all) : null;
}

function isPacketId(id: number): boolean {
  return Number.isInteger(id) && id >= 1 && id <= 65_535;
}

/** A message takes each flow once, also where a late one is diverted to a flow that takes it anyway. */
function onePerFlow(routes: readonly Route[]): Route[] {
  return routes.filter((route, at) => routes.findIndex(({ version }) => version === route.version) === at);
}
