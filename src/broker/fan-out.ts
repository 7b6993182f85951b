/**
 * From a message to the local clients that subscribed to it. aedes finds them; what each one gets is decided
 * here, since aedes would write to a client's socket whatever its state, and at the QoS of the message where
 * the subscription has a wildcard.
 *
 * QoS 1 and 2 go into the client's queue and from there by its outbox. QoS 0 goes to the socket at once, or,
 * where the client does not keep up, nowhere: it is counted.
 */
import type { QoS } from "../core/message.ts";
import type { AedesClient, BrokerCore, Publish } from "./aedes-internals.ts";
import type { Connection } from "./connection.ts";
import type { Ledger } from "./ledger.ts";
import type { Mailroom, Prepared } from "./mailroom.ts";

export interface FanOutOptions {
  readonly mailroom: Mailroom;
  readonly ledger: Ledger;
  readonly sendBufferBytesMax: number;
  /** The connection that holds a client id. */
  readonly connectionOf: (clientId: string) => Connection | undefined;
  /** The connection that an aedes client stands for. */
  readonly connectionBehind: (client: AedesClient) => Connection;
}

export class FanOut {
  readonly #options: FanOutOptions;
  /** What has been put into queues for the message on its way now: fan-out runs within one turn. */
  #current: Prepared | null = null;

  constructor(options: FanOutOptions) {
    this.#options = options;
  }

  /** `prepared` has been applied. */
  send(core: BrokerCore, packet: Publish, prepared: Prepared, publisher: string | undefined): void {
    this.#current = prepared;
    core.fanOut(packet, publisher);
    this.#current = null;
    if (!prepared.targets) return;
    for (const clientId of prepared.targets.keys()) {
      this.#options.connectionOf(clientId)?.admitted?.outbox.kick();
    }
  }

  /** aedes asks once per client that a message matches: what it is to write itself, or null for nothing. */
  forward(client: AedesClient, packet: Publish): Publish | null {
    const { mailroom, ledger, sendBufferBytesMax } = this.#options;
    const connection = this.#options.connectionBehind(client);
    const { admitted } = connection;
    if (!admitted || client.closed) return null;
    let forwarded = packet;
    if (packet.qos > 0) {
      if (this.#current?.targets?.has(admitted.clientId)) return null;
      const qos = Math.min(packet.qos, connection.grantedQoS(packet.topic));
      if (qos < 0) return null;
      if (qos > 0) {
        void mailroom.enqueue(admitted.session, packet, qos as QoS, packet.retain);
        admitted.outbox.kick();
        return null;
      }
      forwarded = { ...packet, qos: 0 };
    }
    if (connection.guard.writableLength > sendBufferBytesMax) {
      ledger.figures.droppedForSlow++;
      return null;
    }
    return forwarded;
  }
}
