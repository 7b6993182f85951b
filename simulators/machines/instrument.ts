/**
 * What simulated serial instruments have in common: a port that can be pulled out, faults that are switched on
 * and off while they run, and a book of what they were sent.
 */
import { type Clock, sleep, systemClock, type Timer } from "../../src/core/clock.ts";
import { type Random, seededRandom } from "../../src/core/random.ts";
import { Pty } from "./pty.ts";

export const INSTRUMENT_FAULTS = ["none", "silence", "spoilt", "garbage", "split", "slow"] as const;

export type InstrumentFault =
  | { readonly kind: "none" }
  /** Hears everything and says nothing. */
  | { readonly kind: "silence" }
  /** A wrong checksum; where there is none, the second half of the frame is missing. */
  | { readonly kind: "spoilt" }
  /** Noise instead of each frame. */
  | { readonly kind: "garbage" }
  /** Each frame in two pieces, so far apart. */
  | { readonly kind: "split"; readonly ms: number }
  | { readonly kind: "slow"; readonly ms: number };

export interface InstrumentOptions {
  /** Where its port is to be; left out, one is made up. */
  readonly path?: string;
  readonly seed?: number;
  readonly clock?: Clock;
}

const NOISE_BYTES = 48;
const HEARD_KEPT = 10_000;
const MEANT_KEPT = 100_000;
/** So many decimals are compared: what is said as text is no more exact than that. */
const DECIMALS = 6;

export abstract class SimulatedInstrument {
  /** What it was sent, request by request. */
  readonly heard: string[] = [];
  /** Frames it has said, spoilt ones included. */
  said = 0;
  protected readonly clock: Clock;
  protected readonly random: Random;
  protected fault: InstrumentFault = { kind: "none" };
  readonly #pty: Pty;
  readonly #meant = new Set<string>();
  #talking: Timer | null = null;

  constructor({ path, seed = 1, clock = systemClock }: InstrumentOptions = {}) {
    this.clock = clock;
    this.random = seededRandom(seed);
    this.#pty = new Pty((data) => this.onData(data), path);
  }

  get path(): string {
    return this.#pty.path;
  }

  get isPlugged(): boolean {
    return this.#pty.isPlugged;
  }

  /** Whether it lately said, or was about to say, this under the name that its configs give it. */
  hasMeant(signal: string, value: unknown): boolean {
    return this.#meant.has(meaning(signal, value));
  }

  setFault(fault: InstrumentFault): void {
    this.fault = fault;
  }

  async start(): Promise<this> {
    await this.#pty.plugIn();
    return this;
  }

  stop(): Promise<void> {
    this.#talking?.cancel();
    return this.#pty.close();
  }

  unplug(): Promise<void> {
    return this.#pty.unplug();
  }

  plugIn(): Promise<void> {
    return this.#pty.plugIn();
  }

  /** As from a cable beside a drive. */
  noise(bytes = NOISE_BYTES): void {
    const noise = Buffer.alloc(bytes);
    this.random.fill(noise);
    this.#pty.write(noise);
  }

  /** Bytes as they are, whatever the fault. */
  raw(bytes: Buffer): void {
    this.#pty.write(bytes);
  }

  protected abstract onData(data: Buffer): void;

  /** `spoilt`: the same with a wrong checksum. */
  protected async say(frame: Buffer, spoilt?: Buffer): Promise<void> {
    const { fault } = this;
    if (fault.kind === "silence") return;
    this.said += 1;
    if (fault.kind === "garbage") return this.noise();
    if (fault.kind === "spoilt") return this.raw(spoilt ?? frame.subarray(0, frame.length >> 1));
    if (fault.kind === "slow") await sleep(this.clock, fault.ms);
    if (fault.kind !== "split") return this.raw(frame);
    const half = frame.length >> 1;
    this.raw(frame.subarray(0, half));
    await sleep(this.clock, fault.ms);
    this.raw(frame.subarray(half));
  }

  /** From now on by itself, so often, in place of what it did before; null for never. */
  protected talk(everyMs: number | null, speak: () => void): void {
    this.#talking?.cancel();
    if (everyMs === null) return;
    this.#talking = this.clock.after(everyMs, () => {
      speak();
      this.talk(everyMs, speak);
    });
  }

  protected mean(signal: string, value: number | string): void {
    this.#meant.add(meaning(signal, value));
    if (this.#meant.size > MEANT_KEPT) this.#meant.delete(this.#meant.values().next().value!);
  }

  protected note(request: string): void {
    this.heard.push(request);
    if (this.heard.length > HEARD_KEPT) this.heard.shift();
  }
}

function meaning(signal: string, value: unknown): string {
  return `${signal} ${typeof value === "number" ? value.toFixed(DECIMALS) : value}`;
}
