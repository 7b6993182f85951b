/**
 * How fast one client is read. Pure but for the clock it is given.
 *
 * Two bounds, both kept by not reading, so that TCP slows the sender down and nothing is dropped: what is
 * being worked on (packets and payload bytes that wait for the disk), and a rate (a bucket that holds one
 * second's worth).
 */
import type { Clock } from "../core/clock.ts";

export interface PaceLimits {
  readonly unackedMessagesMax: number;
  readonly unackedBytesMax: number;
  /** 0: no limit. */
  readonly publishRateMax: number;
  readonly publishByteRateMax: number;
}

export class Pace {
  readonly #limits: PaceLimits;
  readonly #clock: Clock;
  readonly #rated: boolean;
  #packets = 0;
  #bytes = 0;
  /** Once full, it stays so until a quarter is free again, or packets would be handed over one by one. */
  #wasFull = false;
  #messageTokens: number;
  #byteTokens: number;
  #filledMs: number;

  constructor(limits: PaceLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    this.#rated = limits.publishRateMax > 0 || limits.publishByteRateMax > 0;
    this.#messageTokens = limits.publishRateMax;
    this.#byteTokens = limits.publishByteRateMax;
    this.#filledMs = this.#rated ? clock.monoMs() : 0;
  }

  get packets(): number {
    return this.#packets;
  }

  get idle(): boolean {
    return this.#packets === 0;
  }

  /** True where nothing more may be read until something is done. */
  get full(): boolean {
    const part = this.#wasFull ? 0.75 : 1;
    this.#wasFull =
      this.#packets >= this.#limits.unackedMessagesMax * part ||
      this.#bytes >= this.#limits.unackedBytesMax * part;
    return this.#wasFull;
  }

  took(): void {
    this.#packets++;
  }

  done(): void {
    if (this.#packets > 0) this.#packets--;
  }

  tookBytes(bytes: number): void {
    this.#bytes += bytes;
  }

  doneBytes(bytes: number): void {
    this.#bytes -= bytes;
  }

  /** Takes a PUBLISH of `bytes` out of the buckets: 0 where it may go on, else the ms until it may. */
  wait(bytes: number): number {
    if (!this.#rated) return 0;
    const { publishRateMax, publishByteRateMax } = this.#limits;
    const nowMs = this.#clock.monoMs();
    const seconds = (nowMs - this.#filledMs) / 1000;
    this.#filledMs = nowMs;
    // A packet larger than the bucket must pass too, so the level may go below zero and is then waited for.
    this.#messageTokens = Math.min(publishRateMax, this.#messageTokens + seconds * publishRateMax);
    this.#byteTokens = Math.min(publishByteRateMax, this.#byteTokens + seconds * publishByteRateMax);
    const waitMs = Math.max(
      publishRateMax > 0 && this.#messageTokens < 1 ? ((1 - this.#messageTokens) / publishRateMax) * 1000 : 0,
      publishByteRateMax > 0 && this.#byteTokens <= 0
        ? ((1 - this.#byteTokens) / publishByteRateMax) * 1000
        : 0,
    );
    if (waitMs > 0) return Math.ceil(waitMs);
    this.#messageTokens -= 1;
    this.#byteTokens -= bytes;
    return 0;
  }
}
