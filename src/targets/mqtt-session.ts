/**
 * Packet ids, and what is in doubt after a broken connection.
 *
 * A broker that keeps our session remembers the packet ids of QoS 2 messages whose handshake broke off. Two
 * things follow. A new message under such an id would be taken for the old one and swallowed, so those ids
 * are not given out. And the old message, sent again under its own id with DUP, is not taken twice
 * [MQTT-4.4.0-1]: the one case in which a plain broker makes a resend once in effect.
 *
 * Kept in memory only: at the first connection of a run the broker is told to forget the session.
 */
import type { IStore } from "mqtt";

/** At most so many in doubt; beyond it the next connection begins a clean session and forgets them. */
export const IN_DOUBT_MAX = 10_000;

export interface Doubt {
  readonly packetId: number;
  /**
   * published: the broker may have it, and would know it again.
   * released: the broker said that it has it (PUBREC); only the end of the handshake is missing.
   * completed: the handshake was ended after reconnecting.
   */
  state: "published" | "released" | "completed";
}

/** Serves as mqtt.js's message id provider, over all connections of a target. */
export class PacketIds {
  readonly #doubts = new Map<string, Doubt>();
  readonly #held = new Set<number>();
  readonly #busy = new Set<number>();
  #last = 0;
  #forced: number | null = null;

  /** The next allocate() gives `packetId`. */
  force(packetId: number): void {
    this.#forced = packetId;
  }

  allocate(): number {
    const forced = this.#forced;
    this.#forced = null;
    if (forced !== null) {
      this.#last = forced;
    } else {
      do this.#last = this.#last >= PACKET_ID_MAX ? 1 : this.#last + 1;
      while (this.#busy.has(this.#last) || this.#held.has(this.#last));
    }
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

  get inDoubt(): number {
    return this.#doubts.size;
  }

  doubt(key: string): Doubt | undefined {
    return this.#doubts.get(key);
  }

  addDoubt(key: string, doubt: Doubt): void {
    this.forgetDoubt(key);
    this.#doubts.set(key, doubt);
    this.#held.add(doubt.packetId);
  }

  forgetDoubt(key: string): void {
    const doubt = this.#doubts.get(key);
    if (!doubt) return;
    this.#doubts.delete(key);
    // A completed one's id was given back before, and may be another's by now.
    if (doubt.state !== "completed") this.#held.delete(doubt.packetId);
  }

  /** The broker has no session of ours: nobody remembers those ids. */
  forgetDoubts(): void {
    this.#doubts.clear();
    this.#held.clear();
  }

  /** Puts the PUBRELs that are still owed where mqtt.js sends them from when it connects; returns how many. */
  async oweReleases(store: IStore): Promise<number> {
    let owed = 0;
    for (const { packetId, state } of this.#doubts.values()) {
      if (state !== "released") continue;
      await new Promise<void>((resolve) => {
        store.put({ cmd: "pubrel", messageId: packetId }, () => resolve());
      });
      owed++;
    }
    return owed;
  }

  /** The broker ended the handshake of `packetId`. */
  completed(packetId: number): void {
    for (const doubt of this.#doubts.values()) {
      if (doubt.packetId !== packetId) continue;
      doubt.state = "completed";
      this.#held.delete(packetId);
    }
  }
}

const PACKET_ID_MAX = 65_535;
