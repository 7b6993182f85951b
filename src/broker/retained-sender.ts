/**
 * Sends a client the retained messages that its new subscriptions ask for [MQTT-3.3.1-6], for all clients in
 * turn and a few at a time: one SUBSCRIBE of a few bytes can ask for ten thousand messages.
 *
 * Promise: it costs the others no more than a small part of each turn of the event loop, and the client no
 * more memory than what its socket and its acknowledgements keep up with. A SUBSCRIBE counts as being worked
 * on until what it asked for has been sent, so that a client that asks again and again waits for itself.
 * A message is looked up when its time has come, so that an old value never comes after a new one.
 */
import { writeToStream } from "mqtt-packet";
import type { Clock } from "../core/clock.ts";
import type { QoS } from "../core/message.ts";
import type { Connection } from "./connection.ts";
import type { Mailroom } from "./mailroom.ts";

interface Job {
  readonly steps: Iterator<ReturnType<Mailroom["retained"]["get"]> | null>;
  readonly answered: () => void;
}

/** All clients together are sent retained messages for so long in a turn of the event loop. */
const STEP_MS = 2;
/** So many that wait for their acknowledgement, or to be sent, are enough ahead. */
const AHEAD_MAX = 100;

export interface RetainedSenderOptions {
  readonly mailroom: Mailroom;
  readonly clock: Clock;
  readonly onDefect: (connection: Connection, error: unknown) => void;
}

export class RetainedSender {
  readonly #options: RetainedSenderOptions;
  readonly #jobs = new Map<Connection, Job[]>();
  /** Whose jobs could go on now. */
  readonly #ready = new Set<Connection>();
  #isScheduled = false;

  constructor(options: RetainedSenderOptions) {
    this.#options = options;
  }

  /** `answered` is called when all has been sent, or nothing more can be. */
  send(connection: Connection, filters: readonly string[], answered: () => void): void {
    const { retained } = this.#options.mailroom;
    if (filters.length === 0 || retained.count === 0) {
      answered();
      return;
    }
    const job: Job = { steps: retained.steps(filters), answered };
    const jobs = this.#jobs.get(connection);
    if (jobs) jobs.push(job);
    else {
      this.#jobs.set(connection, [job]);
      this.wake(connection);
    }
  }

  /** Its socket has drained, or it has acknowledged something. */
  wake(connection: Connection): void {
    if (!this.#jobs.has(connection)) return;
    this.#ready.add(connection);
    this.#schedule();
  }

  /** The connection is over. */
  drop(connection: Connection): void {
    this.#jobs.delete(connection);
    this.#ready.delete(connection);
  }

  #schedule(): void {
    if (this.#isScheduled || this.#ready.size === 0) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#step();
      this.#schedule();
    });
  }

  #step(): void {
    const { clock, onDefect } = this.#options;
    const untilMs = clock.monoMs() + STEP_MS;
    while (this.#ready.size > 0 && clock.monoMs() < untilMs) {
      const connection = this.#ready.values().next().value!;
      this.#ready.delete(connection);
      try {
        if (this.#sendSome(connection)) this.#ready.add(connection);
      } catch (error) {
        this.drop(connection);
        onDefect(connection, error);
      }
    }
  }

  /** True where it can go on at once; else it is woken. */
  #sendSome(connection: Connection): boolean {
    const { guard, client, admitted } = connection;
    const jobs = this.#jobs.get(connection);
    if (!jobs || !admitted || !client || client.closed) {
      this.drop(connection);
      return false;
    }
    for (let steps = 0; steps < AHEAD_MAX; steps++) {
      if (guard.writableNeedDrain) {
        guard.once("drain", () => this.wake(connection));
        return false;
      }
      // The outbox wakes it when it has sent what waits.
      if (admitted.session.queue.count > AHEAD_MAX) return false;
      const job = jobs[0]!;
      const { done, value } = job.steps.next();
      if (!done) {
        if (value) this.#sendOne(connection, value);
        continue;
      }
      jobs.shift();
      if (jobs.length === 0) this.#jobs.delete(connection);
      job.answered();
      if (jobs.length === 0) return false;
    }
    return true;
  }

  #sendOne(connection: Connection, packet: NonNullable<ReturnType<Mailroom["retained"]["get"]>>): void {
    const { guard, admitted } = connection;
    const { topic, payload } = packet;
    const qos = Math.min(packet.qos, connection.grantedQoS(topic));
    if (qos < 0) return;
    if (qos === 0) {
      writeToStream({ cmd: "publish", topic, payload, qos: 0, retain: true, dup: false }, guard);
      return;
    }
    void this.#options.mailroom.enqueue(admitted!.session, packet, qos as QoS, true);
    admitted!.outbox.kick();
  }
}
