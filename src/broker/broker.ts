/**
 * The broker: the door for machines that speak MQTT (3.1 and 3.1.1, over TCP, TLS and WebSocket). aedes does
 * the protocol and is known to this room alone; what a gateway must be sure of is done around it.
 *
 * Promise: PUBACK and PUBREC are sent after the message, with everything that this broker itself owes for it
 * (retained copy, queues of persistent subscribers, QoS 2 packet id), is committed and fsynced in one commit,
 * and in the order in which the client sent. Sessions, subscriptions, queues, wills and QoS 2 state survive
 * kill -9. A client's state is its own: its id is bound to its credential, its topics to its rules.
 *
 * Constraints: everything a client can make grow has a bound with a name (schema.ts). Towards a publisher a
 * bound means that its socket is not read; towards a subscriber that the oldest waiting message is dropped
 * and counted; nobody waits for anybody else. No packet, no socket and no event of aedes can end the process.
 *
 * A connection's way, each step a file: listeners → stream-guard (whole, checked packets, at our pace) →
 * aedes → door (who is it) → admitted. For each PUBLISH: publish-gate → intake → fan-out → aedes
 * acknowledges. For each client that receives: mailroom (queues) → outbox → stream-guard. reception.ts runs
 * it, assembly.ts puts it together, aedes-internals.ts is what we know of aedes.
 *
 * What it trades away: MQTT 5 is refused with its own CONNACK. A message that is refused for good (a topic
 * that no rule allows, invalid, `unrouted: refuse`) ends the connection, since 3.1.1 knows no other no.
 * While the store has no room, acknowledgements and CONNACKs for clients with a will wait.
 */
import type { Duplex } from "node:stream";
import { sleep, type Timer } from "../core/clock.ts";
import { errorText, HoldfastError } from "../core/errors.ts";
import type { QoS } from "../core/message.ts";
import { BaseService } from "../core/service.ts";
import { openDoorProblem } from "./access.ts";
import { type Addressed, reachesDevice, sendToDevice, type WentTo } from "./addressed.ts";
import type { Publish } from "./aedes-internals.ts";
import { type Assembly, assemble, type BrokerOptions } from "./assembly.ts";
import type { ClientInfo, Origin } from "./connection.ts";
import type { DeviceState, Figures } from "./ledger.ts";
import { type ListenerAddress, Listeners } from "./listeners.ts";
import type { DeviceEvent } from "./reception.ts";
import { loadSessions } from "./session-load.ts";

export interface BrokerStats extends Figures {
  /** Open sockets, and clients that are in. */
  readonly sockets: number;
  readonly clients: number;
  /** Packets being worked on, among them messages that wait for their commit. */
  readonly unacked: number;
  /** What all clients together have in hand, as their shares of it are counted (workload.ts). */
  readonly inHand: { readonly steps: number; readonly bytes: number; readonly partialBytes: number };
  /** Clients that are not read because a bound is reached. */
  readonly held: number;
  readonly sessions: number;
  readonly queuedMessages: number;
  readonly queuedBytes: number;
  readonly retainedMessages: number;
  readonly retainedBytes: number;
}

const INSPECT_EVERY_MS = 500;
const EXPIRE_EVERY_MS = 60_000;
/** How long a stop waits for what clients have sent to be stored and acknowledged. */
const STOP_WAIT_MS = 5000;

export class Broker extends BaseService {
  readonly #options: BrokerOptions;
  readonly #parts: Assembly;
  readonly #listeners: Listeners;
  #inspection: Timer | undefined;
  #expiry: Timer | undefined;
  #failed = false;
  #stopped = false;
  readonly #fatalListeners: ((error: Error) => void)[] = [];

  /** Called when a client has come in or has gone. */
  onDevice: (event: DeviceEvent) => void = () => {};

  constructor(options: BrokerOptions) {
    super();
    const { config } = options;
    const { limits } = config;
    this.#options = options;
    const parts = assemble(options, {
      onFatal: (error) => this.#fail(error),
      onDevice: (event) => this.onDevice(event),
    });
    this.#parts = parts;
    this.#listeners = new Listeners({
      listeners: config.listeners,
      connectionsMax: limits.connectionsMax,
      connectionsPerAddressMax: limits.connectionsPerAddressMax,
      greetingsMax: limits.greetingsMax,
      connectTimeoutMs: limits.connectTimeout,
      onConnection: (stream, origin) => parts.reception.take(stream, origin),
      onRefused: (reason, origin) => {
        parts.ledger.refused(reason);
        const { listener, address } = origin;
        parts.refusals.note(reason, { listener, address }, "a connection was refused");
      },
    });
  }

  /** Called once, with what makes it impossible to go on: the store has failed. */
  onFatal(listener: (error: Error) => void): void {
    this.#fatalListeners.push(listener);
  }

  /** A connection from elsewhere than its own listeners, of which nothing has been read. */
  take(stream: Duplex, origin: Origin): void {
    this.#parts.reception.take(stream, origin);
  }

  /** Where it listens, once started. */
  addresses(): readonly ListenerAddress[] {
    return this.#listeners.addresses;
  }

  /**
   * Hands a message of the gateway itself to local subscribers. It does not go through intake. Resolves when
   * it is on disk for the persistent sessions it is owed to; retained ones are kept in memory alone.
   */
  async publish(
    topic: string,
    payload: Buffer | string,
    { qos = 0, retain = false }: { qos?: QoS; retain?: boolean } = {},
  ): Promise<void> {
    const { mailroom, sessions, fanOut, reception } = this.#parts;
    const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
    const packet: Publish = { cmd: "publish", topic, payload: bytes, qos, retain, dup: false };
    const prepared = mailroom.prepare(packet, undefined);
    if (prepared.retained) mailroom.retained.apply(prepared.retained);
    if (prepared.changes.length > 0) await sessions.commit(prepared.changes);
    mailroom.apply(prepared);
    fanOut.send(reception.core, packet, prepared, undefined);
  }

  /** Hands a command to one device. */
  send(message: Addressed): WentTo {
    return sendToDevice(this.#parts, message, this.#options.config.limits.sendBufferBytesMax);
  }

  /** Whether a command with this topic would go out to the device now. */
  reaches(device: string, topic: string): boolean {
    return reachesDevice(this.#parts, device, topic);
  }

  /** Closes a client's connection; false where it has none. Its session stays. */
  kick(clientId: string): boolean {
    const connection = this.#parts.door.holder(clientId);
    connection?.close("kicked");
    return connection !== undefined;
  }

  clients(): ClientInfo[] {
    return [...this.#parts.reception.connections].flatMap((connection) => connection.info() ?? []);
  }

  devices(): readonly DeviceState[] {
    return this.#parts.ledger.devices();
  }

  stats(): BrokerStats {
    const { ledger, reception, sessions, mailroom } = this.#parts;
    let [clients, unacked, held, queuedMessages, sessionCount] = [0, 0, 0, 0, 0];
    for (const { isAccepted, guard } of reception.connections) {
      if (isAccepted) clients++;
      if (guard.holding) held++;
      unacked += guard.pace.packets;
    }
    for (const session of sessions.all()) {
      queuedMessages += session.queue.count;
      if (session.durable) sessionCount++;
    }
    return {
      ...ledger.figures,
      refused: { ...ledger.figures.refused },
      published: [...ledger.figures.published],
      sockets: this.#listeners.connections,
      clients,
      unacked,
      inHand: {
        steps: reception.workload.work.total,
        bytes: reception.workload.bytes.total,
        partialBytes: reception.workload.partial.total,
      },
      held,
      sessions: sessionCount,
      queuedMessages,
      queuedBytes: mailroom.bytes,
      retainedMessages: mailroom.retained.count,
      retainedBytes: mailroom.retained.bytes,
    };
  }

  protected async onStart(): Promise<void> {
    const { access, config, sessions: log } = this.#options;
    const open = openDoorProblem(access, config.listeners);
    if (open) throw new HoldfastError("HF_OPEN_DOOR", open);
    const parts = this.#parts;
    const wills = loadSessions(await log.load(), parts.sessions, parts.mailroom, (user, clientId, filter) =>
      parts.access.rulesOf({ user, clientId }).maySubscribe(filter),
    );
    await parts.reception.core.listen();
    // They may wait for room in the store, which is no reason to keep the door shut.
    void parts.wills.sendLeft(wills);
    await this.#listeners.open();
    this.#inspect();
    this.#expire();
  }

  protected async onStop(): Promise<void> {
    this.#inspection?.cancel();
    this.#expiry?.cancel();
    this.#listeners.stopListening();
    const { reception, wills, sessions } = this.#parts;
    const over = new AbortController();
    const patience = sleep(this.#options.clock, this.#failed ? 0 : STOP_WAIT_MS, over.signal);
    await reception.close(patience);
    await Promise.race([patience, wills.settled()]);
    await Promise.race([patience, sessions.flushed()]);
    over.abort();
    this.#stopped = true;
    if (!reception.core.closed) await new Promise<void>((resolve) => reception.core.close(resolve));
    await this.#listeners.close();
  }

  #inspect(): void {
    this.#inspection = this.#options.clock.after(INSPECT_EVERY_MS, () => {
      this.#parts.reception.inspect();
      this.#inspect();
    });
  }

  #expire(): void {
    this.#expiry = this.#options.clock.after(EXPIRE_EVERY_MS, () => {
      const expired = this.#parts.sessions.expire();
      this.#parts.ledger.figures.sessionsExpired += expired.length;
      for (const clientId of expired) {
        this.#options.logger.info({ clientId }, "a session was forgotten: its client stayed away too long");
      }
      this.#expire();
    });
  }

  #fail(error: unknown): void {
    if (this.#failed || this.#stopped) return;
    this.#failed = true;
    this.#options.logger.error({ error: errorText(error) }, "the broker cannot go on: the store has failed");
    for (const { guard } of this.#parts.reception.connections) guard.stopReading();
    const fatal = error instanceof Error ? error : new Error(errorText(error));
    for (const listener of this.#fatalListeners) listener(fatal);
  }
}
