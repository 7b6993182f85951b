/** Payloads and sums of an export's lines (export-file.ts), for the store's thread too, which loads no schemas. Pure. */
import { createHash } from "node:crypto";
import type { ExportDelivery, ExportEdit, ExportMessage } from "./export-file.ts";

/** Hexadecimal digits of a sum: 128 bits of SHA-256. */
const SUM_CHARS = 32;

/** Written into the file by a person. */
export type EditedByHand = ExportDelivery & { readonly edit: NonNullable<ExportDelivery["edit"]> };

export function isEditedByHand(delivery: ExportDelivery): delivery is EditedByHand {
  return delivery.edit !== null && delivery.edit.sum === undefined;
}

export type Content = { readonly payload?: string; readonly base64?: string };

/** As text where it is UTF-8, and comes back as the same bytes. */
export function contentOf(bytes: Buffer): Content {
  const text = bytes.toString("utf8");
  return Buffer.from(text).equals(bytes) ? { payload: text } : { base64: bytes.toString("base64") };
}

/** Undefined where it says none. */
export function bytesOf({ payload, base64 }: Content): Buffer | undefined {
  if (payload !== undefined) return Buffer.from(payload);
  return base64 === undefined ? undefined : Buffer.from(base64, "base64");
}

export function messageSum(m: Omit<ExportMessage, "sum">): string {
  const deliveries = m.deliveries.map(({ flow, key, state, attempts, late, resend, replay }) => [
    flow,
    key,
    state,
    attempts,
    late,
    resend,
    replay,
  ]);
  const { id, device, source, topic, contentType, qos, retain, producedAt, acceptedAt, ageMs } = m;
  const headers = Object.entries(m.headers);
  return sumOf(
    JSON.stringify([
      id,
      device,
      source,
      topic,
      contentType,
      qos,
      retain,
      producedAt,
      acceptedAt,
      ageMs,
      m.traceparent,
      headers,
      deliveries,
    ]),
    bytesOf(m) ?? Buffer.alloc(0),
  );
}

export function editSumOf({ topic, contentType, by, reason, at, ...rest }: Omit<ExportEdit, "sum">): string {
  return sumOf(
    JSON.stringify([topic ?? null, contentType ?? null, by, reason, at]),
    bytesOf(rest) ?? Buffer.alloc(0),
  );
}

/** The end's sum, grown by one line; `before` is the export's id for the first one. */
export function chained(before: string, line: string): string {
  return sumOf(`${before} ${line}`);
}

function sumOf(text: string, bytes?: Buffer): string {
  const hash = createHash("sha256").update(text);
  if (bytes) hash.update("\0").update(bytes);
  return hash.digest("hex").slice(0, SUM_CHARS);
}

/** What is wrong with a line that fits the schema; null where nothing is. */
export function messageProblem(message: ExportMessage): string | null {
  if (bytesOf(message) === undefined || (message.payload !== undefined && message.base64 !== undefined)) {
    return "expected one of payload and base64";
  }
  if (messageSum(message) !== message.sum) {
    return "it is not what was exported (its sum is another one): it is damaged, or was changed. To change a dead letter, leave the line as it is and write what is to be another one into `edit` of its delivery";
  }
  for (const { flow, state, edit } of message.deliveries) {
    if (!edit) continue;
    if (edit.sum === undefined) {
      if (state !== "dead")
        return `flow ${flow}: only a dead letter may be edited in the file, and this is ${state}`;
    } else if (editSumOf(edit) !== edit.sum) {
      return `flow ${flow}: its edit is not what was exported: it is damaged, or was changed. To edit it, leave out its sum`;
    }
  }
  return null;
}
