/**
 * A message's checksum, over all of it that never changes. SQLite keeps none: without one a bit that flips on the
 * disk would be delivered as if the machine had sent it.
 */
import { crc32 } from "node:zlib";

/** The sum of no content: of what stands in for a lost message, so that it is never sent whoever puts it in line. */
export const NO_SUM = -1;

/** As in the columns of `messages`. */
export interface Content {
  readonly seq: number;
  readonly id: string;
  readonly device: string;
  readonly source: string;
  readonly topic: string;
  readonly payload: Buffer;
  readonly content_type: string | null;
  readonly qos: number;
  readonly retain: number;
  readonly produced_at: number | null;
  readonly accepted_at: number;
  readonly steady_at: number;
  readonly boot: number;
  readonly traceparent: string | null;
  readonly headers: string | null;
  readonly routes: string;
}

export function contentSum(m: Content): number {
  const times = `${m.produced_at}\0${m.accepted_at}\0${m.steady_at}\0${m.boot}\0${m.qos}\0${m.retain}`;
  const texts = `${m.id}\0${m.device}\0${m.source}\0${m.topic}\0${m.content_type}\0${m.traceparent}\0${m.headers}`;
  return crc32(m.payload, crc32(`${m.seq}\0${m.routes}\0${times}\0${texts}`));
}

/** True where the content is what was accepted, or where that is not known: messages once had no checksum. */
export function isIntact(m: Content & { readonly crc: number | null }): boolean {
  return m.crc === null || m.crc === contentSum(m);
}
