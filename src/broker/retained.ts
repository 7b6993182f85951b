/** Retained messages: the last one of each topic, in memory, bounded; its row in the store is the caller's. */
import type { SessionChange } from "../core/session.ts";
import { topicMatches } from "../core/topic.ts";
import type { Publish } from "./aedes-internals.ts";
import { decodeMessage, encodeMessage, payloadOf } from "./session-codec.ts";

export interface RetainedLimits {
  readonly retainedMessagesMax: number;
  readonly retainedBytesMax: number;
}

/** What a retained PUBLISH does: kept, taken away (empty payload [MQTT-3.3.1-10]), or no room for it. */
export interface RetainedWrite {
  readonly topic: string;
  /** null: taken away. */
  readonly packet: Publish | null;
  readonly bytes: number;
  readonly change: SessionChange;
  /** Room held for it until apply() or cancel(). */
  readonly heldTopics: number;
  readonly heldBytes: number;
}

/** So many topics are held against a filter before others get a chance. */
const LOOKED_AT_A_TIME = 16;

export class Retained {
  readonly #limits: RetainedLimits;
  readonly #packets = new Map<string, { packet: Publish; bytes: number }>();
  #bytes = 0;
  /** For messages on their way to the disk, so that many at a time do not exceed the bounds together. */
  #heldTopics = 0;
  #heldBytes = 0;

  constructor(limits: RetainedLimits) {
    this.#limits = limits;
  }

  get count(): number {
    return this.#packets.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Null where there is no room; `always` makes room beside the limits. */
  prepare(message: Publish, always = false): RetainedWrite | null {
    const { topic, payload } = message;
    const at = { kind: "retained", client: "", key: topic } as const;
    const nothing = { packet: null, bytes: 0, heldTopics: 0, heldBytes: 0 };
    if (payload.length === 0) return { topic, ...nothing, change: { op: "delete", ...at } };
    const value = encodeMessage({ topic, payload, qos: message.qos, retain: true });
    const old = this.#packets.get(topic);
    const heldTopics = old ? 0 : 1;
    const heldBytes = Math.max(0, value.length - (old?.bytes ?? 0));
    const { retainedMessagesMax, retainedBytesMax } = this.#limits;
    const fits =
      this.#packets.size + this.#heldTopics + heldTopics <= retainedMessagesMax &&
      this.#bytes + this.#heldBytes + heldBytes <= retainedBytesMax;
    if (!fits && !always) return null;
    this.#heldTopics += heldTopics;
    this.#heldBytes += heldBytes;
    // Detached from the chunk it was read with, which is a hundred times its size.
    const packet = { ...message, payload: typeof payload === "string" ? payload : payloadOf(value) };
    return { topic, packet, bytes: value.length, change: { op: "put", ...at, value }, heldTopics, heldBytes };
  }

  apply(write: RetainedWrite): void {
    this.cancel(write);
    this.#set(write.topic, write.packet, write.bytes);
  }

  /** The message was not stored, so it is not retained. */
  cancel({ heldTopics, heldBytes }: RetainedWrite): void {
    this.#heldTopics -= heldTopics;
    this.#heldBytes -= heldBytes;
  }

  #set(topic: string, packet: Publish | null, bytes: number): void {
    const old = this.#packets.get(topic);
    if (old) this.#bytes -= old.bytes;
    if (packet) {
      this.#packets.set(topic, { packet, bytes });
      this.#bytes += bytes;
    } else this.#packets.delete(topic);
  }

  load(value: Buffer): void {
    const message = decodeMessage(value);
    const packet: Publish = { cmd: "publish", ...message, dup: false };
    this.#set(message.topic, packet, value.length);
  }

  get(topic: string): Publish | undefined {
    return this.#packets.get(topic)?.packet;
  }

  /** What matches the filters, filter by filter as it is then; null now and then, where looking takes long. */
  *steps(filters: readonly string[]): Generator<Publish | null> {
    for (const filter of filters) {
      if (!filter.includes("+") && !filter.includes("#")) {
        yield this.#packets.get(filter)?.packet ?? null;
        continue;
      }
      let looked = 0;
      for (const [topic, { packet }] of this.#packets) {
        if (topicMatches(filter, topic)) yield packet;
        else if (++looked % LOOKED_AT_A_TIME === 0) yield null;
      }
    }
  }

  *match(filter: string): Generator<Publish> {
    if (!filter.includes("+") && !filter.includes("#")) {
      const exact = this.#packets.get(filter);
      if (exact) yield exact.packet;
      return;
    }
    for (const [topic, { packet }] of this.#packets) if (topicMatches(filter, topic)) yield packet;
  }
}
