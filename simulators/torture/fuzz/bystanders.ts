/** A device and a subscriber that do nothing wrong while others do. What one sends the other must get, as it was. */
import { type Clock, sleep } from "../../../src/core/clock.ts";
import { RawMqttClient } from "../../machines/raw-mqtt-client.ts";

const EVERY_MS = 20;
const WAIT_MS = 30_000;
/** No other topic is within a few changed bits of it. */
const TOPIC = "bystander/7f3a9c/reading";

export class Bystanders {
  readonly #options: { readonly port: number; readonly clock: Clock };
  readonly #over = new AbortController();
  readonly #sent = new Set<string>();
  readonly #got: string[] = [];
  #device!: RawMqttClient;
  #subscriber!: RawMqttClient;
  #running: Promise<void> = Promise.resolve();
  readonly #findings: string[] = [];

  constructor(options: { readonly port: number; readonly clock: Clock }) {
    this.#options = options;
  }

  /** True for a message that is the device's own. */
  knows(topic: string, payload: string): boolean {
    return topic === TOPIC && this.#sent.has(payload);
  }

  async start(): Promise<void> {
    const { port, clock } = this.#options;
    this.#subscriber = await RawMqttClient.connect(
      {
        port,
        clock,
        clientId: "bystander-subscriber",
        answer: "received",
        onPacket: (packet) => {
          if (packet.cmd === "publish") this.#got.push(String(packet.payload));
        },
      },
      WAIT_MS,
    );
    await this.#subscriber.subscribe(TOPIC, 1, WAIT_MS);
    this.#device = await RawMqttClient.connect({ port, clock, clientId: "bystander-device" }, WAIT_MS);
    this.#running = this.#publish();
  }

  async #publish(): Promise<void> {
    const { clock } = this.#options;
    try {
      for (let n = 1; !this.#over.signal.aborted; n++) {
        const payload = `~bystander ${n} ü`;
        this.#sent.add(payload);
        await this.#device.publish({ topic: TOPIC, payload, qos: n % 2 ? 1 : 2 }, WAIT_MS);
        await sleep(clock, EVERY_MS, this.#over.signal);
      }
    } catch (error) {
      this.#findings.push(`the device beside was not served: ${(error as Error).message}`);
    }
  }

  /** What went wrong, in sentences. */
  async end(): Promise<string[]> {
    this.#over.abort();
    await this.#running;
    const { clock } = this.#options;
    const untilMs = clock.monoMs() + WAIT_MS;
    while (this.#got.length < this.#sent.size && this.#subscriber.connected && clock.monoMs() < untilMs) {
      await sleep(clock, 10);
    }
    const sent = [...this.#sent];
    const missing = sent.filter((payload) => !this.#got.includes(payload));
    const strange = this.#got.filter((payload) => !this.#sent.has(payload));
    if (missing.length > 0)
      this.#findings.push(`the subscriber beside misses ${missing.length} messages: ${missing[0]}`);
    if (strange.length > 0) this.#findings.push(`the subscriber beside got what was not sent: ${strange[0]}`);
    if (missing.length + strange.length === 0 && String(this.#got) !== String(sent)) {
      this.#findings.push("the subscriber beside got messages twice or out of order");
    }
    await Promise.all([this.#device.disconnect(), this.#subscriber.disconnect()]);
    return this.#findings;
  }
}
