/**
 * What the machines themselves know: which readings they made, handed to the wire, and were promised. Held
 * against what arrived at the backend by the oracle (simulators/oracle.ts).
 */
import { hash } from "node:crypto";
import type { QoS } from "../../src/core/message.ts";

export interface Sent {
  /** Unique over all machines and runs; stands in the payload, so that it survives any gateway. */
  readonly id: string;
  readonly device: string;
  /** 1, 2, 3, … per device: the order in which it was first handed to the wire. */
  readonly n: number;
  readonly topic: string;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly bytes: number;
  /** Of the payload as JSON; see payloadDigest. */
  readonly digest: string;
  /** What the machine's clock said, epoch ms. */
  readonly producedAtMs: number;
  /** A reading that the backend is meant to refuse. */
  readonly poison: boolean;
  /** Times it was put on the wire; 0 while it waits in the machine. */
  copies: number;
  /** Milliseconds into the run. */
  firstSentAtMs: number | null;
  /** The first PUBACK or PUBREC, ms into the run: from here on the gateway answers for it. Never under QoS 0. */
  ackedAtMs: number | null;
}

export interface LedgerOptions {
  /** Drops each message when it is answered (QoS 0: sent), for runs without an oracle that may be endless. */
  readonly forget?: boolean;
}

export class Ledger {
  readonly #entries = new Map<string, Sent>();
  readonly #forget: boolean;
  /** Made, and not acknowledged yet (QoS 0: not sent yet). */
  unsettled = 0;
  /** Copies on the wire beyond the first of each message. */
  repeats = 0;
  /** Messages put on the wire at least once. */
  sent = 0;
  acked = 0;
  /** Bytes of payload, first copies only. */
  bytes = 0;

  constructor(options: LedgerOptions = {}) {
    this.#forget = options.forget ?? false;
  }

  made(entry: Sent): void {
    this.unsettled++;
    this.#entries.set(entry.id, entry);
  }

  onWire(entry: Sent, atMs: number): void {
    entry.copies++;
    if (entry.copies > 1) {
      this.repeats++;
      return;
    }
    entry.firstSentAtMs = atMs;
    this.sent++;
    this.bytes += entry.bytes;
    if (entry.qos === 0) this.#settled(entry);
  }

  onAck(entry: Sent, atMs: number): void {
    if (entry.ackedAtMs !== null) return;
    entry.ackedAtMs = atMs;
    this.acked++;
    this.#settled(entry);
  }

  /** Sent under QoS 1 or 2 and not acknowledged yet. */
  unacked(): Sent[] {
    return this.entries().filter((entry) => entry.qos > 0 && entry.ackedAtMs === null);
  }

  /** Everything that was put on the wire; a reading that never left its machine is nobody's business. */
  entries(): Sent[] {
    return [...this.#entries.values()].filter((entry) => entry.copies > 0);
  }

  #settled(entry: Sent): void {
    this.unsettled--;
    if (this.#forget) this.#entries.delete(entry.id);
  }
}

/**
 * A short digest of a payload that does not depend on how its JSON is spaced, since a backend may get it as
 * part of a larger document. Anything that is no JSON counts byte by byte.
 */
export function payloadDigest(payload: string | Uint8Array): string {
  const text = typeof payload === "string" ? payload : Buffer.from(payload).toString("utf8");
  let canonical = text;
  try {
    canonical = JSON.stringify(JSON.parse(text));
  } catch {
    // no JSON: as it is
  }
  return hash("sha1", canonical, "base64url").slice(0, 16);
}
