/**
 * A subscriber with a persistent session that comes back whenever its connection breaks, and keeps to the protocol:
 * it acknowledges what it gets, and takes a QoS 2 message once however often it is sent [MQTT-4.3.3-2].
 */
import type { Packet, QoS } from "mqtt-packet";
import { onTestFinished } from "vitest";
import type { GatewayProcess } from "../../simulators/gateway-process.ts";
import { RawMqttClient } from "../../simulators/machines/raw-mqtt-client.ts";
import type { OracleArrival } from "../../simulators/oracle.ts";

const RETRY_MS = 30;
const CONNECT_MS_MAX = 5_000;

export class SteadySubscriber {
  readonly #gateway: GatewayProcess;
  readonly #clientId: string;
  readonly #received: OracleArrival[] = [];
  /** Packet ids between PUBLISH and PUBREL: part of its session, so they outlive its connections. */
  readonly #held = new Set<number>();
  #client: RawMqttClient | null = null;
  #stopped = false;

  private constructor(gateway: GatewayProcess, clientId: string) {
    this.#gateway = gateway;
    this.#clientId = clientId;
  }

  /** Resolves when the gateway has taken its subscription. */
  static async start(
    gateway: GatewayProcess,
    clientId: string,
    filter: string,
    qos: QoS,
  ): Promise<SteadySubscriber> {
    const subscriber = new SteadySubscriber(gateway, clientId);
    onTestFinished(() => subscriber.stop());
    await (await subscriber.#connect()).subscribe(filter, qos);
    void subscriber.#run();
    return subscriber;
  }

  /** Every message that it took, in order. */
  arrivals(): readonly OracleArrival[] {
    return this.#received;
  }

  stop(): void {
    this.#stopped = true;
    this.#client?.destroy();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#client?.closed;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      await this.#connect().catch(() => {});
    }
  }

  async #connect(): Promise<RawMqttClient> {
    const { host = "127.0.0.1", port = 0 } = this.#gateway.address("tcp") ?? {};
    if (port === 0) throw new Error("the gateway is down");
    const client = RawMqttClient.open({
      host,
      port,
      answer: "received",
      onPacket: (packet) => this.#take(packet),
    });
    this.#client = client;
    await client.connect({ clientId: this.#clientId, clean: false }, CONNECT_MS_MAX).catch((error) => {
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
