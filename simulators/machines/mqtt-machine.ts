/**
 * A simulated machine that speaks MQTT 3.1.1: makes readings at its rate, keeps them until they are
 * acknowledged, and meets the mishaps that its behaviour draws. It does what clients in the field do: with a
 * persistent session its unanswered PUBLISH (with DUP=1) and PUBREL go out again in their order after a
 * reconnect [MQTT-4.4.0-1], also where CONNACK says that the broker has no session (aedes says so of each
 * client without subscriptions); with a clean session they go out again as new messages.
 *
 * States of the connection: down ──(backoff)──▶ connecting ──CONNACK──▶ up ──▶ down …; `stopped` is final.
 * States of a message on the way: publish (waits for PUBACK or PUBREC) ──PUBREC──▶ release (waits for
 * PUBCOMP); gone when answered. A machine never gives up a reading it has made.
 *
 * Its packet ids start at 1 again with each connection, as in a machine that was switched off and on: a
 * packet id by itself says nothing.
 */
import type { Packet } from "mqtt-packet";
import type { Timer } from "../../src/core/clock.ts";
import { type Random, seededRandom } from "../../src/core/random.ts";
import { type Mishaps, NO_MISHAPS, type Reading, readings } from "./behaviour.ts";
import { payloadDigest, type Sent } from "./ledger.ts";
import type { MachineOptions, WireEvent } from "./machine-options.ts";
import { RawMqttClient } from "./raw-mqtt-client.ts";

const BACKOFF_MS = { first: 50, max: 1_000 };
/** With a thousand machines at the door, the last one is let in after seconds. */
const CONNECT_MS_MAX = 10_000;

/** A copy of a message in the machine, before and while it is on the way. */
interface Flight {
  readonly sent: Sent;
  readonly payload: Buffer;
  /** Those still to come. */
  mishaps: Mishaps;
  stage: "publish" | "release";
  /** PUBACKs or PUBRECs still to come on this connection: two where it was sent twice. */
  answersDue: number;
  atMs: number;
}

export class MqttMachine {
  readonly device: string;
  readonly seed: number;
  /** Times it connected. */
  connects = 0;

  readonly #o: MachineOptions;
  readonly #nextReading: ReturnType<typeof readings>;
  /** For everything that depends on timing; the readings have a generator of their own. */
  readonly #chance: Random;
  readonly #outbox: Flight[] = [];
  /** By packet id; a Map keeps them in the order in which they were first sent. */
  #inFlight = new Map<number, Flight>();
  #client: RawMqttClient | null = null;
  #up = false;
  #packetId = 0;
  #failures = 0;
  #made = 0;
  #producing = false;
  #stopped = false;
  /** Its network is switched off. */
  #offline = false;
  /** What was answered last, oldest first. */
  readonly #kept: Flight[] = [];
  #timers = new Set<Timer>();
  #idleWaiters: (() => void)[] = [];

  constructor(options: MachineOptions) {
    this.#o = options;
    this.device = options.device;
    this.seed = options.seed;
    this.#chance = seededRandom(options.seed ^ 0x5bd1e995);
    this.#nextReading = readings({
      behaviour: options.behaviour,
      device: options.device,
      run: options.run,
      random: seededRandom(options.seed),
      wallMs: options.clock.wallMs,
    });
  }

  get up(): boolean {
    return this.#up;
  }

  start(): void {
    const { behaviour } = this.#o;
    this.#producing = true;
    this.#connect();
    if (behaviour.rate > 0) this.#tick();
    if (behaviour.burst) this.#every(behaviour.burst.every, () => this.#make(behaviour.burst!.size));
    if (behaviour.reconnect) this.#every(behaviour.reconnect.every, () => this.cut());
    this.#every(Math.max(50, behaviour.ackTimeout / 4), () => this.#checkAckTimeout());
  }

  /** Makes no more readings; what it has still goes out. */
  silence(): void {
    this.#producing = false;
  }

  /** Makes this many readings at once. */
  burst(size: number): void {
    this.#make(size);
  }

  /** Sends a reading that was made elsewhere, such as one of a capture. */
  hand(reading: Reading): void {
    this.#keep(reading);
    this.#pump();
  }

  /** Breaks the connection without a word, and comes back. */
  cut(): void {
    this.#isDown("cut");
    this.#client?.destroy("reset");
  }

  /** Its network is gone until `online`; its readings wait in it. */
  offline(): void {
    this.#offline = true;
    this.cut();
  }

  online(): void {
    if (!this.#offline) return;
    this.#offline = false;
    if (!this.#client) this.#connect();
  }

  /** Publishes the readings that were answered last once more, as new messages; at most `keeps` of them. */
  sendAgain(last: number): void {
    for (const flight of this.#kept.slice(-last)) {
      this.#outbox.push({ ...flight, stage: "publish", mishaps: NO_MISHAPS });
    }
    this.#pump();
  }

  /** True where everything it made is on the other side and answered. */
  get idle(): boolean {
    return this.#outbox.length === 0 && this.#inFlight.size === 0;
  }

  whenIdle(): Promise<void> {
    if (this.idle) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#producing = false;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
    const client = this.#client;
    if (client && this.#up) {
      this.#isDown("disconnect");
      await client.disconnect();
    } else client?.destroy();
    await client?.closed;
  }

  #after(delayMs: number, fn: () => void): void {
    if (this.#stopped) return;
    const timer = this.#o.clock.after(delayMs, () => {
      this.#timers.delete(timer);
      fn();
    });
    this.#timers.add(timer);
  }

  /** Again and again, each time a quarter sooner or later, so that machines do not march in step. */
  #every(periodMs: number, fn: () => void): void {
    this.#after(periodMs * (0.75 + this.#chance.unit() / 2), () => {
      fn();
      this.#every(periodMs, fn);
    });
  }

  /** Timers are too coarse for high rates: each tick makes as many readings as the time passed asks for. */
  #tick(): void {
    let owed = this.#chance.unit();
    let lastMs = this.#o.clock.monoMs();
    const periodMs = Math.max(10, 1000 / this.#o.behaviour.rate);
    const tick = () => {
      if (!this.#producing) return;
      const nowMs = this.#o.clock.monoMs();
      owed += ((nowMs - lastMs) / 1000) * this.#o.behaviour.rate;
      lastMs = nowMs;
      const whole = Math.floor(owed);
      owed -= whole;
      if (whole > 0) this.#make(whole);
      this.#after(periodMs * (0.75 + this.#chance.unit() / 2), tick);
    };
    this.#after(periodMs * this.#chance.unit(), tick);
  }

  #make(count: number): void {
    const max = this.#o.behaviour.messages ?? Number.POSITIVE_INFINITY;
    for (let i = 0; i < count && this.#producing && this.#made < max; i++) {
      this.#made++;
      this.#keep(this.#nextReading());
    }
    this.#pump();
  }

  #keep({ payload, mishaps, ...reading }: Reading): void {
    const sent: Sent = {
      ...reading,
      device: this.device,
      bytes: payload.length,
      digest: payloadDigest(payload),
      copies: 0,
      firstSentAtMs: null,
      ackedAtMs: null,
    };
    this.#o.ledger.made(sent);
    this.#outbox.push({ sent, payload, mishaps, stage: "publish", answersDue: 0, atMs: 0 });
  }

  #connect(): void {
    if (this.#stopped || this.#offline) return;
    const { behaviour } = this.#o;
    const client = RawMqttClient.open({
      ...this.#o.address(),
      answer: "received",
      onPacket: (packet) => this.#received(client, packet),
      clock: this.#o.clock,
    });
    this.#client = client;
    void client.closed.then(() => this.#down(client));
    client
      .connect(
        {
          clientId: this.device,
          clean: behaviour.session === "clean",
          username: behaviour.username,
          password: behaviour.password,
        },
        Math.min(behaviour.ackTimeout, CONNECT_MS_MAX),
      )
      .then(() => this.#resume(client))
      .catch(() => client.destroy());
  }

  #down(client: RawMqttClient): void {
    if (client !== this.#client) return;
    this.#isDown("lost");
    this.#client = null;
    if (this.#stopped || this.#offline) return;
    const ceilingMs = Math.min(BACKOFF_MS.max, BACKOFF_MS.first * 2 ** Math.min(this.#failures, 10));
    this.#failures++;
    this.#after(ceilingMs * (0.5 + this.#chance.unit() / 2), () => this.#connect());
  }

  #isDown(how: "cut" | "lost" | "disconnect"): void {
    if (this.#up) this.#trace({ do: "close", how });
    this.#up = false;
  }

  #trace(event: WireEvent): void {
    this.#o.onTrace?.(this.device, event);
  }

  #resume(client: RawMqttClient): void {
    if (client !== this.#client || this.#stopped) return;
    if (this.#offline) {
      client.destroy("reset");
      return;
    }
    const { session, username } = this.#o.behaviour;
    this.#trace({ do: "connect", clean: session === "clean", username });
    this.#up = true;
    this.#failures = 0;
    this.connects++;
    this.#packetId = 0;
    const before = this.#inFlight;
    if (this.#o.behaviour.session === "persistent") {
      for (const [messageId, flight] of before) {
        if (flight.stage === "release") {
          flight.atMs = this.#o.elapsedMs();
          this.#release(client, messageId);
        } else this.#send(flight, messageId, true);
      }
    } else {
      // The other side has forgotten the packet ids. What it has answered for with PUBREC is done; the rest
      // is published anew, in the same order, ahead of everything younger.
      this.#inFlight = new Map();
      const again = [...before.values()].filter((flight) => flight.stage === "publish");
      this.#outbox.unshift(...again);
    }
    this.#pump();
  }

  #pump(): void {
    while (this.#up && this.#outbox.length > 0 && this.#inFlight.size < this.#o.behaviour.inFlightMax) {
      const flight = this.#outbox.shift()!;
      if (flight.sent.qos === 0) {
        this.#client!.sendPublish({
          topic: flight.sent.topic,
          payload: flight.payload,
          retain: flight.sent.retain,
        });
        this.#onWire(flight, false, 0);
        this.#keepForAgain(flight);
        if (flight.mishaps.republish) this.#outbox.push({ ...flight, mishaps: NO_MISHAPS });
        continue;
      }
      const messageId = this.#freePacketId();
      this.#inFlight.set(messageId, flight);
      this.#send(flight, messageId, false);
      if (flight.mishaps.dup) {
        flight.mishaps = { ...flight.mishaps, dup: false };
        this.#send(flight, messageId, true, 2);
      }
    }
    if (this.idle) for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  #send(flight: Flight, messageId: number, dup: boolean, answersDue = 1): void {
    const { topic, qos, retain } = flight.sent;
    flight.answersDue = answersDue;
    flight.atMs = this.#o.elapsedMs();
    this.#client!.sendPublish({ topic, payload: flight.payload, qos, retain, dup, messageId });
    this.#onWire(flight, dup, messageId);
  }

  #onWire({ sent, payload }: Flight, dup: boolean, packetId: number): void {
    this.#o.ledger.onWire(sent, this.#o.elapsedMs());
    this.#o.onWire?.(sent, payload);
    this.#trace({ do: "publish", sent, payload, dup, packetId });
  }

  #release(client: RawMqttClient, messageId: number): void {
    client.write({ cmd: "pubrel", messageId });
    this.#trace({ do: "release", packetId: messageId });
  }

  #keepForAgain(flight: Flight): void {
    const { keeps = 0 } = this.#o;
    if (keeps === 0) return;
    this.#kept.push(flight);
    if (this.#kept.length > keeps) this.#kept.shift();
  }

  #freePacketId(): number {
    do this.#packetId = (this.#packetId % 65_535) + 1;
    while (this.#inFlight.has(this.#packetId));
    return this.#packetId;
  }

  #received(client: RawMqttClient, packet: Packet): void {
    // What else stands in the bytes behind which the machine has hung up is not read any more.
    if (client !== this.#client || !this.#up) return;
    const messageId = packet.messageId ?? 0;
    if (packet.cmd === "puback" || packet.cmd === "pubrec" || packet.cmd === "pubcomp") {
      this.#trace({ do: "answer", cmd: packet.cmd, packetId: messageId });
    }
    const flight = this.#inFlight.get(messageId);
    if (!flight) return;
    if (packet.cmd === "puback" || packet.cmd === "pubrec")
      this.#answered(client, messageId, flight, packet.cmd);
    if (packet.cmd === "pubcomp" && flight.stage === "release") {
      this.#inFlight.delete(messageId);
      this.#pump();
    }
  }

  #answered(client: RawMqttClient, messageId: number, flight: Flight, cmd: "puback" | "pubrec"): void {
    if (flight.stage === "release") return;
    // The ledger is told even where the machine shall not know: the gateway has promised.
    this.#o.ledger.onAck(flight.sent, this.#o.elapsedMs());
    if (flight.mishaps.loseAck) {
      flight.mishaps = { ...flight.mishaps, loseAck: false };
      this.cut();
      return;
    }
    if (--flight.answersDue > 0) return;
    if (cmd === "puback") {
      this.#inFlight.delete(messageId);
    } else {
      flight.stage = "release";
      if (flight.mishaps.withholdPubrel) this.cut();
      else this.#release(client, messageId);
    }
    this.#keepForAgain(flight);
    if (flight.mishaps.republish) this.#outbox.push({ ...flight, stage: "publish", mishaps: NO_MISHAPS });
    this.#pump();
  }

  #checkAckTimeout(): void {
    if (!this.#up) return;
    const oldest = Math.min(...[...this.#inFlight.values()].map((flight) => flight.atMs));
    if (this.#o.elapsedMs() - oldest > this.#o.behaviour.ackTimeout) this.cut();
  }
}
