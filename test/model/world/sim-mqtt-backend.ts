/**
 * A broker upstream in a simulated world, with whoever reads there: it keeps sessions and QoS 2 handshakes as the
 * protocol wants, and its reader makes a message that comes twice under one id once in effect.
 */
import type { Duplex } from "node:stream";
import type { IPublishPacket, Packet } from "mqtt-packet";
import type { Random } from "../../../src/core/random.ts";
import type { BackendBook, BackendMode } from "./backend-book.ts";
import type { VirtualTime } from "./virtual-time.ts";
import { WirePeer } from "./wire-peer.ts";

const SLOW_MS_MAX = 800;
/** A packet type that does not exist, with a length that has no end. */
const GARBAGE = Buffer.from([0xf7, 0xff, 0xff, 0xff, 0xff]);

export class SimMqttBackend {
  mode: BackendMode = "well";
  readonly book: BackendBook;
  readonly #time: VirtualTime;
  readonly #random: Random;
  /** QoS 2 packet ids between PUBLISH and PUBREL, by client. */
  readonly #sessions = new Map<string, Set<number>>();
  #busyUntilMs = 0;

  constructor(book: BackendBook, time: VirtualTime, random: Random) {
    this.book = book;
    this.#time = time;
    this.#random = random;
  }

  accept(stream: Duplex): void {
    let session = new Set<number>();
    const peer: WirePeer = new WirePeer(
      stream,
      (packet) => {
        if (packet.cmd === "connect") session = this.#connected(peer, packet);
        else this.#serve(peer, session, packet);
      },
      () => {},
    );
  }

  #connected(peer: WirePeer, packet: Extract<Packet, { cmd: "connect" }>): Set<number> {
    const { clientId, clean, protocolVersion } = packet;
    const kept = clean ? undefined : this.#sessions.get(clientId);
    const session = kept ?? new Set<number>();
    this.#sessions.set(clientId, session);
    peer.protocolVersion = protocolVersion === 5 ? 5 : 4;
    const code = { returnCode: 0, reasonCode: 0 };
    peer.send({ cmd: "connack", sessionPresent: kept !== undefined, ...code });
    return session;
  }

  #serve(peer: WirePeer, session: Set<number>, packet: Packet): void {
    if (packet.cmd === "pingreq") {
      if (this.mode !== "commits-then-silent") peer.send({ cmd: "pingresp" });
    } else if (packet.cmd === "disconnect") peer.drop();
    else if (packet.cmd === "pubrel") {
      session.delete(packet.messageId!);
      peer.send({ cmd: "pubcomp", messageId: packet.messageId! });
    } else if (packet.cmd === "publish") this.#publish(peer, session, packet);
  }

  #publish(peer: WirePeer, session: Set<number>, packet: IPublishPacket): void {
    const { mode } = this;
    if (mode === "drops" || mode === "busy" || mode === "fails") {
      peer.drop();
      return;
    }
    // One after the other, so that its slowness does not change the order.
    const nowMs = this.#time.monoMs();
    const delayMs = mode === "slow" ? this.#random.below(SLOW_MS_MAX) : 0;
    this.#busyUntilMs = Math.max(this.#busyUntilMs, nowMs) + delayMs;
    if (this.#busyUntilMs <= nowMs) this.#take(peer, session, packet, mode);
    else this.#time.after(this.#busyUntilMs - nowMs, () => this.#take(peer, session, packet, mode));
  }

  #take(peer: WirePeer, session: Set<number>, packet: IPublishPacket, mode: BackendMode): void {
    const messageId = packet.messageId!;
    if (packet.qos !== 2 || !session.has(messageId)) {
      const { id, payload } = JSON.parse(String(packet.payload)) as { id: string; payload: unknown };
      this.book.commit(id, JSON.stringify(payload), this.#time.monoMs());
    }
    if (packet.qos === 2) session.add(messageId);
    if (mode === "commits-then-drops" || mode === "commits-then-lies") peer.drop();
    else if (mode === "commits-then-garbage") peer.stream.write(GARBAGE);
    else if (mode !== "commits-then-silent")
      peer.send({ cmd: packet.qos === 2 ? "pubrec" : "puback", messageId });
  }
}
