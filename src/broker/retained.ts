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
}

export class Retained {
  readonly #limits: RetainedLimits;
  readonly #packets = new Map<string, { packet: Publish; bytes: number }>();
  #bytes = 0;

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
    if (payload.length === 0) return { topic, packet: null, bytes: 0, change: { op: "delete", ...at } };
    const value = encodeMessage({ topic, payload, qos: message.qos, retain: true });
    const old = this.#packets.get(topic);
    const { retainedMessagesMax, retainedBytesMax } = this.#limits;
    const fits =
      (old !== undefined || this.#packets.size < retainedMessagesMax) &&
      this.#bytes - (old?.bytes ?? 0) + value.length <= retainedBytesMax;
    if (!fits && !always) return null;
    // Detached from the chunk it was read with, which is a hundred times its size.
    const packet = { ...message, payload: typeof payload === "string" ? payload : payloadOf(value) };
    return { topic, packet, bytes: value.length, change: { op: "put", ...at, value } };
  }

  apply({ topic, packet, bytes }: RetainedWrite): void {
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
    this.apply({ topic: message.topic, packet, bytes: value.length, change: NO_CHANGE });
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

const NO_CHANGE: SessionChange = { op: "clear", kind: "retained", client: "" };
