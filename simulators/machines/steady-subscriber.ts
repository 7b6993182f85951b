/**
 * A subscriber with a persistent session that comes back whenever its connection breaks, and keeps to the protocol:
 * it acknowledges what it gets, and takes a QoS 2 message once however often it is sent [MQTT-4.3.3-2].
 */
import type { Packet, QoS } from "mqtt-packet";
import { type Clock, sleep } from "../../src/core/clock.ts";
import type { OracleArrival } from "../oracle.ts";
import { RawMqttClient } from "./raw-mqtt-client.ts";

const RETRY_MS = 30;
const CONNECT_MS_MAX = 5_000;

export interface SubscriberOptions {
  readonly clientId: string;
  readonly filter: string;
  readonly qos: QoS;
  /** Where the gateway listens; asked at each connect, null while it is down. */
  readonly address: () => { readonly host: string; readonly port: number } | null;
  readonly clock: Clock;
}

export class SteadySubscriber {
  readonly #o: SubscriberOptions;
  readonly #received: OracleArrival[] = [];
  /** Packet ids between PUBLISH and PUBREL: part of its session, so they outlive its connections. */
  readonly #held = new Set<number>();
  readonly #stopping = new AbortController();
  #client: RawMqttClient | null = null;

  private constructor(options: SubscriberOptions) {
    this.#o = options;
  }

  /** Resolves when the gateway has taken its subscription. */
  static async start(options: SubscriberOptions): Promise<SteadySubscriber> {
    const subscriber = new SteadySubscriber(options);
    const client = await subscriber.#connect();
    await client.subscribe(options.filter, options.qos);
    void subscriber.#run();
    return subscriber;
  }

  /** Every message that it took, in order. */
  arrivals(): readonly OracleArrival[] {
    return this.#received;
  }

  stop(): void {
    this.#stopping.abort();
    this.#client?.destroy();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#client?.closed;
      await sleep(this.#o.clock, RETRY_MS, signal);
      if (!signal.aborted) await this.#connect().catch(() => {});
    }
  }

  async #connect(): Promise<RawMqttClient> {
    const { clientId, address, clock } = this.#o;
    const door = address();
    if (!door) throw new Error("the gateway is down");
    const { host, port } = door;
    const onPacket = (packet: Packet) => this.#take(packet);
    const client = RawMqttClient.open({ host, port, answer: "received", onPacket, clock });
    this.#client = client;
    await client.connect({ clientId, clean: false }, CONNECT_MS_MAX).catch((error) => {
      client.destroy();
      throw error;
    });
    return client;
  }

  #take(packet: Packet): void {
    if (packet.cmd === "pubrel") this.#held.delete(packet.messageId!);
    if (packet.cmd !== "publish") return;
    if (packet.qos === 2 && this.#held.has(packet.messageId!)) return;
    if (packet.qos === 2) this.#held.add(packet.messageId!);
    this.#received.push({ topic: packet.topic, payload: packet.payload, effect: true });
  }
}
