/**
 * Sends a connected client the QoS 1 and 2 messages that wait for it (offline-queue.ts), in order, so many at
 * a time as are not acknowledged, and no faster than its socket takes them.
 *
 * aedes would write to a client whatever comes, beside what it replays from before; here the queue is the
 * only way, so that order holds [MQTT-4.6.0-6] and a slow client costs its bounded queue and nothing else.
 */
import { writeToStream } from "mqtt-packet";
import type { Mailroom } from "./mailroom.ts";
import type { Queued } from "./offline-queue.ts";
import type { Session } from "./sessions.ts";
import type { StreamGuard } from "./stream-guard.ts";

export interface OutboxOptions {
  readonly session: Session;
  readonly mailroom: Mailroom;
  readonly guard: StreamGuard;
  readonly client: { readonly closed: boolean };
  readonly inflightMax: number;
  /** All that waited has been sent. */
  readonly onSent: () => void;
}

export class Outbox {
  readonly #options: OutboxOptions;
  #running = false;
  /** Waits for packet ids to be on disk, or for the socket to drain. */
  #blocked = false;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** CONNACK is out: from here on the client may be sent to. */
  start(): void {
    this.#running = true;
    this.kick();
  }

  stop(): void {
    this.#running = false;
  }

  /** There may be something to send, or room to send it. */
  kick(): void {
    const { session, mailroom, guard, client, inflightMax, onSent } = this.#options;
    const { queue } = session;
    while (this.#running && !this.#blocked && guard.writable && !client.closed) {
      const entry = queue.peek();
      if (!entry) onSent();
      if (!entry || queue.inFlight >= inflightMax) return;
      if (entry.stage === "waiting") {
        const written = mailroom.assignIds(session, queue.upcoming(inflightMax - queue.inFlight));
        if (written) {
          this.#blockUntil(written);
          return;
        }
      }
      queue.sent(entry);
      if (!this.#send(entry)) this.#blockUntilDrained();
    }
  }

  #send(entry: Queued): boolean {
    const { guard } = this.#options;
    const { packet, packetId: messageId } = entry;
    if (entry.stage === "released") return writeToStream({ cmd: "pubrel", messageId }, guard);
    return writeToStream(
      {
        cmd: "publish",
        topic: packet.topic,
        payload: packet.payload,
        qos: packet.qos,
        retain: packet.retain,
        dup: entry.sentBefore, // [MQTT-3.3.1-1]
        messageId,
      },
      guard,
    );
  }

  /** A failure of the write closes the gateway; nothing is sent then. */
  #blockUntil(written: Promise<void>): void {
    this.#blocked = true;
    written.then(
      () => this.#unblock(),
      () => this.stop(),
    );
  }

  #blockUntilDrained(): void {
    const { guard } = this.#options;
    if (!guard.writableNeedDrain) return;
    this.#blocked = true;
    guard.once("drain", () => this.#unblock());
  }

  #unblock(): void {
    this.#blocked = false;
    this.kick();
  }
}
