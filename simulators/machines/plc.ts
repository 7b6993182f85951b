/**
 * A Modbus PLC with one or more units, over TCP; with `framing: "rtu"` the same bytes as on a serial bus, to be
 * joined to a pty by whoever needs one. Each unit runs a process of its own, and has faults that are switched on
 * and off while it runs. It writes down what it was asked.
 */
import { createServer, type Server, type Socket } from "node:net";
import { type Clock, sleep, systemClock, type Timer } from "../../src/core/clock.ts";
import { seededRandom } from "../../src/core/random.ts";
import { type Frame, mbap, rtu } from "./modbus-frames.ts";
import { exception, PlcUnit } from "./plc-unit.ts";
import { ProcessModel } from "./process-model.ts";

export type PlcFault =
  | { readonly kind: "none" }
  | { readonly kind: "exception"; readonly code: number }
  /** Takes the request and says nothing. */
  | { readonly kind: "silence" }
  | { readonly kind: "slow"; readonly ms: number }
  /** A wrong checksum (RTU), or another unit's answer (TCP). */
  | { readonly kind: "spoilt" }
  /** Noise instead of an answer. */
  | { readonly kind: "garbage" }
  /** Ends the connection instead of answering. */
  | { readonly kind: "hang-up" };

export interface PlcOptions {
  /** Default: 1 alone. */
  readonly units?: readonly number[];
  readonly framing?: "tcp" | "rtu";
  readonly host?: string;
  readonly port?: number;
  readonly seed?: number;
  readonly clock?: Clock;
}

export interface Asked {
  readonly unit: number;
  readonly code: number;
  readonly address: number;
  readonly count: number;
  /** Mono ms. */
  readonly atMs: number;
}

const STEP_MS = 100;
const ASKED_KEPT = 10_000;
const NOISE_BYTES = 64;

export class Plc {
  readonly asked: Asked[] = [];
  /** Requests that came while another was not answered yet: on a serial bus, a collision. */
  collisions = 0;
  connections = 0;
  readonly #options: PlcOptions;
  readonly #clock: Clock;
  readonly #units = new Map<number, PlcUnit>();
  readonly #faults = new Map<number, PlcFault>();
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  #port: number;
  #timer: Timer | null = null;
  #steppedAtMs = 0;
  #open = 0;

  constructor(options: PlcOptions = {}) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#port = options.port ?? 0;
    for (const unit of options.units ?? [1]) {
      const model = new ProcessModel(seededRandom((options.seed ?? 1) + unit));
      this.#units.set(unit, new PlcUnit(model, `PLC-${unit}`));
    }
  }

  get port(): number {
    return this.#port;
  }

  model(unit = 1): ProcessModel {
    return this.#units.get(unit)!.model;
  }

  setFault(fault: PlcFault, unit = 1): void {
    this.#faults.set(unit, fault);
  }

  async start(): Promise<this> {
    const server = createServer((socket) => this.#serve(socket));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, this.#options.host ?? "127.0.0.1", resolve);
    });
    // The same one after a restart.
    this.#port = (server.address() as { port: number }).port;
    this.#steppedAtMs = this.#clock.monoMs();
    this.#step();
    return this;
  }

  /** As a PLC does that keeps idle clients for a while only. */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Off: nothing listens any more. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    const server = this.#server;
    this.#server = null;
    this.dropConnections();
    if (server) await new Promise((resolve) => server.close(resolve));
  }

  /** Off and on: counters begin anew, connections are gone. */
  async restart(): Promise<void> {
    await this.stop();
    for (const { model } of this.#units.values()) model.restart();
    await this.start();
  }

  #step(): void {
    const nowMs = this.#clock.monoMs();
    for (const { model } of this.#units.values()) model.step(nowMs - this.#steppedAtMs);
    this.#steppedAtMs = nowMs;
    this.#timer = this.#clock.after(STEP_MS, () => this.#step());
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    this.connections += 1;
    const framing = this.#options.framing === "rtu" ? rtu : mbap;
    let received: Buffer = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("data", (data: Buffer) => {
      received = Buffer.concat([received, data]);
      for (let taken = framing.take(received); taken; taken = framing.take(received)) {
        received = taken.rest;
        if (taken.frame) void this.#handle(socket, taken.frame);
      }
    });
  }

  async #handle(socket: Socket, frame: Frame): Promise<void> {
    const framing = this.#options.framing === "rtu" ? rtu : mbap;
    const { unit, pdu } = frame;
    this.#note(frame);
    const plc = this.#units.get(unit);
    const fault = this.#faults.get(unit) ?? { kind: "none" };
    if (!plc || fault.kind === "silence") return;
    if (this.#open > 0) this.collisions += 1;
    this.#open += 1;
    if (fault.kind === "slow") await sleep(this.#clock, fault.ms);
    this.#open -= 1;
    if (fault.kind === "hang-up") socket.destroy();
    else if (fault.kind === "garbage") socket.write(noise(unit));
    else if (fault.kind === "exception") {
      socket.write(framing.wrap({ ...frame, pdu: exception(pdu[0]!, fault.code) }));
    } else {
      const answer = { ...frame, pdu: plc.answer(pdu) };
      socket.write(fault.kind === "spoilt" ? framing.spoil(answer) : framing.wrap(answer));
    }
  }

  #note({ unit, pdu }: Frame): void {
    const [address, count] = pdu.length >= 5 ? [pdu.readUInt16BE(1), pdu.readUInt16BE(3)] : [0, 0];
    this.asked.push({ unit, code: pdu[0] ?? 0, address, count, atMs: this.#clock.monoMs() });
    if (this.asked.length > ASKED_KEPT) this.asked.shift();
  }
}

/** As from a cable beside a drive: repeatable, and now and then it looks like the beginning of an answer. */
function noise(unit: number): Buffer {
  const bytes = Buffer.alloc(NOISE_BYTES);
  seededRandom(unit).fill(bytes);
  for (const at of [7, 40]) bytes.set([unit, 3], at);
  return bytes;
}
