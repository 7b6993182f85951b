/**
 * What the broker remembers of its clients: subscriptions, and QoS 2 packet ids between PUBLISH and PUBREL.
 * The messages that wait for them are in mailroom.ts.
 *
 * Promise: answers come from memory at once; every change of a persistent session is written through to the
 * SessionLog in the order of the changes. Whoever must not go on before a change is on disk awaits the
 * promise that the change returns. A write that fails is fatal (`onFatal`) and its promise rejects.
 *
 * A session without its own row in the store is that of a client with clean session 1: it ends with its
 * connection [MQTT-3.1.2-6], and nothing of it is loaded at the next start. Sessions of clients that stay
 * away are forgotten (expire()).
 */
import type { SessionChange, SessionKind, SessionLog } from "../core/session.ts";
import type { Publish } from "./aedes-internals.ts";
import { FilterTree } from "./filter-tree.ts";
import { OfflineQueue } from "./offline-queue.ts";
import { encodeHeading, encodeSubscription, SESSION_KEY, type Subscription } from "./session-codec.ts";

export interface Session {
  readonly id: string;
  /** Clean session 0: outlives its connection. */
  durable: boolean;
  /** The user it belongs to; null for nobody in particular. */
  owner: string | null;
  /** Steady ms since which its client is away; null while it is connected. */
  awaySinceMs: number | null;
  readonly subs: Map<string, Subscription>;
  readonly queue: OfflineQueue;
  /** QoS 2 packet ids received and not released; with the packet where aedes gave us one. */
  readonly incoming: Map<number, Publish | null>;
  /** Whether its own row in the store is being written, and has to be written once more after that. */
  heading: "written" | "being written" | "to be written again";
}

export interface Subscriber extends Subscription {
  readonly clientId: string;
}

export interface SessionsOptions {
  readonly log: SessionLog;
  /** Ms until a session whose client stays away is forgotten. */
  readonly expireAfter: number;
  /** The steady clock (core/clock.ts). */
  readonly steadyMs: () => number;
  readonly onFatal: (error: unknown) => void;
}

export class Sessions {
  readonly #options: SessionsOptions;
  readonly #sessions = new Map<string, Session>();
  /** Subscriptions of persistent sessions with QoS 1 or 2. */
  readonly tree = new FilterTree<Subscriber>();
  #lastWrite: Promise<void> = Promise.resolve();
  #writesPending = 0;
  /** Called with each session that is no more. */
  onForgotten: (session: Session) => void = () => {};

  constructor(options: SessionsOptions) {
    this.#options = options;
  }

  all(): IterableIterator<Session> {
    return this.#sessions.values();
  }

  get(id: string): Session | undefined {
    return this.#sessions.get(id);
  }

  get persistentCount(): number {
    let count = 0;
    for (const session of this.#sessions.values()) if (session.durable) count++;
    return count;
  }

  steadyMs(): number {
    return this.#options.steadyMs();
  }

  /** The client's session, made where there is none. */
  obtain(id: string, durable = true): Session {
    let session = this.#sessions.get(id);
    if (!session) {
      session = {
        id,
        durable,
        owner: null,
        awaySinceMs: null,
        subs: new Map(),
        queue: new OfflineQueue(),
        incoming: new Map(),
        heading: "written",
      };
      this.#sessions.set(id, session);
    }
    return session;
  }

  /** Writes through; resolves when it is on disk. Without changes, when all earlier ones are. */
  commit(changes: readonly SessionChange[]): Promise<void> {
    if (changes.length === 0) return this.#lastWrite;
    const write = this.#options.log.write(changes);
    this.#writesPending++;
    write.then(this.#written, this.#options.onFatal);
    this.#lastWrite = write;
    return write;
  }

  readonly #written = (): void => {
    this.#writesPending--;
  };

  /** Writes on their way to the disk; they pile up where the store has no room. */
  get writesPending(): number {
    return this.#writesPending;
  }

  /** Resolves when all that has been written is on disk, or has failed. */
  flushed(): Promise<void> {
    return this.#lastWrite.catch(() => {});
  }

  /** A client has connected. `present` where it finds a session of its own [MQTT-3.2.2-2]. */
  enter(id: string, owner: string | null, durable: boolean): { session: Session; present: boolean } {
    const old = this.#sessions.get(id);
    const session = old ?? this.obtain(id, durable);
    session.durable = durable;
    session.owner = owner;
    session.awaySinceMs = null;
    session.queue.rewind();
    if (durable) this.#writeHeading(session);
    return { session, present: old !== undefined && durable };
  }

  /** The client's connection has ended. Where its session ends too, resolves when that is on disk. */
  leave(session: Session): Promise<void> {
    if (!session.durable) return this.forget(session.id);
    session.awaySinceMs = this.#options.steadyMs();
    this.#writeHeading(session);
    return Promise.resolve();
  }

  /** Removes all that is kept for a client; resolves when it is gone from the disk too. */
  forget(id: string): Promise<void> {
    const session = this.#sessions.get(id);
    if (!session) return Promise.resolve();
    for (const filter of session.subs.keys()) this.tree.delete(filter, id);
    this.#sessions.delete(id);
    this.onForgotten(session);
    const kinds: SessionKind[] = session.durable ? ["subscription", "outgoing", "incoming"] : [];
    // The store notes QoS 2 packet ids of everyone.
    if (!session.durable && session.incoming.size > 0) kinds.push("incoming");
    if (kinds.length === 0) return Promise.resolve();
    return this.commit(kinds.map((kind) => ({ op: "clear", kind, client: id })));
  }

  /** Forgets sessions whose clients have been away for too long; answers with their ids. */
  expire(): string[] {
    const before = this.#options.steadyMs() - this.#options.expireAfter;
    const expired: string[] = [];
    for (const session of this.#sessions.values()) {
      if (session.durable && session.awaySinceMs !== null && session.awaySinceMs < before) {
        expired.push(session.id);
      }
    }
    for (const id of expired) void this.forget(id);
    return expired;
  }

  /** One write at a time for each session, so that a client that comes and goes piles nothing up. */
  #writeHeading(session: Session): void {
    if (session.heading !== "written") {
      session.heading = "to be written again";
      return;
    }
    session.heading = "being written";
    const value = encodeHeading({ owner: session.owner, awaySinceMs: session.awaySinceMs });
    const client = session.id;
    this.commit([{ op: "put", kind: "subscription", client, key: SESSION_KEY, value }]).then(
      () => {
        const again = session.heading === "to be written again";
        session.heading = "written";
        // It may have been forgotten meanwhile.
        if (again && this.#sessions.get(client) === session) this.#writeHeading(session);
      },
      () => {},
    );
  }

  subscribe(id: string, subs: readonly Subscription[]): Promise<void> {
    const session = this.obtain(id);
    const changes: SessionChange[] = [];
    for (const { topic, qos, rh, rap, nl, ...rest } of subs) {
      const old = session.subs.get(topic);
      if (old && old.qos === qos && old.rh === rh && old.rap === rap && old.nl === nl) continue;
      const sub: Subscription = { topic, qos, rh, rap, nl, ...rest };
      session.subs.set(topic, sub);
      if (qos > 0) this.tree.set(topic, id, { clientId: id, topic, qos, rh, rap, nl });
      else this.tree.delete(topic, id);
      const value = encodeSubscription(sub);
      changes.push({ op: "put", kind: "subscription", client: id, key: topic, value });
    }
    return this.commit(changes);
  }

  unsubscribe(id: string, filters: readonly string[]): Promise<void> {
    const session = this.#sessions.get(id);
    const changes: SessionChange[] = [];
    for (const filter of filters) {
      if (!session?.subs.delete(filter)) continue;
      this.tree.delete(filter, id);
      changes.push({ op: "delete", kind: "subscription", client: id, key: filter });
    }
    return this.commit(changes);
  }

  /** Ends the QoS 2 handshake of a packet id received; resolves when that is on disk. */
  releaseIncoming(session: Session, packetId: number): Promise<void> {
    const { id: client } = session;
    return this.commit([{ op: "delete", kind: "incoming", client, key: String(packetId) }]).then(() => {
      session.incoming.delete(packetId);
    });
  }

  clearIncoming(session: Session): Promise<void> {
    if (session.incoming.size === 0) return Promise.resolve();
    session.incoming.clear();
    return this.commit([{ op: "clear", kind: "incoming", client: session.id }]);
  }
}
