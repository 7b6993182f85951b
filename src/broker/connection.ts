/**
 * One client's connection: who it is, what it may do, what hangs on it. Made when its socket is taken; its
 * identity is there once `admitted`, and only then may anything be published or subscribed to.
 *
 * It is over (`gone`) when aedes has closed it to the end, none of its QoS 2 messages is on its way to the
 * disk any more, and what was kept for it has been put away. The next connection under the same client id
 * waits for that, so that the two never mix their packet ids.
 */
import type { Clock, Timer } from "../core/clock.ts";
import { topicMatches } from "../core/topic.ts";
import type { Rules } from "./access.ts";
import { type AedesClient, feed, hasFinished } from "./aedes-internals.ts";
import type { DeviceState } from "./ledger.ts";
import type { Outbox } from "./outbox.ts";
import type { PacketProblem } from "./packet-scan.ts";
import type { PublishGate } from "./publish-gate.ts";
import type { Session } from "./sessions.ts";
import type { GuardOwner, StreamGuard } from "./stream-guard.ts";

/** Where a connection came in. */
export interface Origin {
  readonly listener: string;
  readonly address: string;
  /** Common name of the client certificate that was verified; null for none. */
  readonly certificate: string | null;
  /** To be called when its CONNECT is whole: it is more than an open socket then. */
  readonly greeted?: () => void;
}

/** What a CONNECT packet asks for, beside the credentials. */
export interface Hello {
  readonly clientId: string;
  /** The client brought none, so it was given one. */
  readonly assigned: boolean;
  readonly clean: boolean;
  readonly willTopic: string | null;
}

/** What is known of a connection that got through CONNECT. */
export interface Admitted {
  readonly clientId: string;
  readonly user: string | null;
  readonly device: DeviceState;
  readonly rules: Rules;
  readonly session: Session;
  readonly outbox: Outbox;
  readonly gate: PublishGate;
}

export interface ConnectionListener {
  onGreeted(connection: Connection): void;
  onAccepted(connection: Connection): void;
  onBroke(connection: Connection, problem: PacketProblem): void;
  /** Our own code, or aedes, failed at what this client sent. */
  onDefect(connection: Connection, error: unknown): void;
}

export interface ClientInfo {
  readonly clientId: string;
  readonly user: string | null;
  readonly device: string;
  readonly listener: string;
  readonly address: string;
  /** Epoch ms. */
  readonly connectedAtMs: number;
  readonly cleanSession: boolean;
  /** Packets being worked on, among them messages that wait for their commit. */
  readonly unacked: number;
  /** Messages that wait for it or for its acknowledgement. */
  readonly queued: number;
}

/** How long QoS 0 messages of a client that has left may still wait for room in the store. */
const QOS0_GRACE_MS = 5000;
/** Topics whose granted QoS is remembered. */
const GRANTED_MAX = 1000;

export class Connection implements GuardOwner {
  readonly origin: Origin;
  readonly connectedAtMs: number;
  readonly #clock: Clock;
  readonly #listener: ConnectionListener;
  guard!: StreamGuard;
  /** Null until its CONNECT is whole. */
  client: AedesClient | null = null;
  /** Whose client id it holds, from the moment it holds one; null for nobody in particular. */
  user: string | null = null;
  /** Set by the door when everything has been checked; unset means: may do nothing. */
  admitted: Admitted | null = null;
  /** Filters it has been allowed to subscribe to. */
  readonly filters = new Set<string>();
  /** Its CONNACK has gone out. */
  isAccepted = false;
  /** Why it ended, where that is known: the first reason given. */
  reason: string | null = null;
  /** Key of its will's row in the store, until the will has been sent or withdrawn. */
  willKey: string | null = null;
  /** What its CONNECT asked for. */
  hello: Hello | null = null;
  /** The door's work on its CONNECT. */
  admission: Promise<unknown> | null = null;
  readonly #left = new AbortController();
  readonly #leftLong = new AbortController();
  #grace: Timer | undefined;
  #isFinished = false;
  readonly #granted = new Map<string, number>();
  #finish!: () => void;
  /** aedes' close() has run to its end, or it never heard of it. */
  readonly finished = new Promise<void>((resolve) => {
    this.#finish = resolve;
  });
  #go!: () => void;
  readonly gone = new Promise<void>((resolve) => {
    this.#go = resolve;
  });

  constructor(origin: Origin, clock: Clock, listener: ConnectionListener) {
    this.origin = origin;
    this.#clock = clock;
    this.#listener = listener;
    this.connectedAtMs = clock.wallMs();
  }

  greeted(): void {
    this.origin.greeted?.();
    this.#listener.onGreeted(this);
  }

  received(packets: Buffer): void {
    try {
      feed(this.client!, packets);
    } catch (error) {
      this.#listener.onDefect(this, error);
    }
  }

  accepted(): void {
    this.isAccepted = true;
    try {
      this.#listener.onAccepted(this);
    } catch (error) {
      this.#listener.onDefect(this, error);
    }
  }

  broke(problem: PacketProblem): void {
    this.reason ??= problem;
    this.#listener.onBroke(this, problem);
  }

  destroyCalled(): void {
    if (this.#isFinished || (this.client && !hasFinished(this.client))) return;
    this.#isFinished = true;
    this.#left.abort(LEFT);
    if (!this.#leftLong.signal.aborted) {
      this.#grace = this.#clock.after(QOS0_GRACE_MS, () => this.#leftLong.abort(LEFT));
    }
    this.#finish();
  }

  /** Nothing of it is waited for any more. */
  abandon(): void {
    this.#left.abort(LEFT);
    this.#leftLong.abort(LEFT);
    this.#grace?.cancel();
  }

  /** Gives up messages that have not been handed to the store: their sender will send them again. */
  get leftSignal(): AbortSignal {
    return this.#left.signal;
  }

  /** The same for QoS 0, which nobody sends again: later. */
  get leftLongSignal(): AbortSignal {
    return this.#leftLong.signal;
  }

  /** Ends it, saying why. */
  close(reason: string): void {
    this.reason ??= reason;
    this.guard.destroy();
  }

  /** Ends it without a goodbye. */
  kill(reason: string): void {
    this.reason ??= reason;
    this.guard.kill();
  }

  markGone(): void {
    this.#go();
  }

  /** The best QoS of its live subscriptions that match, or -1 for none. */
  grantedQoS(topic: string): number {
    let granted = this.#granted.get(topic);
    if (granted !== undefined) return granted;
    granted = -1;
    const { subscriptions } = this.client!;
    for (const filter in subscriptions) {
      const { qos } = subscriptions[filter]!;
      if (qos > granted && topicMatches(filter, topic)) granted = qos;
    }
    if (this.#granted.size >= GRANTED_MAX) this.#granted.clear();
    this.#granted.set(topic, granted);
    return granted;
  }

  subscriptionsChanged(): void {
    this.#granted.clear();
  }

  info(): ClientInfo | null {
    if (!this.admitted || !this.isAccepted) return null;
    const { clientId, user, device, session } = this.admitted;
    return {
      clientId,
      user,
      device: device.device,
      listener: this.origin.listener,
      address: this.origin.address,
      connectedAtMs: this.connectedAtMs,
      cleanSession: !session.durable,
      unacked: this.guard.pace.packets,
      queued: session.queue.count,
    };
  }
}

/** Why drafts of a client are given up. */
export const LEFT = new Error("the client has left before its message was stored");

/** What the log says of a connection. */
export function factsOf(connection: Connection): Record<string, unknown> {
  const { origin, admitted } = connection;
  const facts: Record<string, unknown> = { listener: origin.listener, address: origin.address };
  if (admitted) {
    facts.device = admitted.device.device;
    facts.clientId = admitted.clientId;
    if (admitted.user !== null) facts.user = admitted.user;
  }
  return facts;
}
