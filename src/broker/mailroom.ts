/**
 * Messages on their way to clients: retained ones, and those of QoS 1 and 2 that wait for their client.
 *
 * Promise: a message for persistent sessions is prepared before its commit and becomes part of it
 * (prepare(), then the rows travel in Draft.session, then apply()), so that a message whose sender was
 * acknowledged is on disk for whoever it is owed to as well. A message is owed to a session once, with the
 * best QoS of its subscriptions that match, never above the message's own [MQTT-3.8.4-6].
 *
 * Bounds: messages and bytes per client, bytes in total. Over a bound the oldest message that was never sent
 * is dropped, and told. What was sent is kept until it is acknowledged; inflightMax bounds it.
 */
import type { QoS } from "../core/message.ts";
import type { SessionChange } from "../core/session.ts";
import { topicMatches } from "../core/topic.ts";
import type { Publish } from "./aedes-internals.ts";
import { type Queued, queued } from "./offline-queue.ts";
import { Retained, type RetainedWrite } from "./retained.ts";
import type { SessionLimits } from "./schema.ts";
import { encodeMessage, encodeStanding, outgoingKey, payloadOf, standingKey } from "./session-codec.ts";
import type { Session, Sessions } from "./sessions.ts";

/** What a message does to session state, worked out before its commit. */
export interface Prepared {
  readonly changes: SessionChange[];
  readonly retained: RetainedWrite | null;
  /** By client id. */
  readonly targets: Map<string, Queued> | null;
}

/** Where all queues together are over their bound, they are brought down to this part of it. */
const TOTAL_AFTER_DROP = 0.95;

/** A message as some of its clients get it, and as the store keeps it. */
interface Form {
  readonly packet: Publish;
  readonly value: Buffer;
}

const NOTHING: Prepared = { changes: [], retained: null, targets: null };

export interface MailroomOptions {
  readonly sessions: Sessions;
  readonly limits: SessionLimits;
  readonly onDropped: (clientId: string, messages: number) => void;
  readonly onRetainedFull: (topic: string) => void;
}

export class Mailroom {
  readonly #sessions: Sessions;
  readonly #options: MailroomOptions;
  readonly retained: Retained;
  #number = 0;
  #bytes = 0;
  /** Of the message that came last: many are owed it in the same form, and that is in memory once. */
  #forms: { readonly of: Publish; readonly made: Form[] } | null = null;

  constructor(options: MailroomOptions) {
    this.#options = options;
    this.#sessions = options.sessions;
    this.retained = new Retained(options.limits);
    options.sessions.onForgotten = (session) => {
      this.#bytes -= session.queue.bytes;
    };
  }

  /** Bytes of all messages that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * What `message` will change once it is committed; its rows are for the same commit. A message without
   * publisher is the gateway's own: it is retained whatever else is, and not on disk, since it is said anew
   * at every start.
   */
  prepare(message: Publish, publisher: string | undefined): Prepared {
    const own = publisher === undefined;
    const owed = message.qos > 0 && this.#sessions.tree.size > 0 ? this.#owed(message, publisher) : null;
    const retained = message.retain ? this.retained.prepare(message, own) : null;
    if (message.retain && !retained) this.#options.onRetainedFull(message.topic);
    if (!owed && !retained) return NOTHING;
    const changes: SessionChange[] = retained && !own ? [retained.change] : [];
    if (!owed) return { changes, retained, targets: null };
    const targets = new Map<string, Queued>();
    for (const [client, { qos, retain }] of owed) {
      const form = this.#form(message, qos, retain);
      const entry = this.#entry(form);
      targets.set(client, entry);
      changes.push(putOf(client, entry, form.value));
    }
    return { changes, retained, targets };
  }

  #owed(message: Publish, publisher: string | undefined): Map<string, { qos: QoS; retain: boolean }> | null {
    const subscribers = this.#sessions.tree.match(message.topic);
    if (subscribers.length === 0) return null;
    const owed = new Map<string, { qos: QoS; retain: boolean }>();
    for (const sub of subscribers) {
      if (sub.nl && sub.clientId === publisher) continue;
      const qos = Math.min(sub.qos, message.qos) as QoS;
      const retain = message.retain && sub.rap === true;
      const other = owed.get(sub.clientId);
      if (!other || other.qos < qos) owed.set(sub.clientId, { qos, retain });
    }
    return owed.size > 0 ? owed : null;
  }

  /** The commit that `prepared` was part of is done: its messages wait for their clients from here on. */
  apply(prepared: Prepared): void {
    if (!prepared.targets) return;
    for (const [client, entry] of prepared.targets) {
      const session = this.#sessions.get(client);
      if (session?.durable) this.#push(session, entry);
      // Its session was ended while the message was on its way to the disk.
      else void this.#sessions.commit(deletesOf(client, entry));
    }
  }

  /** Drops what waits for a client without a subscription that still asks for it. */
  dropUnasked(session: Session): void {
    const filters = [...session.subs.keys()];
    for (const entry of [...session.queue]) {
      if (entry.stage !== "waiting" || filters.some((filter) => topicMatches(filter, entry.packet.topic)))
        continue;
      this.#remove(session, entry);
    }
  }

  /** Puts one more message behind what waits for a client. Resolves when it is on disk. */
  enqueue(session: Session, message: Publish, qos: QoS, retain: boolean): Promise<void> {
    const form = this.#form(message, qos, retain);
    return this.#add(session, this.#entry(form), form.value);
  }

  /** As enqueue(), for a packet that is to stay the object it is. */
  enqueuePacket(session: Session, packet: Publish): Promise<void> {
    const value = encodeMessage(packet);
    return this.#add(session, queued(++this.#number, packet, value.length), value);
  }

  #add(session: Session, entry: Queued, value: Buffer): Promise<void> {
    // It may have ended while the message was on its way, as a retained one is after SUBSCRIBE.
    if (this.#sessions.get(session.id) !== session) return Promise.resolve();
    const written = session.durable
      ? this.#sessions.commit([putOf(session.id, entry, value)])
      : Promise.resolve();
    this.#push(session, entry);
    return written;
  }

  /** A message that was there before this start. */
  load(session: Session, entry: Queued): void {
    this.#number = Math.max(this.#number, entry.number);
    session.queue.push(entry);
    this.#bytes += entry.bytes;
  }

  /** Gives packet ids to messages about to be sent. Where one is QoS 2, its id must be on disk before. */
  assignIds(session: Session, entries: readonly Queued[]): Promise<void> | null {
    for (const entry of entries) session.queue.assignId(entry);
    if (!session.durable) return null;
    const written = this.#sessions.commit(entries.map((entry) => standingOf(session.id, entry)));
    return entries.some((entry) => entry.packet.qos === 2) ? written : null;
  }

  /** The client has acknowledged a packet id for good. */
  acknowledge(session: Session, packetId: number): Queued | undefined {
    const entry = session.queue.find(packetId);
    if (entry) this.#remove(session, entry);
    return entry;
  }

  /** PUBREC: from here on `pubrel` stands for the message. Resolves when that is on disk. */
  release(session: Session, packetId: number, pubrel: Publish): Promise<void> {
    const entry = session.queue.find(packetId);
    if (!entry) return Promise.resolve();
    const before = entry.bytes;
    session.queue.release(entry, pubrel);
    this.#bytes -= before - entry.bytes;
    if (!session.durable) return Promise.resolve();
    const client = session.id;
    return this.#sessions.commit([
      { op: "delete", kind: "outgoing", client, key: outgoingKey(entry.number) },
      standingOf(client, entry),
    ]);
  }

  #form(message: Publish, qos: QoS, retain: boolean): Form {
    if (this.#forms?.of !== message) this.#forms = { of: message, made: [] };
    const { made } = this.#forms;
    const form = qos + (retain ? 4 : 0);
    made[form] ??= formOf(message, qos, retain);
    return made[form];
  }

  #entry({ packet, value }: Form): Queued {
    return queued(++this.#number, packet, value.length);
  }

  #push(session: Session, entry: Queued): void {
    const { queuedMessagesMax, queuedBytesMax, queuedBytesTotalMax } = this.#options.limits;
    const { queue } = session;
    queue.push(entry);
    this.#bytes += entry.bytes;
    this.#dropWhile(session, () => queue.count > queuedMessagesMax || queue.bytes > queuedBytesMax);
    if (this.#bytes <= queuedBytesTotalMax) return;
    // A little more than needed: looking for the longest queue costs a look at all of them.
    const target = queuedBytesTotalMax * TOTAL_AFTER_DROP;
    while (this.#bytes > target) {
      const longest = this.#longest();
      if (!longest) return;
      const half = longest.queue.bytes / 2;
      this.#dropWhile(longest, () => this.#bytes > target && longest.queue.bytes > half);
    }
  }

  /** The session with the most bytes among those that have something to drop. */
  #longest(): Session | undefined {
    let longest: Session | undefined;
    for (const session of this.#sessions.all()) {
      if (longest && session.queue.bytes <= longest.queue.bytes) continue;
      if (session.queue.oldestWaiting()) longest = session;
    }
    return longest;
  }

  /** Drops the oldest that were never sent, as long as `tooMuch` holds and there are any. */
  #dropWhile(session: Session, tooMuch: () => boolean): void {
    const deletes: SessionChange[] = [];
    let dropped = 0;
    while (tooMuch()) {
      const entry = session.queue.oldestWaiting();
      if (!entry) break;
      deletes.push(...this.#take(session, entry));
      dropped++;
    }
    if (dropped === 0) return;
    if (deletes.length > 0) void this.#sessions.commit(deletes);
    this.#options.onDropped(session.id, dropped);
  }

  #remove(session: Session, entry: Queued): void {
    const deletes = this.#take(session, entry);
    if (deletes.length > 0) void this.#sessions.commit(deletes);
  }

  /** Takes it out of its queue; answers with what is to be deleted in the store. */
  #take(session: Session, entry: Queued): SessionChange[] {
    session.queue.remove(entry);
    this.#bytes -= entry.bytes;
    return session.durable ? deletesOf(session.id, entry) : [];
  }
}

function formOf({ topic, payload }: Publish, qos: QoS, retain: boolean): Form {
  const value = encodeMessage({ topic, payload, qos, retain });
  return {
    value,
    packet: {
      cmd: "publish",
      topic,
      payload: payloadOf(value),
      qos,
      retain,
      dup: false,
      messageId: undefined,
    },
  };
}

function putOf(client: string, entry: Queued, value: Buffer): SessionChange {
  return { op: "put", kind: "outgoing", client, key: outgoingKey(entry.number), value };
}

function deletesOf(client: string, entry: Queued): SessionChange[] {
  const keys = [outgoingKey(entry.number)];
  if (entry.stage !== "waiting") keys.push(standingKey(entry.number));
  return keys.map((key) => ({ op: "delete", kind: "outgoing", client, key }));
}

function standingOf(client: string, entry: Queued): SessionChange {
  const stage = entry.stage === "released" ? "released" : "sent";
  const value = encodeStanding({ packetId: entry.packetId, stage });
  return { op: "put", kind: "outgoing", client, key: standingKey(entry.number), value };
}
