/**
 * The interface aedes-persistence defines (11.0, the one with promises), over sessions.ts and mailroom.ts.
 * It keeps to that interface's own test suite, which test/broker/persistence.test.ts runs; what the running
 * broker does differently is in served-persistence.ts.
 */
import { Readable } from "node:stream";
import { copyPacket, type Publish } from "./aedes-internals.ts";
import type { Mailroom } from "./mailroom.ts";
import { encodeWill, type Subscription } from "./session-codec.ts";
import type { Session, Sessions, Subscriber } from "./sessions.ts";

export interface ClientRef {
  readonly id: string;
}

interface PacketRef {
  readonly cmd?: string;
  readonly messageId?: number;
}

export type Will = Publish & { brokerId?: string; clientId?: string };

export class SessionPersistence {
  protected readonly sessions: Sessions;
  protected readonly mailroom: Mailroom;
  readonly #wills = new Map<string, Will>();
  /** The broker's id as it is now; aedes-persistence's tests look at it. */
  broker: { readonly id: string } | undefined;

  constructor(sessions: Sessions, mailroom: Mailroom) {
    this.sessions = sessions;
    this.mailroom = mailroom;
  }

  // aedes checks that this is an async function.
  async setup(broker: { readonly id: string }): Promise<void> {
    this.broker = broker;
  }

  async destroy(): Promise<void> {
    await this.sessions.flushed();
  }

  // --- Retained messages

  storeRetained(packet: Publish): Promise<void> {
    const write = this.mailroom.retained.prepare(packet);
    if (!write) return Promise.resolve();
    this.mailroom.retained.apply(write);
    return this.sessions.commit([write.change]);
  }

  createRetainedStream(filter: string): Readable {
    return Readable.from(this.mailroom.retained.match(filter));
  }

  createRetainedStreamCombi(filters: readonly string[]): Readable {
    const { retained } = this.mailroom;
    const all = function* () {
      for (const filter of filters) yield* retained.match(filter);
    };
    return Readable.from(all());
  }

  // --- Subscriptions

  addSubscriptions(client: ClientRef, subs: readonly Subscription[]): Promise<void> {
    return this.sessions.subscribe(client.id, subs);
  }

  removeSubscriptions(client: ClientRef, filters: readonly string[]): Promise<void> {
    return this.sessions.unsubscribe(client.id, filters);
  }

  cleanSubscriptions(client: ClientRef): Promise<void> {
    const subs = this.sessions.get(client.id)?.subs;
    return this.sessions.unsubscribe(client.id, subs ? [...subs.keys()] : []);
  }

  async subscriptionsByClient(client: ClientRef): Promise<Subscription[]> {
    return [...(this.sessions.get(client.id)?.subs.values() ?? [])];
  }

  async subscriptionsByTopic(topic: string): Promise<Subscriber[]> {
    return this.sessions.tree.match(topic);
  }

  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    let clientsCount = 0;
    for (const session of this.sessions.all()) if (session.subs.size > 0) clientsCount++;
    return { subsCount: this.sessions.tree.size, clientsCount };
  }

  getClientList(filter: string): Readable {
    const ids: string[] = [];
    for (const session of this.sessions.all()) if (session.subs.has(filter)) ids.push(session.id);
    return Readable.from(ids);
  }

  // --- Messages that wait for a client

  outgoingEnqueue(sub: { readonly clientId: string }, packet: Publish): Promise<void> {
    return this.mailroom.enqueuePacket(this.sessions.obtain(sub.clientId), copyPacket(packet));
  }

  async outgoingEnqueueCombi(subs: readonly { readonly clientId: string }[], packet: Publish): Promise<void> {
    await Promise.all(subs.map((sub) => this.outgoingEnqueue(sub, packet)));
  }

  outgoingStream(client: ClientRef): Readable {
    const queue = this.sessions.get(client.id)?.queue ?? [];
    return Readable.from([...queue].map((entry) => entry.packet));
  }

  /** Gives a message its packet id; or puts a PUBREL in the place of the message with its packet id. */
  async outgoingUpdate(client: ClientRef, packet: Publish): Promise<void> {
    const session = this.sessions.obtain(client.id);
    const messageId = packet.messageId!;
    if (packet.cmd === "pubrel") {
      if (!session.queue.find(messageId)) throw new Error("no message has this packet id");
      await this.mailroom.release(session, messageId, packet);
      return;
    }
    for (const entry of session.queue) {
      if (entry.packet.brokerId !== packet.brokerId || entry.packet.brokerCounter !== packet.brokerCounter) {
        continue;
      }
      entry.packet.messageId = messageId;
      session.queue.setId(entry, messageId);
      return;
    }
    throw new Error("no such message");
  }

  async outgoingClearMessageId(client: ClientRef, packet: PacketRef): Promise<Publish | undefined> {
    const session = this.sessions.get(client.id);
    if (!session || packet.messageId === undefined) return undefined;
    return this.mailroom.acknowledge(session, packet.messageId)?.packet;
  }

  // --- QoS 2 messages received

  async incomingStorePacket(client: ClientRef, packet: Publish): Promise<void> {
    const session = this.sessions.obtain(client.id);
    const copy = copyPacket(packet);
    copy.messageId = packet.messageId;
    session.incoming.set(packet.messageId!, copy);
    const key = String(packet.messageId);
    const value = Buffer.alloc(0);
    await this.sessions.commit([{ op: "put", kind: "incoming", client: client.id, key, value }]);
  }

  async incomingGetPacket(client: ClientRef, packet: PacketRef): Promise<PacketRef> {
    const found = this.sessions.get(client.id)?.incoming.get(packet.messageId!);
    if (found === undefined) throw NO_SUCH_PACKET;
    return found ?? { cmd: "publish", messageId: packet.messageId };
  }

  async incomingDelPacket(client: ClientRef, packet: PacketRef): Promise<void> {
    const session = this.#incomingSession(client, packet);
    await this.sessions.releaseIncoming(session, packet.messageId!);
  }

  #incomingSession(client: ClientRef, packet: PacketRef): Session {
    const session = this.sessions.get(client.id);
    if (!session?.incoming.has(packet.messageId!)) throw NO_SUCH_PACKET;
    return session;
  }

  async cleanIncoming(client: ClientRef): Promise<void> {
    const session = this.sessions.get(client.id);
    if (session) await this.sessions.clearIncoming(session);
  }

  // --- Wills

  async putWill(client: ClientRef, will: Will): Promise<void> {
    will.brokerId = this.broker?.id;
    will.clientId = client.id;
    this.#wills.set(client.id, will);
    const value = encodeWill({ ...will, payload: Buffer.from(will.payload), user: null, device: client.id });
    await this.sessions.commit([{ op: "put", kind: "will", client: client.id, key: "", value }]);
  }

  async getWill(client: ClientRef): Promise<Will | undefined> {
    return this.#wills.get(client.id);
  }

  async delWill(client: ClientRef): Promise<Will | undefined> {
    const will = this.#wills.get(client.id);
    if (will && this.#wills.delete(client.id)) {
      await this.sessions.commit([{ op: "delete", kind: "will", client: client.id, key: "" }]);
    }
    return will;
  }

  streamWill(brokers: Readonly<Record<string, unknown>> = {}): Readable {
    return Readable.from([...this.#wills.values()].filter((will) => !brokers[will.brokerId!]));
  }
}

/** One for all: nobody looks at where it came from. */
export const NO_SUCH_PACKET = new Error("no such packet");
