/**
 * A simulated machine that speaks MQTT 3.1.1, and meets the mishaps of that way. It does what clients in the field
 * do: with a persistent session its unanswered PUBLISH (with DUP=1) and PUBREL go out again in their order after a
 * reconnect [MQTT-4.4.0-1], also where CONNACK says that the broker has no session (aedes says so of each
 * client without subscriptions); with a clean session they go out again as new messages.
 *
 * States of the connection: down ──(backoff)──▶ connecting ──CONNACK──▶ up ──▶ down …; `stopped` is final.
 * States of a message on the way: publish (waits for PUBACK or PUBREC) ──PUBREC──▶ release (waits for
 * PUBCOMP); gone when answered.
 *
 * Its packet ids start at 1 again with each connection, as in a machine that was switched off and on: a
 * packet id by itself says nothing.
 */
import type { Packet } from "mqtt-packet";
import { type Kept, Machine } from "./machine.ts";
import type { WireEvent } from "./machine-options.ts";
import { RawMqttClient } from "./raw-mqtt-client.ts";

/** With a thousand machines at the door, the last one is let in after seconds. */
const CONNECT_MS_MAX = 10_000;

/** A message on the way. */
interface Flight {
  readonly kept: Kept;
  stage: "publish" | "release";
  /** PUBACKs or PUBRECs still to come on this connection: two where it was sent twice. */
  answersDue: number;
  atMs: number;
}

export class MqttMachine extends Machine {
  /** By packet id; a Map keeps them in the order in which they were first sent. */
  #inFlight = new Map<number, Flight>();
  #client: RawMqttClient | null = null;
  #up = false;
  #packetId = 0;

  override get up(): boolean {
    return this.#up;
  }

  override start(): void {
    super.start();
    this.every(Math.max(50, this.options.behaviour.ackTimeout / 4), () => this.#checkAckTimeout());
  }

  override cut(): void {
    this.#isDown("cut");
    this.#client?.destroy("reset");
  }

  override get idle(): boolean {
    return this.outbox.length === 0 && this.#inFlight.size === 0;
  }

  protected override async leave(): Promise<void> {
    const client = this.#client;
    if (client && this.#up) {
      this.#isDown("disconnect");
      await client.disconnect();
    } else client?.destroy();
    await client?.closed;
  }

  protected override connect(): void {
    // One that is still on its way out comes back by itself.
    if (this.#client || this.stopped || this.isOffline) return;
    const { behaviour, clock, address } = this.options;
    const client = RawMqttClient.open({
      ...address(),
      answer: "received",
      onPacket: (packet) => this.#received(client, packet),
      clock,
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
    if (this.stopped || this.isOffline) return;
    this.retryLater(() => this.connect());
  }

  #isDown(how: "cut" | "lost" | "disconnect"): void {
    if (this.#up) this.#trace({ do: "close", how });
    this.#up = false;
  }

  #trace(event: WireEvent): void {
    this.options.onTrace?.(this.device, event);
  }

  #resume(client: RawMqttClient): void {
    if (client !== this.#client || this.stopped) return;
    if (this.isOffline) {
      client.destroy("reset");
      return;
    }
    const { session, username } = this.options.behaviour;
    this.#trace({ do: "connect", clean: session === "clean", username });
    this.#up = true;
    this.succeeded();
    this.connects++;
    this.#packetId = 0;
    const before = this.#inFlight;
    if (session === "persistent") {
      for (const [messageId, flight] of before) {
        if (flight.stage === "release") {
          flight.atMs = this.options.elapsedMs();
          this.#release(client, messageId);
        } else this.#send(flight, messageId, true);
      }
    } else {
      // The other side has forgotten the packet ids. What it has answered for with PUBREC is done; the rest
      // is published anew, in the same order, ahead of everything younger.
      this.#inFlight = new Map();
      const again = [...before.values()].filter((flight) => flight.stage === "publish");
      this.outbox.unshift(...again.map(({ kept }) => kept));
    }
    this.pump();
  }

  protected override pump(): void {
    const { inFlightMax } = this.options.behaviour;
    while (this.#up && this.outbox.length > 0 && this.#inFlight.size < inFlightMax) {
      const kept = this.outbox.shift()!;
      if (kept.sent.qos === 0) {
        const { topic, retain } = kept.sent;
        this.#client!.sendPublish({ topic, payload: kept.payload, retain });
        this.#onWire(kept, false, 0);
        this.done(kept);
        continue;
      }
      const messageId = this.#freePacketId();
      const flight: Flight = { kept, stage: "publish", answersDue: 0, atMs: 0 };
      this.#inFlight.set(messageId, flight);
      this.#send(flight, messageId, false);
      if (kept.mishaps.dup) {
        kept.mishaps = { ...kept.mishaps, dup: false };
        this.#send(flight, messageId, true, 2);
      }
    }
    this.perhapsIdle();
  }

  #send(flight: Flight, messageId: number, dup: boolean, answersDue = 1): void {
    const { topic, qos, retain } = flight.kept.sent;
    flight.answersDue = answersDue;
    flight.atMs = this.options.elapsedMs();
    this.#client!.sendPublish({ topic, payload: flight.kept.payload, qos, retain, dup, messageId });
    this.#onWire(flight.kept, dup, messageId);
  }

  #onWire({ sent, payload }: Kept, dup: boolean, packetId: number): void {
    this.options.ledger.onWire(sent, this.options.elapsedMs());
    this.options.onWire?.(sent, payload);
    this.#trace({ do: "publish", sent, payload, dup, packetId });
  }

  #release(client: RawMqttClient, messageId: number): void {
    client.write({ cmd: "pubrel", messageId });
    this.#trace({ do: "release", packetId: messageId });
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
      this.pump();
    }
  }

  #answered(client: RawMqttClient, messageId: number, flight: Flight, cmd: "puback" | "pubrec"): void {
    if (flight.stage === "release") return;
    const { kept } = flight;
    // The ledger is told even where the machine shall not know: the gateway has promised.
    this.options.ledger.onAck(kept.sent, this.options.elapsedMs());
    if (kept.mishaps.loseAck) {
      kept.mishaps = { ...kept.mishaps, loseAck: false };
      this.cut();
      return;
    }
    if (--flight.answersDue > 0) return;
    if (cmd === "puback") {
      this.#inFlight.delete(messageId);
    } else {
      flight.stage = "release";
      if (kept.mishaps.withholdPubrel) this.cut();
      else this.#release(client, messageId);
    }
    this.done(kept);
    this.pump();
  }

  #checkAckTimeout(): void {
    if (!this.#up) return;
    const oldest = Math.min(...[...this.#inFlight.values()].map((flight) => flight.atMs));
    if (this.options.elapsedMs() - oldest > this.options.behaviour.ackTimeout) this.cut();
  }
}
