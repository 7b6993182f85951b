/** A client with a persistent session that listens to everything, goes away and comes back. */
import type { Packet } from "mqtt-packet";
import type { Random } from "../../../src/core/random.ts";
import type { SimNetwork } from "./sim-network.ts";
import type { VirtualTime } from "./virtual-time.ts";
import { WirePeer } from "./wire-peer.ts";

const BACKOFF_MS_MAX = 1500;
const CONNECT_WITHIN_MS = 4000;
const KEEPALIVE_S = 10;
const WATCH_EVERY_MS = 2000;
const SILENT_MS_MAX = 6000;

export class SimSubscriber {
  readonly name: string;
  readonly qos: 1 | 2;
  /** Payloads in the order in which they came; under QoS 2 without those that its packet id makes recognisable. */
  readonly received: string[] = [];
  /** When it was told that it is subscribed; from then on everything is owed to it. */
  subscribedAtMs: number | null = null;
  readonly #time: VirtualTime;
  readonly #network: SimNetwork;
  readonly #random: Random;
  readonly #halfReceived = new Set<number>();
  #peer: WirePeer | null = null;
  #up = false;
  #heardAtMs = 0;
  #attempt = 0;
  #stopped = false;

  constructor(name: string, qos: 1 | 2, time: VirtualTime, network: SimNetwork, random: Random) {
    this.name = name;
    this.qos = qos;
    this.#time = time;
    this.#network = network;
    this.#random = random;
  }

  get up(): boolean {
    return this.#up;
  }

  start(): void {
    this.#connect();
    this.#watch();
  }

  cut(): void {
    this.#peer?.drop();
    this.#lost();
  }

  stop(): void {
    this.#stopped = true;
    this.#peer?.drop();
  }

  #connect(): void {
    const attempt = ++this.#attempt;
    const mine = () => attempt === this.#attempt && !this.#stopped;
    const stream = this.#network.connect(this.name, "gateway");
    const peer = new WirePeer(
      stream,
      (packet) => mine() && this.#take(packet),
      () => mine() && this.#lost(),
    );
    this.#peer = peer;
    stream.on("connect", () => {
      peer.send({
        cmd: "connect",
        clientId: this.name,
        clean: false,
        protocolId: "MQTT",
        protocolVersion: 4,
        keepalive: KEEPALIVE_S,
      });
    });
    this.#time.after(CONNECT_WITHIN_MS, () => {
      if (mine() && !this.#up) this.cut();
    });
  }

  #lost(): void {
    if (this.#stopped) return;
    this.#up = false;
    this.#attempt++;
    this.#time.after(10 + this.#random.below(BACKOFF_MS_MAX), () => {
      if (!this.#stopped) this.#connect();
    });
  }

  #take(packet: Packet): void {
    this.#heardAtMs = this.#time.monoMs();
    const peer = this.#peer!;
    if (packet.cmd === "connack") {
      if (packet.returnCode !== 0) {
        this.cut();
        return;
      }
      if (!packet.sessionPresent) this.#halfReceived.clear();
      this.#up = true;
      if (this.subscribedAtMs !== null) return;
      const subscriptions = [{ topic: "#", qos: this.qos }];
      peer.send({ cmd: "subscribe", messageId: 1, subscriptions });
    } else if (packet.cmd === "suback") {
      this.subscribedAtMs ??= this.#time.monoMs();
    } else if (packet.cmd === "publish") {
      const { messageId, payload, qos } = packet;
      if (qos === 2) {
        if (!this.#halfReceived.has(messageId!)) this.received.push(String(payload));
        this.#halfReceived.add(messageId!);
        peer.send({ cmd: "pubrec", messageId: messageId! });
      } else {
        this.received.push(String(payload));
        if (qos === 1) peer.send({ cmd: "puback", messageId: messageId! });
      }
    } else if (packet.cmd === "pubrel") {
      this.#halfReceived.delete(packet.messageId!);
      peer.send({ cmd: "pubcomp", messageId: packet.messageId! });
    }
  }

  /** Gives up a connection on which nothing was heard for long, and asks before that. */
  #watch(): void {
    this.#time.after(WATCH_EVERY_MS, () => {
      if (this.#stopped) return;
      const silentMs = this.#time.monoMs() - this.#heardAtMs;
      if (this.#up && silentMs > SILENT_MS_MAX) this.cut();
      else if (this.#up && silentMs >= WATCH_EVERY_MS) this.#peer!.send({ cmd: "pingreq" });
      this.#watch();
    });
  }
}
