/**
 * Where each PUBLISH of one client passes on its way in: allowed, committed, handed to local subscribers,
 * acknowledged, in this order and in the order of arrival.
 *
 * Promise: aedes sends PUBACK, PUBREC or goes on after QoS 0 only when release() calls it back, which is
 * after accept() has resolved for this message and for all before it. aedes runs its hooks side by side, so
 * the order of the acknowledgements [MQTT-4.6.0-2] is made here.
 *
 * aedes would store retained and queued copies after the acknowledgement; here they are rows of the same
 * commit (mailroom.ts), and local subscribers get the message when it is released. So nothing of it is left
 * to aedes' own publish().
 *
 * A receipt decides: stored and dropped → to local subscribers, acknowledge; duplicate → acknowledge; refused
 * → MQTT 3.1.1 has no negative PUBACK, so the connection is closed (section 3.3.5 leaves that choice), after what
 * was before it has been acknowledged; what is behind it is not.
 *
 * QoS 2: the store notes the packet id with the message, and the session's `incoming` says so from then on.
 * A resend comes through here like any PUBLISH; the store knows it, and it gets its PUBREC and nothing else.
 * What is owed to persistent subscribers was in the commit, so a crash before the release owes them nothing
 * more, and the message is not handed out twice after it.
 */
import type { Accepting, Draft, Receipt } from "../intake/draft.ts";
import { isReserved } from "./access.ts";
import { FANNED_OUT, type Publish, RESENT } from "./aedes-internals.ts";
import { type Admitted, type Connection, LEFT } from "./connection.ts";
import type { Ledger } from "./ledger.ts";
import type { Mailroom, Prepared } from "./mailroom.ts";

export interface GateOptions {
  readonly intake: Accepting;
  readonly mailroom: Mailroom;
  readonly ledger: Ledger;
  readonly qos2InboundMax: number;
  /** Hands a message to local subscribers. */
  readonly fanOut: (packet: Publish, prepared: Prepared, clientId: string) => void;
  readonly onRefused: (connection: Connection, reason: string, topic: string) => void;
  /** accept() failed for a reason that is not the client's. */
  readonly onFatal: (error: unknown) => void;
  /** Our own code failed. */
  readonly onDefect: (connection: Connection, error: unknown) => void;
}

export type Done = (error?: Error | null) => void;

/** A message between its arrival and its release. */
interface Pending {
  readonly packet: Publish;
  readonly prepared: Prepared;
  readonly rows: number;
  readonly bytes: number;
  readonly done: Done;
  outcome: Receipt | Error | null;
}

/** Beside the payload, what a pending message costs. */
const PENDING_BYTES = 300;
/** What is put into a queue that is full takes the oldest out. */
const ROWS_PER_CHANGE = 2;

/** What goes to the disk beside the message itself. */
function bytesOf({ changes }: Prepared): number {
  let bytes = 0;
  for (let at = 0; at < changes.length; at++) {
    const change = changes[at]!;
    if (change.op === "put") bytes += change.value.length;
  }
  return bytes;
}

export class PublishGate {
  readonly #options: GateOptions;
  readonly #connection: Connection;
  #pending: Pending[] = [];
  #head = 0;
  /** Refuses what may not be published, once all before it has been answered. */
  #refusal: (() => void) | null = null;
  /** Pending messages that their sender repeats when they are not acknowledged: QoS 1 and 2. */
  #repeatable = 0;
  #qos2Pending = 0;
  #whenQos2Settled: (() => void) | null = null;

  constructor(options: GateOptions, connection: Connection) {
    this.#options = options;
    this.#connection = connection;
  }

  /** Resolves when no QoS 2 message is on its way to the disk. */
  qos2Settled(): Promise<void> {
    if (this.#qos2Pending === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenQos2Settled = resolve;
    });
  }

  get idle(): boolean {
    return this.#head === this.#pending.length;
  }

  submit(packet: Publish, done: Done): void {
    const { ledger, mailroom, intake } = this.#options;
    const connection = this.#connection;
    const admitted = connection.admitted!;
    const { topic, qos } = packet;
    const payload = packet.payload as Buffer;
    packet[FANNED_OUT] = true;
    ledger.published(qos, payload.length);
    // The connection ends with what was refused; what comes after it is neither stored nor answered.
    if (this.#refusal) return;
    const problem = this.#problem(admitted, packet);
    if (problem) {
      this.#refusal = () => this.#refuse(problem, packet, done);
      if (this.idle) this.#refusal();
      return;
    }
    const prepared = mailroom.prepare(packet, admitted.clientId);
    const bytes = payload.length + PENDING_BYTES + bytesOf(prepared);
    const rows = 1 + prepared.changes.length * ROWS_PER_CHANGE;
    const pending: Pending = { packet, prepared, rows, bytes, done, outcome: null };
    this.#pending.push(pending);
    connection.guard.pace.tookMessage(rows, bytes);
    if (qos > 0) this.#repeatable++;
    if (qos === 2) this.#qos2Pending++;
    const draft: Draft = {
      device: admitted.device.device,
      source: "mqtt",
      topic,
      payload,
      qos,
      retain: packet.retain,
      mqtt:
        qos > 0
          ? { client: admitted.clientId, packetId: packet.messageId!, dup: packet.dup === true }
          : undefined,
      session: prepared.changes,
    };
    // QoS 0 may still be committed for a moment after its client left, but not where a message before it is
    // given up then: that one is sent again, and would come after it.
    const mayStay = qos === 0 && this.#repeatable === 0;
    const signal = mayStay ? connection.leftLongSignal : connection.leftSignal;
    intake.accept(draft, signal).then(
      (receipt) => this.#settle(pending, receipt),
      (error) => this.#settle(pending, error instanceof Error ? error : new Error(String(error))),
    );
  }

  /** Why this client may not publish this now, or null where it may. */
  #problem(admitted: Admitted, packet: Publish): string | null {
    if (!admitted.rules.mayPublish(packet.topic)) {
      return isReserved(packet.topic) ? "reserved topic" : "no rule allows the topic";
    }
    if (packet.qos === 2) {
      const { incoming } = admitted.session;
      const open = incoming.size + this.#qos2Pending;
      if (open >= this.#options.qos2InboundMax && !incoming.has(packet.messageId!)) {
        return "too many QoS 2 messages without PUBREL";
      }
    }
    return null;
  }

  #refuse(reason: string, packet: Publish, done: Done): void {
    const connection = this.#connection;
    this.#options.ledger.refused(reason, connection.admitted!.device);
    this.#options.onRefused(connection, reason, packet.topic);
    connection.reason ??= reason;
    done(new Error(reason));
  }

  /** Runs in a promise's callback, where an error that is not caught would end the process. */
  #settle(pending: Pending, outcome: Receipt | Error): void {
    try {
      this.#settled(pending, outcome);
    } catch (error) {
      this.#options.onDefect(this.#connection, error);
    }
  }

  #settled(pending: Pending, outcome: Receipt | Error): void {
    pending.outcome = outcome;
    const { packet, prepared } = pending;
    const failed = outcome instanceof Error;
    if (prepared.retained) {
      const { retained } = this.#options.mailroom;
      const committed = !failed && (outcome.kind === "stored" || outcome.kind === "dropped");
      // In the order of the commits, as on the disk.
      if (committed) retained.apply(prepared.retained);
      else retained.cancel(prepared.retained);
    }
    if (packet.qos === 2 && !failed) this.#settleQos2(packet, outcome);
    if (packet.qos === 2 && --this.#qos2Pending === 0) {
      this.#whenQos2Settled?.();
      this.#whenQos2Settled = null;
    }
    this.#releaseSettled();
  }

  #settleQos2(packet: Publish, receipt: Receipt): void {
    const { incoming } = this.#connection.admitted!.session;
    if (receipt.kind === "duplicate") packet[RESENT] = true;
    else if (receipt.kind === "dropped" && incoming.has(packet.messageId!)) packet[RESENT] = true;
    else if (receipt.kind !== "refused") incoming.set(packet.messageId!, null);
  }

  #releaseSettled(): void {
    while (this.#head < this.#pending.length) {
      const pending = this.#pending[this.#head]!;
      if (pending.outcome === null) break;
      this.#head++;
      this.#release(pending, pending.outcome);
    }
    if (this.#head === this.#pending.length) {
      this.#pending = [];
      this.#head = 0;
      if (this.#connection.client?.closed === false) this.#refusal?.();
    } else if (this.#head > 1024 && this.#head * 2 > this.#pending.length) {
      this.#pending = this.#pending.slice(this.#head);
      this.#head = 0;
    }
  }

  #release({ packet, prepared, rows, bytes, done }: Pending, outcome: Receipt | Error): void {
    const { ledger, mailroom, fanOut, onFatal } = this.#options;
    const connection = this.#connection;
    const { device, clientId } = connection.admitted!;
    connection.guard.pace.doneMessage(rows, bytes);
    if (packet.qos > 0) this.#repeatable--;
    if (outcome instanceof Error) {
      // Not stored, not acknowledged; its sender, if there still is one, sends it again.
      if (outcome === LEFT) return;
      connection.close("the message could not be stored");
      onFatal(outcome);
      return;
    }
    if (outcome.kind === "refused") {
      this.#refuse(outcome.code, packet, done);
      return;
    }
    ledger.accepted(device, outcome);
    if (outcome.kind !== "duplicate" && !packet[RESENT]) {
      mailroom.apply(prepared);
      fanOut(packet, prepared, clientId);
    }
    // Of a closed client aedes has nothing left to do, and would report an error for each.
    if (connection.client?.closed === false) done(null);
  }
}
