/**
 * Packet ids, and the QoS 2 handshakes that a broken connection left in doubt.
 *
 * A broker that keeps our session remembers the packet ids of such handshakes. Two things follow. A new
 * message under such an id would be taken for the old one and swallowed, so those ids are not given out.
 * And the old message, sent again under its own id with DUP, is not taken twice: at the next connection
 * the handshakes are ended, as the protocol demands [MQTT-4.4.0-1], and when the relay asks for one of
 * those messages again it is answered from here. That is the one case in which a plain broker makes a
 * resend once in effect. A broker that does not know the session any more is sent nothing: whether it had
 * the message stays unknown.
 *
 * Kept in memory only: at the first connection of a run the broker is told to forget the session.
 */
import type { IStore } from "mqtt";
import type { Publication } from "./mqtt-message.ts";

/** Ended handshakes whose message was not asked for again (discarded, say) are forgotten beyond so many. */
const ENDED_MAX = 10_000;

interface Doubt {
  readonly key: string;
  readonly packetId: number;
  readonly publication: Publication;
  /** released: the broker said that it has it (PUBREC), and only the end of the handshake is missing. */
  state: "published" | "released";
}

/** Serves as mqtt.js's message id provider, over all connections of a target. */
export class PacketIds {
  /** In the order of sending. */
  readonly #doubts = new Map<number, Doubt>();
  readonly #ended = new Set<string>();
  readonly #busy = new Set<number>();
  #last = 0;

  allocate(): number {
    do this.#last = this.#last >= PACKET_ID_MAX ? 1 : this.#last + 1;
    while (this.#busy.has(this.#last) || this.#doubts.has(this.#last));
    this.#busy.add(this.#last);
    return this.#last;
  }

  getLastAllocated(): number {
    return this.#last;
  }

  register(packetId: number): boolean {
    this.#busy.add(packetId);
    return true;
  }

  deallocate(packetId: number): void {
    this.#busy.delete(packetId);
  }

  /** A new connection: nothing is under way on it. */
  clear(): void {
    this.#busy.clear();
  }

  /** The connection broke while `publication` was under way as `packetId`. */
  addDoubt(key: string, packetId: number, publication: Publication, released: boolean): void {
    this.#doubts.set(packetId, { key, packetId, publication, state: released ? "released" : "published" });
  }

  /** True, once, where the handshake of `key` was ended after reconnecting: the broker has the message. */
  takeEnded(key: string): boolean {
    return this.#ended.delete(key);
  }

  /** Keys of the messages of which nobody knows whether the broker has them. */
  keysInDoubt(): Set<string> {
    return new Set(Array.from(this.#doubts.values(), ({ key }) => key));
  }

  /** Nobody remembers those ids: the broker has no session of ours. */
  forgetDoubts(): void {
    this.#doubts.clear();
  }

  /** Puts what is still owed where mqtt.js sends it from before it calls itself connected. */
  resume(store: IStore): void {
    for (const { packetId: messageId, publication, state } of this.#doubts.values()) {
      if (state === "released") store.put({ cmd: "pubrel", messageId }, () => {});
      else store.put({ cmd: "publish", messageId, dup: true, ...publication }, () => {});
    }
  }

  /** What the broker answers while the handshakes are ended. */
  answered(cmd: string, packetId: number, reasonCode: number): void {
    const doubt = this.#doubts.get(packetId);
    if (!doubt) return;
    if (cmd === "pubrec" && reasonCode >= 128) {
      this.#doubts.delete(packetId);
    } else if (cmd === "pubrec") {
      doubt.state = "released";
    } else if (cmd === "pubcomp") {
      // Also with "Packet Identifier not found": it took the message at its PUBREC and has ended before.
      this.#doubts.delete(packetId);
      this.#ended.add(doubt.key);
      if (this.#ended.size > ENDED_MAX) this.#ended.delete(this.#ended.values().next().value!);
    }
  }
}

const PACKET_ID_MAX = 65_535;
