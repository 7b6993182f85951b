/**
 * An MQTT client that does exactly what it is told, packet by packet, and nothing by itself: no answers, no
 * pings, no reconnects. Waits are bounded.
 */
import { once } from "node:events";
import { connect as connectSocket, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import mqtt, { type IConnectPacket, type Packet } from "mqtt-packet";

const WAIT_MS = 5000;

export type Received = Packet & {
  messageId?: number;
  topic?: string;
  payload?: Buffer;
  returnCode?: number;
  sessionPresent?: boolean;
  granted?: (number | { qos: number })[];
  qos?: number;
  dup?: boolean;
  retain?: boolean;
};

export class WireClient {
  readonly stream: Duplex;
  /** All that came, in order. */
  readonly received: Received[] = [];
  #taken = 0;
  #wake: (() => void)[] = [];
  closed = false;

  constructor(stream: Duplex, protocolVersion: 3 | 4 | 5 = 4) {
    this.stream = stream;
    const parser = mqtt.parser({ protocolVersion });
    parser.on("packet", (packet: Packet) => {
      this.received.push(packet as Received);
      this.#notify();
    });
    parser.on("error", () => stream.destroy());
    stream.on("data", (chunk: Buffer) => parser.parse(chunk));
    stream.on("error", () => {});
    for (const event of ["end", "close"]) {
      stream.on(event, () => {
        this.closed = true;
        this.#notify();
      });
    }
  }

  static async open(port: number, host = "127.0.0.1"): Promise<WireClient> {
    const socket = connectSocket(port, host);
    await once(socket, "connect");
    return new WireClient(socket);
  }

  /** Opens, sends CONNECT and answers when CONNACK came. */
  static async connect(port: number, options: Partial<IConnectPacket> = {}): Promise<WireClient> {
    const client = await WireClient.open(port);
    await client.connect(options);
    return client;
  }

  async connect(options: Partial<IConnectPacket> = {}): Promise<Received> {
    this.send(connectPacket(options));
    return this.next("connack");
  }

  send(packet: Packet | Buffer): boolean {
    const bytes = Buffer.isBuffer(packet) ? packet : mqtt.generate(packet);
    return this.stream.write(bytes);
  }

  publish(
    topic: string,
    payload: string | Buffer,
    {
      qos = 0,
      id,
      dup = false,
      retain = false,
    }: { qos?: 0 | 1 | 2; id?: number; dup?: boolean; retain?: boolean } = {},
  ): void {
    this.send({ cmd: "publish", topic, payload, qos, messageId: id, dup, retain });
  }

  async subscribe(filter: string | string[], qos: 0 | 1 | 2 = 0, id = 1): Promise<Received> {
    const subscriptions = [filter].flat().map((topic) => ({ topic, qos }));
    this.send({ cmd: "subscribe", messageId: id, subscriptions });
    return this.next("suback");
  }

  /** A PING and its answer: everything sent before has been looked at. */
  async ping(): Promise<void> {
    this.send({ cmd: "pingreq" });
    await this.next("pingresp");
  }

  /** The next packet of this kind that has not been taken yet; others before it are skipped over. */
  async next(cmd: Packet["cmd"], ms = WAIT_MS): Promise<Received> {
    const deadline = performance.now() + ms;
    for (;;) {
      while (this.#taken < this.received.length) {
        const packet = this.received[this.#taken++]!;
        if (packet.cmd === cmd) return packet;
      }
      if (this.closed) throw new Error(`the connection was closed while waiting for ${cmd}`);
      await this.#change(deadline, `no ${cmd} came`);
    }
  }

  /** Resolves when the broker has closed the connection. */
  async untilClosed(ms = WAIT_MS): Promise<void> {
    const deadline = performance.now() + ms;
    while (!this.closed) await this.#change(deadline, "the connection was not closed");
  }

  of(cmd: Packet["cmd"]): Received[] {
    return this.received.filter((packet) => packet.cmd === cmd);
  }

  payloads(): string[] {
    return this.of("publish").map((packet) => packet.payload!.toString());
  }

  /** Resolves when `test` holds, looked at whenever something comes. */
  async until(test: () => boolean, ms = WAIT_MS): Promise<void> {
    const deadline = performance.now() + ms;
    while (!test()) await this.#change(deadline, "what was waited for did not happen");
  }

  /** As a cable that is cut: the broker sees a reset. */
  cut(): void {
    const socket = this.stream as Socket;
    if (typeof socket.resetAndDestroy === "function") socket.resetAndDestroy();
    else socket.destroy();
  }

  async disconnect(): Promise<void> {
    this.send({ cmd: "disconnect" });
    await this.untilClosed();
    this.stream.destroy();
  }

  #change(deadline: number, failure: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const left = deadline - performance.now();
      const timer = setTimeout(() => reject(new Error(`${failure} in time`)), Math.max(0, left));
      this.#wake.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const each of wake) each();
  }
}

export function connectPacket(options: Partial<IConnectPacket> = {}): Packet {
  return {
    cmd: "connect",
    protocolId: "MQTT",
    protocolVersion: 4,
    clean: true,
    keepalive: 60,
    clientId: "press-7",
    ...options,
  } as Packet;
}
