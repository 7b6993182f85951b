/** What a door hands to intake, and what it gets back. */
import type { QoS } from "../core/message.ts";
import type { SessionChange } from "../core/session.ts";
import type { CarriedTrace } from "../core/trace-context.ts";

export interface Draft {
  readonly device: string;
  /** The door: `mqtt`, `http`, `serial`, … */
  readonly source: string;
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain?: boolean;
  readonly contentType?: string | null;
  /** The producer's own id, where the door knows it (an HTTP Idempotency-Key, a PLC's sequence). */
  readonly producerId?: string | null;
  /** Device clock, epoch ms, where the door knows it. */
  readonly producedAtMs?: number | null;
  /** W3C trace context, valid; null for none. */
  readonly trace?: CarriedTrace | null;
  readonly headers?: Readonly<Record<string, string>>;
  /** MQTT only: what the QoS 1 and 2 rules for duplicates need. `dup` is the DUP flag as received. */
  readonly mqtt?: { readonly client: string; readonly packetId: number; readonly dup: boolean };
  /** What the sender calls its request, where that is not to be the message's id: a repetition is known by it. */
  readonly request?: { readonly scope: string; readonly key: string };
  /** A command: where it is not sent within this time, it expires. */
  readonly ttlMs?: number;
  /** It may use the room that the store keeps for outcomes. */
  readonly urgent?: boolean;
  /** A command: older ones of its topic that are still queued are given up for it. */
  readonly supersede?: boolean;
  /** Session changes that must be in the same commit (retained message, offline queues). Skipped for a duplicate. */
  readonly session?: readonly SessionChange[];
}

/**
 * - stored: committed and fsynced; acknowledge it.
 * - duplicate: an earlier accept stands for it (`id`, `seq` are the original's); acknowledge it.
 * - dropped: matched no flow and `unrouted: drop`; counted, acknowledge it.
 * - refused: not stored and never will be as it is; do not acknowledge as accepted. Counted.
 */
export type Receipt =
  | {
      readonly kind: "stored";
      readonly id: string;
      readonly seq: number;
      readonly flows: number;
      /** Later than a flow's `lateAfter`. */
      readonly late: boolean;
    }
  | { readonly kind: "duplicate"; readonly id: string; readonly seq: number }
  | { readonly kind: "dropped"; readonly id: string }
  | {
      readonly kind: "refused";
      readonly code: "HF_MESSAGE_INVALID" | "HF_UNROUTED";
      readonly reason: string;
    };

export interface Accepting {
  /**
   * Resolves after the commit. While the store is full or its disk is, it waits for room: the caller simply
   * does not acknowledge. Aborting `signal` gives up a draft that has not been handed to the store yet
   * (rejects with the signal's reason); one that has been is committed all the same.
   * Rejects with HF_STORE_IO when the store has failed for good.
   */
  accept(draft: Draft, signal?: AbortSignal): Promise<Receipt>;
}
