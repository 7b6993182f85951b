/**
 * A message as one line of JSON: our own envelope, or a CloudEvent. For backends that take no metadata
 * beside the payload (MQTT 3.1.1), for batches, and for files.
 *
 * The payload is carried so that its bytes can be had back, by a rule that the reader sees in `encoding`:
 * - `json`: it is valid JSON (and not declared to be something else). It stands in the line as the producer
 *   wrote it, digit for digit, since parsing and printing again would turn 1.0 into 1 and round long
 *   numbers; only line breaks between its tokens become spaces.
 * - `text`: it is UTF-8 without control characters (tab and line breaks aside), or declared to be text.
 * - `base64`: anything else.
 */
import { isUtf8 } from "node:buffer";
import type { Message } from "../core/message.ts";
import { carriedTrace } from "../core/trace-context.ts";
import { isoTime } from "./metadata.ts";
import type { TargetDelivery } from "./target.ts";

export const PAYLOAD_FORMS = ["raw", "envelope", "cloudevents"] as const;
export type PayloadForm = (typeof PAYLOAD_FORMS)[number];

export type PayloadEncoding = "json" | "text" | "base64";

export interface EncodedPayload {
  readonly encoding: PayloadEncoding;
  /** A JSON value on one line. */
  readonly json: string;
}

const JSON_TYPE = /^[^;]*[/+]json\s*(;|$)/i;
const TEXT_TYPE = /^text\//i;

export function encodePayload(message: Pick<Message, "payload" | "contentType">): EncodedPayload {
  const { payload, contentType } = message;
  if (isUtf8(payload)) {
    const text = payload.toString("utf8");
    const saysJson = contentType !== null && JSON_TYPE.test(contentType);
    const saysText = contentType !== null && TEXT_TYPE.test(contentType);
    if ((saysJson || contentType === null) && isJson(text)) {
      return { encoding: "json", json: text.replaceAll(/[\r\n]/g, " ") };
    }
    if (saysText || ((saysJson || contentType === null) && isPlain(payload))) {
      return { encoding: "text", json: JSON.stringify(text) };
    }
  }
  return { encoding: "base64", json: `"${payload.toString("base64")}"` };
}

function isJson(text: string): boolean {
  if (!/^[\s]*[[{"\-0-9tfn]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function isPlain(bytes: Buffer): boolean {
  for (const byte of bytes) {
    if (byte < SPACE ? byte !== TAB && byte !== LF && byte !== CR : byte === DEL) return false;
  }
  return true;
}

const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;
const DEL = 127;

/** The envelope. `id` and `flow` come first, so that a reader of a file can tell them without parsing it all. */
export function renderEnvelope(delivery: TargetDelivery, gateway: string): string {
  const { message } = delivery;
  const { encoding, json } = encodePayload(message);
  const facts = {
    id: message.id,
    flow: delivery.flow,
    gateway,
    device: message.device,
    topic: message.topic,
    source: message.source,
    qos: message.qos,
    retain: message.retain || undefined,
    producedAt: isoTime(message.producedAtMs),
    acceptedAt: isoTime(message.acceptedAtMs),
    clockTrusted: message.clockTrusted ? undefined : false,
    late: delivery.late,
    edited: delivery.edited || undefined,
    replay: delivery.replay || undefined,
    traceparent: message.traceparent ?? undefined,
    contentType: message.contentType ?? undefined,
    headers: Object.keys(message.headers).length > 0 ? message.headers : undefined,
    encoding,
  };
  return `${JSON.stringify(facts).slice(0, -1)},"payload":${json}}`;
}

/**
 * CloudEvents 1.0 in the JSON format's structured mode. `source` and `id` together are unique, as the
 * specification asks. `time` is when the gateway accepted it, since a device's clock may be wrong; the
 * device's own is in the extension `producedat`. `traceparent` and `tracestate`
 * are the distributed tracing extension: where the event came from, whatever span brings it.
 */
export function renderCloudEvent(delivery: TargetDelivery, gateway: string): string {
  const { message } = delivery;
  const { encoding, json } = encodePayload(message);
  const saysJson = message.contentType !== null && JSON_TYPE.test(message.contentType);
  // `data` under a JSON content type is a JSON value, so text that claims to be JSON and is none goes as bytes.
  const asBytes = encoding === "base64" || (encoding === "text" && saysJson);
  const facts = {
    specversion: "1.0",
    id: message.id,
    source: `/holdfast/${encodeURIComponent(gateway)}/${encodeURIComponent(message.device)}`,
    type: "holdfast.message",
    subject: message.topic,
    time: isoTime(message.acceptedAtMs) ?? undefined,
    datacontenttype: message.contentType ?? DEFAULT_TYPE[encoding],
    device: message.device,
    flow: delivery.flow,
    producedat: isoTime(message.producedAtMs) ?? undefined,
    clocktrusted: message.clockTrusted ? undefined : false,
    late: delivery.late || undefined,
    edited: delivery.edited || undefined,
    replay: delivery.replay || undefined,
    traceparent: message.traceparent ?? undefined,
    tracestate: carriedTrace(message.traceparent, message.headers.tracestate)?.tracestate ?? undefined,
  };
  const data = asBytes ? `"data_base64":"${message.payload.toString("base64")}"` : `"data":${json}`;
  return `${JSON.stringify(facts).slice(0, -1)},${data}}`;
}

const DEFAULT_TYPE: Record<PayloadEncoding, string> = {
  json: "application/json",
  text: "text/plain; charset=utf-8",
  base64: "application/octet-stream",
};

/** What goes to the backend as the body of one message, and what it is. `contentType` null: not known. */
export function renderPayload(
  form: PayloadForm,
  delivery: TargetDelivery,
  gateway: string,
): { readonly body: Buffer; readonly contentType: string | null } {
  switch (form) {
    case "raw":
      return { body: delivery.message.payload, contentType: delivery.message.contentType };
    case "envelope":
      return { body: Buffer.from(renderEnvelope(delivery, gateway)), contentType: "application/json" };
    case "cloudevents":
      return {
        body: Buffer.from(renderCloudEvent(delivery, gateway)),
        contentType: "application/cloudevents+json",
      };
  }
}
