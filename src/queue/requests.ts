/**
 * What can be asked of the store thread, and how each request and reply is written (see wire.ts).
 *
 * Appends, claims, settlements and session changes have records of their own because they are the message
 * path. Everything rare (start-up, redrive, retention) is a `call`: a name and JSON, both ways.
 */
import type { Message, QoS } from "../core/message.ts";
import { DELIVERY_STATES, type DeliveryState, type TryNote } from "../core/outcome.ts";
import type { SessionChange } from "../core/session.ts";
import { readSessionChanges, writeSessionChanges } from "./session-wire.ts";
import type { Decoder, Encoder } from "./wire.ts";

export const REQUEST = { append: 1, claim: 2, settle: 3, session: 4, call: 5 } as const;

/** One way a message takes: the flow version that took it, its lane's key, and the state it begins in. */
export interface Route {
  /** Id of the flow version, from `registerFlows`. */
  readonly version: number;
  readonly key: string;
  readonly state: DeliveryState;
  readonly late: boolean;
  readonly reason: string | null;
  /** Steady clock: where it still waits then, it expires. */
  readonly expireAtMs?: number | null;
}

export interface AppendRequest extends Omit<Message, "seq" | "clockTrusted" | "bootId" | "headers"> {
  /** JSON object, or null for none. */
  readonly headers: string | null;
  readonly steadyAtMs: number;
  /** The producer's own id and how long it is remembered. */
  readonly identity: { readonly scope: string; readonly key: string; readonly expireAtMs: number } | null;
  /** Packet identity for the QoS 1 and QoS 2 rules; `expireAtMs` on the steady clock. */
  readonly mqtt: {
    readonly client: string;
    readonly packetId: number;
    readonly dup: boolean;
    readonly expireAtMs: number;
  } | null;
  readonly routes: readonly Route[];
  readonly session: readonly SessionChange[];
  /** It may use the reserve, and goes past what waits for room. */
  readonly urgent?: boolean;
  /** Those of its topic that wait before it in its lanes, and were never sent, are given up for it. */
  readonly supersede?: boolean;
}

export type AppendReply =
  /** `lanes`: for each route that begins as waiting, the lane it waits in (ids as in the lanes table). */
  | { readonly kind: "stored"; readonly seq: number; readonly lanes: readonly number[] }
  | { readonly kind: "duplicate"; readonly seq: number; readonly id: string };

export interface ClaimLane {
  readonly lane: number;
  readonly limit: number;
  /** Deliveries of messages accepted before this (steady clock) have expired; 0 for no limit. */
  readonly expireBeforeMs: number;
  /** True where the lane's order does not matter: one that is not due does not hold back the rest. */
  readonly unordered: boolean;
  /** True where the history is to say when each was claimed. */
  readonly noted?: boolean;
}

export interface ClaimRequest {
  readonly lanes: readonly ClaimLane[];
  readonly nowMs: number;
  readonly limit: number;
  readonly bytesMax: number;
}

export interface ClaimedDelivery {
  readonly lane: number;
  readonly attempts: number;
  readonly late: boolean;
  readonly resend: boolean;
  /** It was in state `unknown`: its flow's `onUnknown` decides before anything is sent. */
  readonly wasUnknown: boolean;
  /** Its message is another one than was accepted (edits.ts). */
  readonly edited: boolean;
  /** A person has it delivered again, or on this flow as well. */
  readonly replay: boolean;
  /** From when its flow's ttl counts: when it was accepted, or when a person put it back. */
  readonly steadyAtMs: number;
  /** Its own time, besides its flow's ttl; steady clock. */
  readonly expireAtMs: number | null;
  readonly message: Message;
}

/** What a claim found out about a lane besides what it claimed. */
export interface ClaimedLane {
  readonly lane: number;
  /** Deliveries still open in it, claimed ones included. */
  readonly open: number;
  readonly expired: number;
  /** When its head may be tried (steady clock); null where nothing holds it back. */
  readonly blockedUntilMs: number | null;
  /** Its head is an unknown that waits for a person. */
  readonly held: boolean;
}

export interface ClaimReply {
  readonly lanes: readonly ClaimedLane[];
  readonly deliveries: readonly ClaimedDelivery[];
}

export interface Settlement {
  readonly lane: number;
  readonly seq: number;
  readonly state: DeliveryState;
  readonly attempts: number;
  readonly resend: boolean;
  /** For waiting and unknown: not before this, on the steady clock. An unknown with null waits for a person. */
  readonly dueAtMs: number | null;
  readonly reason: string | null;
  /** Kind of the history entry to write, or null where the delivery's own row says it all. */
  readonly note: string | null;
  /** What the target told of the try, for the history; before `note`. */
  readonly trail?: readonly TryNote[];
}

const STATE_NUMBER = new Map(DELIVERY_STATES.map((state, at) => [state, at]));

export function writeAppend(out: Encoder, request: AppendRequest): void {
  out.u8(REQUEST.append);
  out.text(request.id);
  out.text(request.device);
  out.text(request.source);
  out.text(request.topic);
  out.bytes(request.payload);
  out.optionalText(request.contentType);
  out.u8(request.qos | (request.retain ? 4 : 0) | (request.urgent ? 8 : 0) | (request.supersede ? 16 : 0));
  out.optionalNumber(request.producedAtMs);
  out.f64(request.acceptedAtMs);
  out.f64(request.steadyAtMs);
  out.optionalText(request.traceparent);
  out.optionalText(request.headers);
  out.u8(request.identity ? 1 : 0);
  if (request.identity) {
    out.text(request.identity.scope);
    out.text(request.identity.key);
    out.f64(request.identity.expireAtMs);
  }
  out.u8(request.mqtt ? 1 : 0);
  if (request.mqtt) {
    out.text(request.mqtt.client);
    out.u32(request.mqtt.packetId);
    out.u8(request.mqtt.dup ? 1 : 0);
    out.f64(request.mqtt.expireAtMs);
  }
  out.u32(request.routes.length);
  for (const route of request.routes) {
    out.u32(route.version);
    out.text(route.key);
    out.u8(STATE_NUMBER.get(route.state)!);
    out.u8(route.late ? 1 : 0);
    out.optionalText(route.reason);
    out.optionalNumber(route.expireAtMs);
  }
  writeSessionChanges(out, request.session);
}

export function readAppend(input: Decoder): AppendRequest {
  const id = input.text();
  const device = input.text();
  const source = input.text();
  const topic = input.text();
  const payload = input.bytes();
  const contentType = input.optionalText();
  const flags = input.u8();
  const producedAtMs = input.optionalNumber();
  const acceptedAtMs = input.f64();
  const steadyAtMs = input.f64();
  const traceparent = input.optionalText();
  const headers = input.optionalText();
  const identity =
    input.u8() === 1 ? { scope: input.text(), key: input.text(), expireAtMs: input.f64() } : null;
  const mqtt =
    input.u8() === 1
      ? { client: input.text(), packetId: input.u32(), dup: input.u8() === 1, expireAtMs: input.f64() }
      : null;
  const routes: Route[] = [];
  for (let left = input.u32(); left > 0; left--) {
    routes.push({
      version: input.u32(),
      key: input.text(),
      state: DELIVERY_STATES[input.u8()]!,
      late: input.u8() === 1,
      reason: input.optionalText(),
      expireAtMs: input.optionalNumber(),
    });
  }
  return {
    id,
    device,
    source,
    topic,
    payload,
    contentType,
    qos: (flags & 3) as QoS,
    retain: (flags & 4) !== 0,
    producedAtMs,
    acceptedAtMs,
    steadyAtMs,
    traceparent,
    headers,
    identity,
    mqtt,
    routes,
    session: readSessionChanges(input),
    urgent: (flags & 8) !== 0,
    supersede: (flags & 16) !== 0,
  };
}

export function writeAppendReply(out: Encoder, reply: AppendReply): void {
  out.u8(reply.kind === "stored" ? 1 : 2);
  out.f64(reply.seq);
  if (reply.kind === "duplicate") {
    out.text(reply.id);
    return;
  }
  out.u32(reply.lanes.length);
  for (const lane of reply.lanes) out.u32(lane);
}

export function readAppendReply(input: Decoder): AppendReply {
  const kind = input.u8();
  const seq = input.f64();
  if (kind === 2) return { kind: "duplicate", seq, id: input.text() };
  const lanes: number[] = [];
  for (let left = input.u32(); left > 0; left--) lanes.push(input.u32());
  return { kind: "stored", seq, lanes };
}

export function writeClaim(out: Encoder, request: ClaimRequest): void {
  out.u8(REQUEST.claim);
  out.f64(request.nowMs);
  out.u32(request.limit);
  out.u32(request.bytesMax);
  out.u32(request.lanes.length);
  for (const lane of request.lanes) {
    out.u32(lane.lane);
    out.u32(lane.limit);
    out.f64(lane.expireBeforeMs);
    out.u8((lane.unordered ? 1 : 0) | (lane.noted ? 2 : 0));
  }
}

export function readClaim(input: Decoder): ClaimRequest {
  const nowMs = input.f64();
  const limit = input.u32();
  const bytesMax = input.u32();
  const lanes: ClaimLane[] = [];
  for (let left = input.u32(); left > 0; left--) {
    const [lane, limit, expireBeforeMs, flags] = [input.u32(), input.u32(), input.f64(), input.u8()];
    lanes.push({ lane, limit, expireBeforeMs, unordered: (flags & 1) !== 0, noted: (flags & 2) !== 0 });
  }
  return { nowMs, limit, bytesMax, lanes };
}

export function writeClaimReply(out: Encoder, reply: ClaimReply): void {
  out.u32(reply.lanes.length);
  for (const lane of reply.lanes) {
    out.u32(lane.lane);
    out.u32(lane.open);
    out.u32(lane.expired);
    out.optionalNumber(lane.blockedUntilMs);
    out.u8(lane.held ? 1 : 0);
  }
  out.u32(reply.deliveries.length);
  for (const { message, ...delivery } of reply.deliveries) {
    out.u32(delivery.lane);
    out.u32(delivery.attempts);
    const { late, resend, wasUnknown, edited, replay } = delivery;
    out.u8((late ? 1 : 0) | (resend ? 2 : 0) | (wasUnknown ? 4 : 0) | (edited ? 8 : 0) | (replay ? 16 : 0));
    out.f64(delivery.steadyAtMs);
    out.optionalNumber(delivery.expireAtMs);
    out.f64(message.seq);
    out.text(message.id);
    out.text(message.device);
    out.text(message.source);
    out.text(message.topic);
    out.bytes(message.payload);
    out.optionalText(message.contentType);
    out.u8(message.qos | (message.retain ? 4 : 0) | (message.clockTrusted ? 8 : 0));
    out.optionalNumber(message.producedAtMs);
    out.f64(message.acceptedAtMs);
    out.text(message.bootId);
    out.optionalText(message.traceparent);
    out.optionalText(Object.keys(message.headers).length === 0 ? null : JSON.stringify(message.headers));
  }
}

export function readClaimReply(input: Decoder): ClaimReply {
  const lanes: ClaimedLane[] = [];
  for (let left = input.u32(); left > 0; left--) {
    lanes.push({
      lane: input.u32(),
      open: input.u32(),
      expired: input.u32(),
      blockedUntilMs: input.optionalNumber(),
      held: input.u8() === 1,
    });
  }
  const deliveries: ClaimedDelivery[] = [];
  for (let left = input.u32(); left > 0; left--) {
    const lane = input.u32();
    const attempts = input.u32();
    const flags = input.u8();
    const steadyAtMs = input.f64();
    const expireAtMs = input.optionalNumber();
    const seq = input.f64();
    const id = input.text();
    const device = input.text();
    const source = input.text();
    const topic = input.text();
    const payload = input.bytes();
    const contentType = input.optionalText();
    const messageFlags = input.u8();
    const producedAtMs = input.optionalNumber();
    const acceptedAtMs = input.f64();
    const bootId = input.text();
    const traceparent = input.optionalText();
    const headers = input.optionalText();
    const message: Message = {
      seq,
      id,
      device,
      source,
      topic,
      payload,
      contentType,
      qos: (messageFlags & 3) as QoS,
      retain: (messageFlags & 4) !== 0,
      clockTrusted: (messageFlags & 8) !== 0,
      producedAtMs,
      acceptedAtMs,
      bootId,
      traceparent,
      headers: headers === null ? {} : JSON.parse(headers),
    };
    deliveries.push({
      lane,
      attempts,
      late: (flags & 1) !== 0,
      resend: (flags & 2) !== 0,
      wasUnknown: (flags & 4) !== 0,
      edited: (flags & 8) !== 0,
      replay: (flags & 16) !== 0,
      steadyAtMs,
      expireAtMs,
      message,
    });
  }
  return { lanes, deliveries };
}
