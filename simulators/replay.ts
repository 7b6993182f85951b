/**
 * Plays a capture back against a broker: each device of the capture becomes a machine of its own, with a
 * persistent session, so that it survives broken connections as the real one would. Timing is the capture's,
 * divided by `speed`; a device's messages keep their order whatever is added to them.
 */
import { type Clock, sleep } from "../src/core/clock.ts";
import { type Random, seededRandom } from "../src/core/random.ts";
import type { Captured } from "./capture.ts";
import { behaviourSchema, NO_MISHAPS } from "./machines/behaviour.ts";
import { Ledger } from "./machines/ledger.ts";
import { MqttMachine } from "./machines/mqtt-machine.ts";

export interface ReplayOptions {
  readonly captured: AsyncIterable<Captured>;
  readonly host: string;
  readonly port: number;
  readonly username?: string;
  readonly password?: string;
  /** 2 plays twice as fast; Infinity as fast as it goes. */
  readonly speed: number;
  /** Chance that a message is sent twice: with DUP=1 at once, or as a new message after its acknowledgement. */
  readonly duplicates: number;
  /** Each message is held back up to this long, drawn evenly. */
  readonly delayMsMax: number;
  readonly seed: number;
  readonly clock: Clock;
  /** How long to wait for answers after the last message. */
  readonly settleMs: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ReplayProgress) => void;
}

export interface ReplayProgress {
  readonly sent: number;
  readonly acked: number;
  readonly repeats: number;
  readonly devices: number;
  /** How far into the capture it is, in the capture's own time. */
  readonly capturedMs: number;
}

export interface ReplayResult extends ReplayProgress {
  /** True where everything was sent, and answered where its QoS has an answer. */
  readonly complete: boolean;
  readonly unacked: readonly string[];
}

/** Messages read ahead of their time; keeps a capture of any size out of memory. */
const UNSENT_MAX = 5_000;
const PROGRESS_MS = 250;
const BEHAVIOUR = behaviourSchema.parse({ rate: 0, inFlightMax: 100 });

export async function replay(options: ReplayOptions): Promise<ReplayResult> {
  const { clock, signal } = options;
  const player = new Player(options);
  let capturedMs = 0;
  let shownMs = 0;
  const show = () => {
    shownMs = clock.monoMs();
    options.onProgress?.({ ...player.progress(), capturedMs });
  };
  try {
    let firstAtMs: number | null = null;
    for await (const captured of options.captured) {
      firstAtMs ??= captured.atMs;
      capturedMs = Math.max(capturedMs, captured.atMs - firstAtMs);
      await player.play(captured, (captured.atMs - firstAtMs) / options.speed);
      if (signal?.aborted) break;
      if (clock.monoMs() - shownMs >= PROGRESS_MS) show();
    }
    const settled = !signal?.aborted && (await player.settle());
    show();
    const unacked = player.ledger.unacked().map((sent) => sent.id);
    return { ...player.progress(), capturedMs, complete: settled && unacked.length === 0, unacked };
  } finally {
    await player.stop();
  }
}

interface Device {
  readonly machine: MqttMachine;
  n: number;
  /** Messages whose delay is still running, oldest first. */
  readonly held: (() => void)[];
}

class Player {
  readonly ledger = new Ledger({ forget: true });
  readonly #options: ReplayOptions;
  readonly #random: Random;
  readonly #startedMs: number;
  readonly #devices = new Map<string, Device>();
  #pending = 0;

  constructor(options: ReplayOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
    this.#startedMs = options.clock.monoMs();
  }

  /** Waits until the message's time, or near it where its own delay is still to come, and hands it over. */
  async play(captured: Captured, dueMs: number): Promise<void> {
    const { clock, signal, delayMsMax, duplicates } = this.#options;
    const device = this.#device(captured.device);
    device.n++;
    const twice = this.#random.unit() < duplicates;
    const atOnce = this.#random.unit() < 0.5 && captured.qos > 0;
    const delayMs = this.#random.unit() * delayMsMax;
    if (dueMs > this.#elapsedMs()) await sleep(clock, dueMs - this.#elapsedMs(), signal);
    while (this.#pending + this.ledger.unsettled >= UNSENT_MAX && !signal?.aborted) {
      await sleep(clock, 10, signal);
    }
    if (signal?.aborted) return;
    const n = device.n;
    const hand = () => {
      this.#pending--;
      device.machine.hand({
        // Unique for the ledger alone: an id in the payload stays as it is.
        id: `${captured.id ?? captured.device}#${n}`,
        n,
        topic: captured.topic,
        payload: captured.payload,
        qos: captured.qos,
        retain: captured.retain,
        producedAtMs: captured.atMs,
        poison: false,
        mishaps: { ...NO_MISHAPS, dup: twice && atOnce, republish: twice && !atOnce },
      });
    };
    this.#pending++;
    if (delayMsMax === 0) {
      hand();
      return;
    }
    // Whichever timer fires first hands over the device's oldest message, so that its order is kept.
    device.held.push(hand);
    clock.after(dueMs + delayMs - this.#elapsedMs(), () => device.held.shift()!());
  }

  async settle(): Promise<boolean> {
    const { clock, signal, settleMs, delayMsMax } = this.#options;
    const untilMs = clock.monoMs() + settleMs + delayMsMax;
    while (!signal?.aborted) {
      const idle = this.#pending === 0 && [...this.#devices.values()].every(({ machine }) => machine.idle);
      if (idle) return true;
      if (clock.monoMs() >= untilMs) return false;
      await sleep(clock, 20, signal);
    }
    return false;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#devices.values()].map(({ machine }) => machine.stop()));
  }

  progress(): Omit<ReplayProgress, "capturedMs"> {
    const { sent, acked, repeats } = this.ledger;
    return { sent, acked, repeats, devices: this.#devices.size };
  }

  #elapsedMs(): number {
    return this.#options.clock.monoMs() - this.#startedMs;
  }

  #device(name: string): Device {
    const known = this.#devices.get(name);
    if (known) return known;
    const { host, port, username, password, seed, clock } = this.#options;
    const machine = new MqttMachine({
      device: name,
      behaviour: { ...BEHAVIOUR, username, password },
      ledger: this.ledger,
      seed: (seed + Math.imul(this.#devices.size + 1, 0x9e3779b1)) >>> 0,
      run: "replay",
      clock,
      elapsedMs: () => this.#elapsedMs(),
      address: () => ({ host, port }),
    });
    machine.start();
    const device: Device = { machine, n: 0, held: [] };
    this.#devices.set(name, device);
    return device;
  }
}
