/**
 * An MQTT client without manners: it sends exactly the packets it is told to, in any state, and shows every
 * packet that comes back. A well-behaved client library hides what a gateway must survive: a PUBLISH sent
 * twice with DUP, a PUBREL that never comes, a packet id used again after a reconnect, a reader that stops
 * reading, half a CONNECT, a packet that is no packet. This one does them all, and does the decent
 * handshakes as well, because it also stands under the simulated machines and the load generator.
 *
 * Nothing is automatic unless `answer` says so, and nothing is retried.
 */
import net from "node:net";
import type { Duplex } from "node:stream";
import type {
  IConnackPacket,
  IConnectPacket,
  IPublishPacket,
  ISubackPacket,
  Packet,
  PacketCmd,
  QoS,
} from "mqtt-packet";
import { generate, parser } from "mqtt-packet";
import { type Clock, systemClock } from "../../src/core/clock.ts";

/** How long a wait for a packet lasts where the caller does not say. */
const WAIT_MS = 5_000;

export interface RawMqttOptions {
  /** 127.0.0.1 where left out. */
  readonly host?: string;
  readonly port?: number;
  /** A stream to use in place of a TCP connection to host and port: TLS, WebSocket, a pipe. */
  readonly stream?: Duplex;
  /** 4 (MQTT 3.1.1) where left out. */
  readonly protocolVersion?: 3 | 4 | 5;
  /**
   * Which half of the handshakes it does by itself for packets that arrive:
   * - nothing (default): the caller answers, or withholds;
   * - received: PUBACK, PUBREC and PUBCOMP for what it receives as a subscriber;
   * - all: those, and PUBREL for each PUBREC.
   */
  readonly answer?: "nothing" | "received" | "all";
  /**
   * Gets every packet as it arrives, in place of the inbox that `take` reads; for load, where keeping each
   * packet would cost more than sending it.
   */
  readonly onPacket?: (packet: Packet) => void;
  readonly clock?: Clock;
}

export interface RawConnectOptions extends RawMqttOptions {
  readonly clientId: string;
  /** True where left out. */
  readonly clean?: boolean;
  /** Seconds; 0, no keep-alive, where left out. */
  readonly keepalive?: number;
  readonly username?: string;
  readonly password?: string;
  readonly will?: IConnectPacket["will"];
  readonly properties?: IConnectPacket["properties"];
}

export interface RawPublish {
  readonly topic: string;
  readonly payload: string | Buffer;
  readonly qos?: QoS;
  readonly retain?: boolean;
  readonly dup?: boolean;
  /** Taken from the client's own counter where left out. */
  readonly messageId?: number;
  readonly properties?: IPublishPacket["properties"];
}

type Match = PacketCmd | ((packet: Packet) => boolean);

interface Waiter {
  readonly match: (packet: Packet) => boolean;
  readonly resolve: (packet: Packet) => void;
  readonly reject: (error: Error) => void;
}

export class RawMqttClient {
  /** Resolves when the connection is gone, with the error that ended it, if any. Never rejects. */
  readonly closed: Promise<Error | null>;
  /** The broker's answer to CONNECT, once there. */
  connack: IConnackPacket | null = null;

  readonly #stream: Duplex;
  readonly #options: RawMqttOptions;
  readonly #clock: Clock;
  readonly #inbox: Packet[] = [];
  readonly #waiters = new Set<Waiter>();
  #packetId = 0;
  #gone = false;

  private constructor(options: RawMqttOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#stream =
      options.stream ??
      net.connect({ host: options.host ?? "127.0.0.1", port: options.port!, noDelay: true });
    const parse = parser({ protocolVersion: options.protocolVersion ?? 4 });
    let failure: Error | null = null;
    parse.on("packet", (packet) => this.#received(packet));
    parse.on("error", (error: Error) => {
      failure ??= error;
      this.#stream.destroy();
    });
    this.#stream.on("data", (bytes: Buffer) => parse.parse(bytes));
    this.#stream.on("error", (error) => {
      failure ??= error;
    });
    this.closed = new Promise((resolve) => {
      this.#stream.once("close", () => {
        this.#gone = true;
        const error = failure ?? new Error("the connection was closed");
        for (const waiter of this.#waiters) waiter.reject(error);
        this.#waiters.clear();
        resolve(failure);
      });
    });
  }

  /** Opens the connection and sends nothing: what happens before CONNECT is the caller's. */
  static open(options: RawMqttOptions): RawMqttClient {
    return new RawMqttClient(options);
  }

  /** Opens the connection, sends CONNECT and waits for CONNACK. Rejects where the broker refuses. */
  static async connect(options: RawConnectOptions, timeoutMs = WAIT_MS): Promise<RawMqttClient> {
    const client = new RawMqttClient(options);
    try {
      await client.connect(options, timeoutMs);
    } catch (error) {
      client.destroy();
      throw error;
    }
    return client;
  }

  async connect(options: RawConnectOptions, timeoutMs = WAIT_MS): Promise<IConnackPacket> {
    this.write(connectPacket(options));
    const connack = await this.take("connack", timeoutMs);
    this.connack = connack as IConnackPacket;
    const code = this.connack.reasonCode ?? this.connack.returnCode ?? 0;
    if (code !== 0) throw new Error(`the broker refused CONNECT with code ${code}`);
    return this.connack;
  }

  get connected(): boolean {
    return !this.#gone;
  }

  /** True while what was written has not left this process: stop writing until `drained`. */
  get congested(): boolean {
    return this.#stream.writableNeedDrain;
  }

  drained(): Promise<void> {
    if (!this.congested || this.#gone) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        this.#stream.off("drain", done);
        this.#stream.off("close", done);
        resolve();
      };
      this.#stream.on("drain", done);
      this.#stream.on("close", done);
    });
  }

  /** Sends one packet as it is given, whether the protocol allows it now or not. */
  write(packet: Packet): void {
    this.writeBytes(generate(packet, { protocolVersion: this.#options.protocolVersion ?? 4 }));
  }

  /** Sends bytes that need not be a packet. */
  writeBytes(bytes: Uint8Array): void {
    if (!this.#gone) this.#stream.write(bytes);
  }

  /**
   * The oldest packet that arrived, was not taken yet and matches; waits for one where there is none.
   * Rejects after `timeoutMs`, and when the connection ends. Not for a client with `onPacket`, which sees
   * only what this has not been waiting for.
   */
  take(match: Match, timeoutMs = WAIT_MS): Promise<Packet> {
    const fits = typeof match === "string" ? (packet: Packet) => packet.cmd === match : match;
    const at = this.#inbox.findIndex(fits);
    if (at >= 0) return Promise.resolve(this.#inbox.splice(at, 1)[0]!);
    if (this.#gone) return Promise.reject(new Error("the connection is closed"));
    return new Promise((resolve, reject) => {
      const what = typeof match === "string" ? match.toUpperCase() : "matching packet";
      const timer = this.#clock.after(timeoutMs, () => {
        this.#waiters.delete(waiter);
        reject(new Error(`no ${what} within ${timeoutMs} ms`));
      });
      const waiter: Waiter = {
        match: fits,
        resolve: (packet) => {
          timer.cancel();
          resolve(packet);
        },
        reject: (error) => {
          timer.cancel();
          reject(error);
        },
      };
      this.#waiters.add(waiter);
    });
  }

  /** Packets that arrived and were not taken. */
  untaken(): readonly Packet[] {
    return this.#inbox;
  }

  /** The next packet id of this client's counter: 1 to 65535, round and round. */
  nextPacketId(): number {
    this.#packetId = (this.#packetId % 65_535) + 1;
    return this.#packetId;
  }

  /** Sends PUBLISH and returns its packet id (0 under QoS 0) without waiting for anything. */
  sendPublish(publish: RawPublish): number {
    const qos = publish.qos ?? 0;
    const messageId = qos === 0 ? 0 : (publish.messageId ?? this.nextPacketId());
    this.write({
      cmd: "publish",
      topic: publish.topic,
      payload: publish.payload,
      qos,
      retain: publish.retain ?? false,
      dup: publish.dup ?? false,
      ...(qos === 0 ? {} : { messageId }),
      ...(publish.properties ? { properties: publish.properties } : {}),
    });
    return messageId;
  }

  /** The whole handshake of its QoS; resolves with the packet id when the message is the broker's. */
  async publish(publish: RawPublish, timeoutMs = WAIT_MS): Promise<number> {
    const messageId = this.sendPublish(publish);
    const answers = (cmd: PacketCmd) => (packet: Packet) =>
      packet.cmd === cmd && packet.messageId === messageId;
    if (publish.qos === 1) await this.take(answers("puback"), timeoutMs);
    if (publish.qos === 2) {
      await this.take(answers("pubrec"), timeoutMs);
      if (this.#options.answer !== "all") this.write({ cmd: "pubrel", messageId });
      await this.take(answers("pubcomp"), timeoutMs);
    }
    return messageId;
  }

  async subscribe(filter: string, qos: QoS = 0, timeoutMs = WAIT_MS): Promise<ISubackPacket> {
    const messageId = this.nextPacketId();
    this.write({ cmd: "subscribe", messageId, subscriptions: [{ topic: filter, qos }] });
    const suback = await this.take((p) => p.cmd === "suback" && p.messageId === messageId, timeoutMs);
    return suback as ISubackPacket;
  }

  /** Stops reading from the socket: the subscriber that froze. */
  freeze(): void {
    this.#stream.pause();
  }

  thaw(): void {
    this.#stream.resume();
  }

  /** The decent end: DISCONNECT, so that the broker drops the will, then the connection closes. */
  async disconnect(): Promise<void> {
    this.write({ cmd: "disconnect" });
    await this.hangUp();
  }

  /** Ends the connection without DISCONNECT, after what was written; resolves when the other side has ended it too. */
  async hangUp(): Promise<void> {
    this.#stream.end();
    const timer = this.#clock.after(1_000, () => this.#stream.destroy());
    await this.closed;
    timer.cancel();
  }

  /** The power cut: the connection is gone without a word. With `reset`, by a TCP reset. */
  destroy(how: "close" | "reset" = "close"): void {
    if (how === "reset" && this.#stream instanceof net.Socket) this.#stream.resetAndDestroy();
    else this.#stream.destroy();
  }

  #received(packet: Packet): void {
    this.#answer(packet);
    for (const waiter of this.#waiters) {
      if (!waiter.match(packet)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(packet);
      return;
    }
    if (this.#options.onPacket) this.#options.onPacket(packet);
    else this.#inbox.push(packet);
  }

  #answer(packet: Packet): void {
    const { answer = "nothing" } = this.#options;
    if (answer === "nothing") return;
    const messageId = packet.messageId;
    if (packet.cmd === "publish" && packet.qos === 1) this.write({ cmd: "puback", messageId });
    else if (packet.cmd === "publish" && packet.qos === 2) this.write({ cmd: "pubrec", messageId });
    else if (packet.cmd === "pubrel") this.write({ cmd: "pubcomp", messageId });
    else if (packet.cmd === "pubrec" && answer === "all") this.write({ cmd: "pubrel", messageId });
  }
}

function connectPacket(options: RawConnectOptions): IConnectPacket {
  const version = options.protocolVersion ?? 4;
  return {
    cmd: "connect",
    protocolId: version === 3 ? "MQIsdp" : "MQTT",
    protocolVersion: version,
    clientId: options.clientId,
    clean: options.clean ?? true,
    keepalive: options.keepalive ?? 0,
    ...(options.username === undefined ? {} : { username: options.username }),
    ...(options.password === undefined ? {} : { password: Buffer.from(options.password) }),
    ...(options.will ? { will: options.will } : {}),
    ...(options.properties ? { properties: options.properties } : {}),
  };
}
