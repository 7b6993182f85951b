/** A message as its row has it, and as everybody else knows it. */
import { wallClockTrusted } from "../core/clock.ts";
import type { Message, QoS } from "../core/message.ts";
import type { Content } from "./content-sum.ts";

export interface MessageRow extends Content {
  readonly qos: QoS;
}

/** Its columns, for a query that calls the table `m`. */
export const MESSAGE_COLUMNS = `m.seq, m.steady_at, m.id, m.device, m.source, m.topic, m.payload, m.content_type, m.qos,
    m.retain, m.produced_at, m.accepted_at, m.boot, m.traceparent, m.headers, m.routes`;

export function messageOf(row: MessageRow, bootId: string): Message {
  return {
    seq: row.seq,
    id: row.id,
    device: row.device,
    source: row.source,
    topic: row.topic,
    payload: row.payload,
    contentType: row.content_type,
    qos: row.qos,
    retain: row.retain === 1,
    producedAtMs: row.produced_at,
    acceptedAtMs: row.accepted_at,
    // By the message, not by the boot: a box without a battery clock learns the time while it runs.
    clockTrusted: wallClockTrusted(row.accepted_at),
    bootId,
    traceparent: row.traceparent,
    headers: row.headers === null ? {} : JSON.parse(row.headers),
  };
}
