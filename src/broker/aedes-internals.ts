/**
 * All that this room knows of aedes beyond its public interface, in one place, for aedes 1.2.0 (the version
 * is pinned; test/broker/aedes-internals.test.ts fails where a field is gone). aedes does the protocol:
 * CONNECT, SUBSCRIBE, PING, wills at a close, matching of live subscriptions, the four steps of QoS 2.
 */
import { Aedes, type AedesOptions } from "aedes";
import AedesPacket from "aedes-packet";
import { writeToStream } from "mqtt-packet";
import type { QoS } from "../core/message.ts";
import type { StreamGuard } from "./stream-guard.ts";

// With its first packet mqtt-packet would make a buffer for every packet id there is: 7 MiB, to save making one of two
// bytes now and then.
writeToStream.cacheNumbers = false;

/** A PUBLISH as aedes passes it around; wills have no `cmd` and no `messageId`. */
export interface Publish {
  readonly cmd?: string;
  readonly topic: string;
  readonly payload: Buffer | string;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly dup?: boolean;
  messageId?: number;
  clientId?: string;
  brokerId?: string;
  brokerCounter?: number;
  [FANNED_OUT]?: boolean;
  [RESENT]?: boolean;
}

/** Set on a packet whose way to local subscribers has been decided: aedes must not publish it itself. */
export const FANNED_OUT = Symbol("fanned out");
/** Set on a QoS 2 packet that came before: it gets its PUBREC and nothing else. */
export const RESENT = Symbol("resent");

export interface ClientSubscription {
  readonly qos: QoS;
  readonly nl?: boolean;
}

export interface AedesClient {
  readonly id: string;
  readonly clean: boolean;
  /** The stream given to handle(). */
  readonly conn: StreamGuard;
  /** True from the first line of close(). */
  readonly closed: boolean;
  /** Both false again when close() has run to its end, which is after `closed`. */
  readonly connecting: boolean;
  readonly connected: boolean;
  /** Set while its close() or takeover publishes it. */
  readonly will: Publish | null;
  /** Live subscriptions by filter; an object without prototype. */
  readonly subscriptions: Record<string, ClientSubscription>;
  close(done?: () => void): void;
  emit(event: "error", error: Error): boolean;
  /** mqtt-packet's parser; its packets go to the handlers. */
  readonly _parser: { parse(bytes: Buffer): number };
  /** How many packets of the current read are pending; starts at 1 for the read that has not been. */
  _parsingBatch: number;
  /** It pauses itself while a CONNECT is looked at, and then calls _nextBatch() as if a packet were done. */
  resume: () => void;
  /** Called with each packet that has been worked off; reads on when none is pending. */
  _nextBatch: (error?: Error | null) => void;
  /** Closes the client one and a half keepalives after the last packet [MQTT-3.1.2-24]. */
  readonly _keepaliveTimer: { refresh(): void } | null;
}

/** Makes the guard the only one that reads: aedes' own counting of batches reads on with every chunk. */
export function readByGuard(client: AedesClient, worked: () => void): void {
  client._parsingBatch = 0;
  // Who counts packets must not count one too many: the last of them would be given up for done.
  client.resume = () => {};
  client._nextBatch = (error) => {
    if (error) client.emit("error", error);
    else worked();
  };
}

export function feed(client: AedesClient, packets: Buffer): void {
  client._parser.parse(packets);
}

/** True when close() has run to its end: subscriptions gone, will handed over, stream destroyed. */
export function hasFinished(client: AedesClient): boolean {
  return client.closed && !client.connected && !client.connecting;
}

/** The client's silence is our doing (its socket is not read), so its keepalive starts again. */
export function refreshKeepalive(client: AedesClient): void {
  client._keepaliveTimer?.refresh();
}

type Done = (error?: Error | null) => void;

interface Emitter {
  emit(packet: Publish, done: () => void): void;
}

const WirePacket = AedesPacket as unknown as new (original: object, broker?: object) => Publish;

/** aedes-packet's copy of a packet: drops what is not of the protocol, numbers it where a broker is given. */
export function copyPacket(original: object, broker?: object): Publish {
  return new WirePacket(original, broker);
}

export class BrokerCore extends Aedes {
  /** mqemitter: matches topics with live subscriptions. */
  declare readonly mq: Emitter;
  /** Registered clients by id; an object without prototype. */
  declare readonly clients: Record<string, AedesClient>;

  constructor(options: AedesOptions) {
    // Unlimited: no delivery waits here (outbox.ts), so one frozen subscriber cannot hold up the others.
    // Drains are not waited for by aedes either; broker.ts closes the frozen.
    super({ ...options, concurrency: 0, drainTimeout: DRAIN_NEVER_MS, trustProxy: false });
  }

  /** Called by aedes for each PUBLISH after its hook, for wills, and for its own $SYS topics. */
  override publish(packet: object, clientOrDone?: unknown, done?: unknown): void {
    if ((packet as Publish)[FANNED_OUT]) {
      const callback = typeof clientOrDone === "function" ? clientOrDone : done;
      if (typeof callback === "function") (callback as Done)(null);
      return;
    }
    // Its declaration leaves the client out.
    (super.publish as (...args: unknown[]) => void).call(this, packet, clientOrDone, done);
  }

  /** Hands a packet to live subscribers, at once and in this turn of the event loop. */
  fanOut(packet: Publish, clientId: string | undefined): void {
    const numbered = copyPacket(packet, this);
    if (clientId !== undefined) numbered.clientId = clientId;
    this.mq.emit(numbered, nothing);
  }

  /**
   * Called by aedes in the middle of CONNECT, after waiting for the session. A client that died meanwhile
   * would be registered for ever: nothing unregisters it any more.
   */
  registerClient(client: AedesClient): void {
    if (client.closed) return;
    (Aedes.prototype as unknown as { registerClient(client: AedesClient): void }).registerClient.call(
      this,
      client,
    );
  }
}

function nothing(): void {}

/** Longest that Node's timers take is 24.8 days; a day is for ever here. */
const DRAIN_NEVER_MS = 86_400_000;
