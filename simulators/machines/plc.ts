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
  /** Ends the connection instead of answering, and does nothing of what it was asked. */
  | { readonly kind: "hang-up" }
  | WriteFault;

/** These are of writes alone: it is read as ever. */
type WriteFault =
  | { readonly kind: "write-exception"; readonly code: number }
  /** Does it, and the answer is lost. */
  | { readonly kind: "write-answer-lost" }
  /** Takes the request, does nothing of it, and says nothing. */
  | { readonly kind: "write-lost" }
  /** Says that it has done it, and does it later. */
  | { readonly kind: "write-late"; readonly ms: number }
  /** A register takes no more than this, whatever is written. */
  | { readonly kind: "write-clamped"; readonly max: number };

export interface PlcOptions {
  /** Default: 1 alone. */
  readonly units?: readonly number[];
  readonly framing?: "tcp" | "rtu";
  readonly host?: string;
  readonly port?: number;
  readonly seed?: number;
  /** What a unit says its name is; default: PLC-1. */
  readonly name?: (unit: number) => string;
  readonly clock?: Clock;
  readonly onWritten?: (written: Written) => void;
}

/** A write that was done. */
export interface Written {
  readonly unit: number;
  readonly code: number;
  readonly address: number;
  /** What follows the address in the request, in hex. */
  readonly what: string;
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
  readonly written: Written[] = [];
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
      this.#units.set(unit, new PlcUnit(model, options.name?.(unit) ?? `PLC-${unit}`));
    }
  }

  get port(): number {
    return this.#port;
  }

  get up(): boolean {
    return this.#server !== null;
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

  /** Bytes that nobody asked for, to everyone. */
  noise(bytes: number): void {
    const noise = Buffer.alloc(bytes);
    seededRandom(bytes).fill(noise);
    for (const socket of this.#sockets) socket.write(noise);
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
    const fault = this.#faultOf(frame);
    if (!plc || fault.kind === "silence" || fault.kind === "write-lost") return;
    if (this.#open > 0) this.collisions += 1;
    this.#open += 1;
    if (fault.kind === "slow") await sleep(this.#clock, fault.ms);
    this.#open -= 1;
    if (fault.kind === "hang-up") socket.destroy();
    else if (fault.kind === "garbage") socket.write(noise(unit));
    else if (fault.kind === "exception" || fault.kind === "write-exception") {
      socket.write(framing.wrap({ ...frame, pdu: exception(pdu[0]!, fault.code) }));
    } else {
      const answer = { ...frame, pdu: this.#done(plc, frame, fault) };
      if (fault.kind === "write-answer-lost") return;
      socket.write(fault.kind === "spoilt" ? framing.spoil(answer) : framing.wrap(answer));
    }
  }

  #faultOf({ unit, pdu }: Frame): PlcFault {
    const fault = this.#faults.get(unit) ?? { kind: "none" };
    return fault.kind.startsWith("write-") && !isWrite(pdu) ? { kind: "none" } : fault;
  }

  /** The answer to a request that is done, or will be. */
  #done(plc: PlcUnit, { unit, pdu }: Frame, fault: PlcFault): Buffer {
    if (!isWrite(pdu)) return plc.answer(pdu);
    const does = () => {
      const answer = plc.answer(fault.kind === "write-clamped" ? clamped(pdu, fault.max) : pdu);
      const isDone = answer[0] === pdu[0];
      const what = pdu.subarray(3).toString("hex");
      if (isDone) this.#noteWritten({ unit, code: pdu[0]!, address: pdu.readUInt16BE(1), what });
      return isDone ? said(pdu) : answer;
    };
    if (fault.kind !== "write-late") return does();
    this.#clock.after(fault.ms, does);
    return said(pdu);
  }

  #noteWritten(written: Written): void {
    this.written.push(written);
    if (this.written.length > ASKED_KEPT) this.written.shift();
    this.#options.onWritten?.(written);
  }

  #note({ unit, pdu }: Frame): void {
    const [address, count] = pdu.length >= 5 ? [pdu.readUInt16BE(1), pdu.readUInt16BE(3)] : [0, 0];
    this.asked.push({ unit, code: pdu[0] ?? 0, address, count, atMs: this.#clock.monoMs() });
    if (this.asked.length > ASKED_KEPT) this.asked.shift();
  }
}

/** Functions 5, 6, 15, 16 and 22 [Modbus application protocol V1.1b3, section 6]. */
function isWrite(pdu: Buffer): boolean {
  return [5, 6, 15, 16, 22].includes(pdu[0] ?? 0);
}

/** What says that a write is done: the request again, of those for several without their values. */
function said(pdu: Buffer): Buffer {
  return pdu[0] === 15 || pdu[0] === 16 ? pdu.subarray(0, 5) : pdu;
}

function clamped(pdu: Buffer, max: number): Buffer {
  if (pdu[0] !== 6) return pdu;
  const less = Buffer.from(pdu);
  less.writeUInt16BE(Math.min(pdu.readUInt16BE(3), max), 3);
  return less;
}

/** As from a cable beside a drive: repeatable, and now and then it looks like the beginning of an answer. */
function noise(unit: number): Buffer {
  const bytes = Buffer.alloc(NOISE_BYTES);
  seededRandom(unit).fill(bytes);
  for (const at of [7, 40]) bytes.set([unit, 3], at);
  return bytes;
}
