/**
 * The machines that do nothing wrong, beside a crowd that does: devices that publish at an ordinary rate and wait
 * for their acknowledgements, subscribers that want every message, newcomers, and a person who looks at the
 * status page. What each of them had to wait is measured.
 */
import { connect } from "node:net";
import { type Clock, sleep } from "../../../src/core/clock.ts";
import { percentile } from "../../../src/core/percentile.ts";
import { askGateway } from "../../gateway-process.ts";
import { RawMqttClient } from "../../machines/raw-mqtt-client.ts";

const DEVICES = 5;
const EVERY_MS = 50;
/** Far beyond what is promised, so that slowness is measured rather than broken off. */
const WAIT_MS = 30_000;
const TOPIC = "healthy";

export interface WellBehavedOptions {
  readonly port: number;
  readonly httpUrl: string;
  readonly clock: Clock;
  /** 1 is everyday life. */
  readonly pace?: number;
}

export class WellBehaved {
  readonly #options: WellBehavedOptions;
  readonly #ackMs: number[] = [];
  readonly #enterMs: number[] = [];
  readonly #statusMs: number[] = [];
  readonly #seen = new Map<string, Map<string, number>>();
  readonly #arriveMs: number[] = [];
  readonly #sentAtMs = new Map<string, number>();
  readonly #clients: RawMqttClient[] = [];
  readonly #running: Promise<void>[] = [];
  readonly #over = new AbortController();
  /** Set when nobody has to stay connected any more. */
  readonly #left = new AbortController();
  /** What went wrong, in sentences. */
  readonly findings: string[] = [];

  constructor(options: WellBehavedOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    await this.#subscriber("panel", true);
    await this.#subscriber("historian", false);
    for (let n = 1; n <= DEVICES; n++) this.#running.push(this.#device(`press-${n}`));
    this.#running.push(this.#newcomers(), this.#looks());
  }

  /** Waits for what is under way, and then for what the subscribers are owed. */
  async end(): Promise<void> {
    this.#over.abort();
    await Promise.all(this.#running);
    const { clock } = this.#options;
    const untilMs = clock.monoMs() + WAIT_MS;
    const owed = () => [...this.#seen.values()].some((seen) => seen.size < this.#sentAtMs.size);
    while (owed() && clock.monoMs() < untilMs) await sleep(clock, 20);
    for (const [subscriber, seen] of this.#seen) {
      const missing = [...this.#sentAtMs.keys()].filter((id) => !seen.has(id));
      if (missing.length > 0) {
        this.findings.push(
          `${subscriber} did not get ${missing.length} acknowledged messages, ${missing[0]} first`,
        );
      }
      const doubled = [...seen.values()].filter((times) => times > 1).length;
      if (doubled > 0) this.findings.push(`${subscriber} got ${doubled} messages twice on one connection`);
    }
    this.#left.abort();
    for (const client of this.#clients) client.destroy();
  }

  figures() {
    const of = (values: number[], share: number) =>
      Math.round(
        percentile(
          values.toSorted((a, b) => a - b),
          share,
        ),
      );
    return {
      acked: this.#ackMs.length,
      ackP99Ms: of(this.#ackMs, 0.99),
      ackMaxMs: of(this.#ackMs, 1),
      arriveP99Ms: of(this.#arriveMs, 0.99),
      enterMaxMs: of(this.#enterMs, 1),
      newcomers: this.#enterMs.length,
      statusMaxMs: of(this.#statusMs, 1),
    };
  }

  async #client(clientId: string, clean: boolean, onPacket?: (packet: { cmd: string }) => void) {
    const { port, clock } = this.#options;
    const stream = connect({ port, host: "127.0.0.1", noDelay: true });
    const client = await RawMqttClient.connect(
      { stream, clientId, clean, keepalive: 5, answer: "received", clock, onPacket: onPacket as never },
      WAIT_MS,
    );
    this.#clients.push(client);
    // Quiet ones have to ping, as any client library does.
    void this.#pings(client);
    return client;
  }

  async #pings(client: RawMqttClient): Promise<void> {
    while (client.connected && !this.#left.signal.aborted) {
      client.write({ cmd: "pingreq" });
      await sleep(this.#options.clock, 2000, this.#left.signal);
    }
  }

  async #subscriber(name: string, clean: boolean): Promise<void> {
    const seen = new Map<string, number>();
    this.#seen.set(name, seen);
    const client = await this.#client(name, clean, (packet) => {
      if (packet.cmd !== "publish") return;
      const id = String((packet as unknown as { payload: Buffer }).payload);
      seen.set(id, (seen.get(id) ?? 0) + 1);
      const sentMs = this.#sentAtMs.get(id);
      if (sentMs !== undefined) this.#arriveMs.push(this.#options.clock.monoMs() - sentMs);
    });
    await client.subscribe(`${TOPIC}/#`, 1, WAIT_MS);
    void client.closed.then(() => {
      if (!this.#left.signal.aborted) this.findings.push(`${name}, who did nothing wrong, was disconnected`);
    });
  }

  /** One message after the other, each sent when its time has come and the one before is acknowledged. */
  async #device(name: string): Promise<void> {
    const { clock, pace = 1 } = this.#options;
    try {
      const client = await this.#client(name, false);
      for (let n = 1; !this.#over.signal.aborted; n++) {
        await this.#publish(client, name, n);
        await sleep(clock, EVERY_MS / pace, this.#over.signal);
      }
    } catch (error) {
      this.findings.push(`${name}, who did nothing wrong, was not served: ${(error as Error).message}`);
    }
  }

  async #publish(client: RawMqttClient, name: string, n: number): Promise<void> {
    const id = `${name}-${n}`;
    const sentMs = this.#options.clock.monoMs();
    this.#sentAtMs.set(id, sentMs);
    await client.publish({ topic: `${TOPIC}/${name}`, payload: id, qos: 1 }, WAIT_MS);
    this.#ackMs.push(this.#options.clock.monoMs() - sentMs);
  }

  /** A machine that is switched on meanwhile. */
  async #newcomers(): Promise<void> {
    const { clock } = this.#options;
    for (let n = 1; !this.#over.signal.aborted; n++) {
      const fromMs = clock.monoMs();
      const name = `newcomer-${n}`;
      try {
        const client = await this.#client(name, true);
        this.#enterMs.push(clock.monoMs() - fromMs);
        await this.#publish(client, name, 1);
        await client.disconnect();
      } catch (error) {
        this.findings.push(`${name}, who did nothing wrong, was not let in: ${(error as Error).message}`);
      }
      await sleep(clock, 400, this.#over.signal);
    }
  }

  async #looks(): Promise<void> {
    const { clock, httpUrl } = this.#options;
    while (!this.#over.signal.aborted) {
      const fromMs = clock.monoMs();
      const answer = await askGateway(httpUrl, "/v1/status");
      this.#statusMs.push(clock.monoMs() - fromMs);
      if (answer === null) this.findings.push("the gateway did not answer for its status");
      await sleep(clock, 700, this.#over.signal);
    }
  }
}
