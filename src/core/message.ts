/**
 * The message: an immutable record, accepted once.
 *
 * Nothing about a message changes after its commit. What happens to it on a flow is a delivery
 * (see outcome.ts), so that one message can be delivered here, waiting there and dead elsewhere.
 */
import type { Random } from "./random.ts";

export type QoS = 0 | 1 | 2;

export interface Message {
  /** Store sequence: the only order Holdfast knows. Grows by commit, never by clock. */
  readonly seq: number;
  /** Stable over retry, restart and replay: what a backend deduplicates on. */
  readonly id: string;
  readonly device: string;
  /** The door it came in by: `mqtt`, `http`, `modbus`, … */
  readonly source: string;
  readonly topic: string;
  readonly payload: Buffer;
  /** Media type, where the producer or the config says so. */
  readonly contentType: string | null;
  readonly qos: QoS;
  readonly retain: boolean;
  /** Device clock, epoch ms. May be missing or wrong. */
  readonly producedAtMs: number | null;
  /** Gateway wall clock at commit, epoch ms; believe it only where `clockTrusted`. */
  readonly acceptedAtMs: number;
  readonly clockTrusted: boolean;
  /** One per start of the gateway, so that clock jumps between boots can be told. */
  readonly bootId: string;
  /** W3C trace context, `00-…`. */
  readonly traceparent: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Makes UUIDv7 ids that sort by creation within one process: 48 bits of epoch ms, then a counter that
 * grows inside a millisecond and survives a clock that steps back, then random bits.
 * Source: RFC 9562, section 5.7 and section 6.2 method 1 (fixed-length dedicated counter).
 */
export function uuidV7Source(wallMs: () => number, random: Random): () => string {
  let lastMs = 0;
  let counter = 0;
  const bytes = Buffer.alloc(16);
  return () => {
    const nowMs = wallMs();
    if (nowMs > lastMs) {
      lastMs = nowMs;
      counter = random.below(0x200);
    } else if (++counter > 0xfff) {
      lastMs += 1;
      counter = 0;
    }
    random.fill(bytes);
    bytes.writeUIntBE(lastMs, 0, 6);
    bytes[6] = 0x70 | (counter >> 8);
    bytes[7] = counter & 0xff;
    bytes[8] = 0x80 | (bytes[8]! & 0x3f);
    const hex = bytes.toString("hex");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  };
}
