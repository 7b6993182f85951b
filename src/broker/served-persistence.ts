/**
 * The persistence as the running broker has it. What differs from the plain one (persistence.ts):
 *
 * - Packets that came through the publish gate were stored there, so aedes has nothing to store.
 * - The outbox sends what waits for a client, so aedes has nothing to replay; nor has it retained messages to
 *   send (retained-sender.ts).
 * - The door begins and ends sessions, and waits with it for packets that are on their way to the disk; aedes
 *   would clear them in the middle.
 * - A will belongs to a connection, not to a client id, so that the end of the old connection does not take
 *   the will of the new one with it.
 * - A PUBCOMP must not go out before its packet id is gone from the disk. aedes sends it even when deleting
 *   fails, so where it does the promise never settles; the gateway is about to stop.
 */
import { Readable } from "node:stream";
import { type AedesClient, type Publish, RESENT } from "./aedes-internals.ts";
import type { Connection } from "./connection.ts";
import type { Mailroom } from "./mailroom.ts";
import { type ClientRef, NO_SUCH_PACKET, SessionPersistence, type Will } from "./persistence.ts";
import type { Subscription } from "./session-codec.ts";
import type { Sessions } from "./sessions.ts";
import type { Wills } from "./wills.ts";

export interface ServedOptions {
  readonly sessions: Sessions;
  readonly mailroom: Mailroom;
  readonly wills: Wills;
  readonly connectionBehind: (client: AedesClient) => Connection;
  readonly onDelivered: () => void;
}

export class ServedPersistence extends SessionPersistence {
  readonly #options: ServedOptions;
  readonly #adding = new WeakMap<readonly Subscription[], Promise<void>>();

  constructor(options: ServedOptions) {
    super(options.sessions, options.mailroom);
    this.#options = options;
  }

  /**
   * aedes gives all filters of a SUBSCRIBE, the refused ones among them, once for each one that is allowed. All
   * are looked at in the turn after, when it is known which ones are, and once.
   */
  override addSubscriptions(client: ClientRef, subs: readonly Subscription[]): Promise<void> {
    let added = this.#adding.get(subs);
    if (!added) {
      added = Promise.resolve().then(() => {
        const { filters } = this.#options.connectionBehind(client as AedesClient);
        return super.addSubscriptions(
          client,
          subs.filter((sub) => filters.has(sub.topic)),
        );
      });
      this.#adding.set(subs, added);
    }
    return added;
  }

  override createRetainedStreamCombi(): Readable {
    return Readable.from([]);
  }

  override async cleanSubscriptions(): Promise<void> {}

  override async cleanIncoming(): Promise<void> {}

  override outgoingStream(): Readable {
    return Readable.from([]);
  }

  /** A PUBREC for something we no longer know is answered with PUBREL all the same, so that it ends. */
  override async outgoingUpdate(client: ClientRef, packet: Publish): Promise<void> {
    const session = this.sessions.get(client.id);
    if (session) await this.mailroom.release(session, packet.messageId!, packet);
  }

  override async outgoingClearMessageId(
    client: ClientRef,
    packet: { messageId?: number },
  ): Promise<Publish | undefined> {
    const cleared = await super.outgoingClearMessageId(client, packet);
    if (cleared) {
      this.#options.onDelivered();
      this.#options.connectionBehind(client as AedesClient).admitted?.outbox.kick();
    }
    return cleared;
  }

  override async incomingStorePacket(): Promise<void> {}

  override incomingGetPacket(
    client: ClientRef,
    packet: { cmd?: string; messageId?: number; [RESENT]?: boolean },
  ): Promise<{ cmd?: string; messageId?: number }> {
    if (packet.cmd !== "publish") return super.incomingGetPacket(client, packet);
    return packet[RESENT] ? Promise.resolve(packet) : Promise.reject(NO_SUCH_PACKET);
  }

  override incomingDelPacket(client: ClientRef, packet: { messageId?: number }): Promise<void> {
    return super.incomingDelPacket(client, packet).catch((error) => {
      if (error === NO_SUCH_PACKET) throw error;
      this.#options.connectionBehind(client as AedesClient).close("its session could not be written");
      return new Promise<never>(() => {});
    });
  }

  override putWill(client: ClientRef, will: Will): Promise<void> {
    return this.#options.wills.keep(this.#options.connectionBehind(client as AedesClient), will);
  }

  override async delWill(): Promise<undefined> {}

  override streamWill(): Readable {
    return Readable.from([]);
  }
}
