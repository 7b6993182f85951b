/**
 * The load generator: a process of its own that keeps `inFlight` QoS 1 messages of each client in the air and
 * counts their PUBACKs. Packets are prepared once and written as bytes, so that it is not the bottleneck.
 *
 * Argument: JSON LoadOptions. Prints one JSON LoadResult.
 */
import { connect, type Socket } from "node:net";
import { connectPacket, frameReader, PACKET, publishTemplate } from "./wire.ts";

export interface LoadOptions {
  readonly port: number;
  readonly clients: number;
  readonly inFlight: number;
  readonly payloadBytes: number;
  /** Stops after this long, or… */
  readonly seconds: number;
  /** …after this many messages in all, 0 for no such limit. */
  readonly messages: number;
  /** In all, evenly; 0 or left out for as fast as the acknowledgements come. */
  readonly messagesPerSecond?: number;
}

export interface LoadResult {
  readonly acks: number;
  readonly seconds: number;
  readonly acksPerSecond: number;
  /** ms from write to PUBACK. */
  readonly p50: number;
  readonly p99: number;
}

const PACE_MS = 2;

class Client {
  readonly #socket: Socket;
  readonly #options: LoadOptions;
  readonly #template: { bytes: Buffer; idAt: number };
  readonly #sentAt = new Float64Array(65_536);
  readonly #latencies: number[];
  readonly #budget: { left: number };
  #nextId = 0;
  #open = 0;
  acks = 0;
  stopping = false;
  onIdle: () => void = () => {};

  constructor(
    socket: Socket,
    name: string,
    options: LoadOptions,
    latencies: number[],
    budget: { left: number },
  ) {
    this.#socket = socket;
    this.#options = options;
    this.#latencies = latencies;
    this.#budget = budget;
    this.#template = publishTemplate(`bench/${name}/value`, Buffer.alloc(options.payloadBytes, "x"));
  }

  /** Fills the window in one write. */
  fill(): void {
    const count = Math.min(this.#options.inFlight - this.#open, this.#budget.left);
    if (this.stopping || count <= 0) {
      // Between two that are due at their time there is nothing to do, and it is not over.
      if (this.#open === 0 && (this.stopping || !this.#options.messagesPerSecond)) this.onIdle();
      return;
    }
    const { bytes, idAt } = this.#template;
    const out = Buffer.allocUnsafe(bytes.length * count);
    const now = performance.now();
    for (let i = 0; i < count; i++) {
      this.#nextId = (this.#nextId % 65_535) + 1;
      bytes.copy(out, i * bytes.length);
      out.writeUInt16BE(this.#nextId, i * bytes.length + idAt);
      this.#sentAt[this.#nextId] = now;
    }
    this.#open += count;
    this.#budget.left -= count;
    this.#socket.write(out);
  }

  acked(packetId: number, now: number): void {
    this.acks += 1;
    this.#open -= 1;
    this.#latencies.push(now - this.#sentAt[packetId]!);
  }
}

async function openClient(
  at: number,
  options: LoadOptions,
  latencies: number[],
  budget: { left: number },
): Promise<Client> {
  const name = `bench-${process.pid}-${at}`;
  const socket = connect(options.port, "127.0.0.1");
  socket.setNoDelay(true);
  const client = new Client(socket, name, options, latencies, budget);
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.write(connectPacket(name));
    const read = frameReader((type, _flags, body) => {
      if (type === PACKET.puback) client.acked(body.readUInt16BE(0), performance.now());
      else if (type === PACKET.connack) resolve();
    });
    socket.on("data", (chunk: Buffer) => {
      read(chunk);
      client.fill();
    });
  });
  return client;
}

async function load(options: LoadOptions): Promise<LoadResult> {
  const latencies: number[] = [];
  const budget = { left: options.messagesPerSecond ? 0 : options.messages || Number.POSITIVE_INFINITY };
  const clients = await Promise.all(
    Array.from({ length: options.clients }, (_, at) => openClient(at, options, latencies, budget)),
  );
  const beganMs = performance.now();
  const idle = clients.map((client) => new Promise<void>((resolve) => (client.onIdle = resolve)));
  const stop = setTimeout(() => {
    for (const client of clients) client.stopping = true;
  }, options.seconds * 1000);
  if (options.messagesPerSecond) pace(clients, options.messagesPerSecond, budget);
  else for (const client of clients) client.fill();
  await Promise.all(idle);
  clearTimeout(stop);
  const seconds = (performance.now() - beganMs) / 1000;
  const acks = clients.reduce((sum, client) => sum + client.acks, 0);
  const sorted = Float64Array.from(latencies).sort();
  const quantile = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
  return { acks, seconds, acksPerSecond: acks / seconds, p50: quantile(0.5), p99: quantile(0.99) };
}

/** Lets one after the other send what is due by now. */
function pace(clients: readonly Client[], perSecond: number, budget: { left: number }): void {
  const beganMs = performance.now();
  let sent = 0;
  const turn = setInterval(() => {
    if (clients[0]!.stopping) {
      budget.left = 0;
      clearInterval(turn);
      for (const client of clients) client.fill();
      return;
    }
    for (const due = ((performance.now() - beganMs) / 1000) * perSecond; sent < due; sent++) {
      budget.left = 1;
      clients[sent % clients.length]!.fill();
    }
  }, PACE_MS);
}

const result = await load(JSON.parse(process.argv[2]!));
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit(0);
