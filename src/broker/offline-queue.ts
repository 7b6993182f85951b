/**
 * The QoS 1 and 2 messages that wait for one client, in order, from the moment they are owed until the
 * client has acknowledged them. Pure: says what happened, touches neither socket nor disk.
 *
 * A message is waiting, then sent (it has a packet id), then for QoS 2 released (PUBREC came, PUBREL was
 * sent). Sent and released ones keep their packet id over connections [MQTT-4.4.0-1]. A cursor runs over
 * the queue with each connection: what lies before it has been sent on this one.
 */
import type { Publish } from "./aedes-internals.ts";

export interface Queued {
  /** Grows with each message of the broker; its key in the store. */
  readonly number: number;
  /** The message; after PUBREC the PUBREL that takes its place. */
  packet: Publish;
  bytes: number;
  stage: "waiting" | "sent" | "released";
  packetId: number;
  /** It went out on an earlier connection, so it goes out with DUP now. */
  sentBefore: boolean;
  /** Sent on this connection and not acknowledged. */
  inFlight: boolean;
  /** Acknowledged or dropped; still in the array until the queue is tidied. */
  gone: boolean;
}

/** What an entry costs beside its bytes. */
export const ENTRY_BYTES = 200;
const PACKET_ID_MAX = 65_535;
/** Those that are gone are let go of when there are so many, and this part of all. */
const TIDY_AFTER = 256;
const TIDY_PART = 4;

export function queued(number: number, packet: Publish, bytes: number): Queued {
  return {
    number,
    packet,
    bytes: bytes + ENTRY_BYTES,
    stage: "waiting",
    packetId: 0,
    sentBefore: false,
    inFlight: false,
    gone: false,
  };
}

export class OfflineQueue {
  #entries: Queued[] = [];
  /** How many of them are gone. */
  #gone = 0;
  #cursor = 0;
  /** Nothing before it is waiting: where the search for one to drop begins. */
  #waitingFrom = 0;
  #count = 0;
  #bytes = 0;
  #inFlight = 0;
  #lastId = 0;
  readonly #byId = new Map<number, Queued>();

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Sent on this connection and not acknowledged. */
  get inFlight(): number {
    return this.#inFlight;
  }

  push(entry: Queued): void {
    this.#entries.push(entry);
    this.#count++;
    this.#bytes += entry.bytes;
    if (entry.stage !== "waiting") this.#byId.set(entry.packetId, entry);
  }

  /** All that is there, oldest first. */
  *[Symbol.iterator](): Generator<Queued> {
    for (const entry of this.#entries) if (!entry.gone) yield entry;
  }

  find(packetId: number): Queued | undefined {
    return this.#byId.get(packetId);
  }

  /** A new connection: everything is to be sent again, and goes out as a repetition where it went out. */
  rewind(): void {
    this.#cursor = 0;
    this.#inFlight = 0;
    for (const entry of this) {
      if (entry.stage !== "waiting") entry.sentBefore = true;
      entry.inFlight = false;
    }
  }

  /** The next to send on this connection. */
  peek(): Queued | undefined {
    while (this.#cursor < this.#entries.length && this.#entries[this.#cursor]!.gone) this.#cursor++;
    return this.#entries[this.#cursor];
  }

  /** Up to `max` from the cursor on that have no packet id yet. */
  upcoming(max: number): Queued[] {
    const found: Queued[] = [];
    for (let at = this.#cursor; at < this.#entries.length && found.length < max; at++) {
      const entry = this.#entries[at]!;
      if (!entry.gone && entry.stage === "waiting") found.push(entry);
    }
    return found;
  }

  /** Gives it a packet id that no other message of this client holds [MQTT-2.3.1-2]. */
  assignId(entry: Queued): void {
    do this.#lastId = this.#lastId >= PACKET_ID_MAX ? 1 : this.#lastId + 1;
    while (this.#byId.has(this.#lastId));
    this.setId(entry, this.#lastId);
  }

  setId(entry: Queued, packetId: number): void {
    if (entry.stage !== "waiting" && this.#byId.get(entry.packetId) === entry) {
      this.#byId.delete(entry.packetId);
    }
    entry.packetId = packetId;
    if (entry.stage === "waiting") entry.stage = "sent";
    this.#byId.set(packetId, entry);
  }

  /** The entry at the cursor goes out now. */
  sent(entry: Queued): void {
    entry.inFlight = true;
    this.#inFlight++;
    this.#cursor++;
  }

  /** PUBREC came: `pubrel` stands for the message from here on. */
  release(entry: Queued, pubrel: Publish): void {
    this.#bytes -= entry.bytes - ENTRY_BYTES;
    entry.bytes = ENTRY_BYTES;
    entry.packet = pubrel;
    entry.stage = "released";
  }

  remove(entry: Queued): void {
    if (entry.gone) return;
    entry.gone = true;
    this.#gone++;
    this.#count--;
    this.#bytes -= entry.bytes;
    if (entry.inFlight) this.#inFlight--;
    if (this.#byId.get(entry.packetId) === entry) this.#byId.delete(entry.packetId);
    this.#tidy();
  }

  /** The oldest that was never sent; undefined where all were. */
  oldestWaiting(): Queued | undefined {
    let at = this.#waitingFrom;
    while (at < this.#entries.length) {
      const entry = this.#entries[at]!;
      if (!entry.gone && entry.stage === "waiting") break;
      at++;
    }
    this.#waitingFrom = at;
    return this.#entries[at];
  }

  /** Lets go of those that are gone, wherever they are: one that is never acknowledged may stay before them for days. */
  #tidy(): void {
    if (this.#gone < TIDY_AFTER || this.#gone * TIDY_PART < this.#entries.length) return;
    const staying = (entries: readonly Queued[]) => entries.filter(({ gone }) => !gone);
    this.#cursor = staying(this.#entries.slice(0, this.#cursor)).length;
    this.#waitingFrom = staying(this.#entries.slice(0, this.#waitingFrom)).length;
    this.#entries = staying(this.#entries);
    this.#gone = 0;
  }
}
