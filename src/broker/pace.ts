/**
 * How fast one client is read. Pure but for the clock it is given.
 *
 * Bounds, all kept by not reading, so that TCP slows the sender down and nothing is dropped: what is being
 * worked on (packets and payload bytes that wait for the disk), by itself and beside what all others have in
 * hand (workload.ts), and a rate (a bucket that holds one second's worth).
 */
import type { Clock } from "../core/clock.ts";
import type { Workload } from "./workload.ts";

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
  readonly #workload: Workload;
  readonly #rated: boolean;
  #packets = 0;
  /** Rows on their way to the disk for what it published. */
  #rows = 0;
  #bytes = 0;
  /** Filters asked for and not answered. */
  #filters = 0;
  /** Once full, it stays so until a quarter is free again, or packets would be handed over one by one. */
  #wasFull = false;
  #messageTokens: number;
  #byteTokens: number;
  #filledMs: number;
  #isOver = false;

  constructor(limits: PaceLimits, clock: Clock, workload: Workload) {
    this.#limits = limits;
    this.#clock = clock;
    this.#workload = workload;
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

  /** True where nothing more may be read until something of its own is done. */
  get full(): boolean {
    const part = this.#wasFull ? 0.75 : 1;
    this.#wasFull =
      this.#packets + this.#filters >= this.#limits.unackedMessagesMax * part ||
      this.#rows >= this.#limits.unackedMessagesMax * 2 * part ||
      this.#bytes >= this.#limits.unackedBytesMax * part;
    return this.#wasFull;
  }

  /** True where it has its share of what all may have in hand, and all have so much. */
  get hasItsShare(): boolean {
    const { work, bytes } = this.#workload;
    return work.fullFor(this.#steps) || bytes.fullFor(this.#bytes);
  }

  get #steps(): number {
    return this.#packets + this.#rows + this.#filters;
  }

  took(): void {
    if (this.#isOver) return;
    const before = this.#steps;
    this.#packets++;
    this.#workload.work.moved(before, before + 1);
  }

  done(): void {
    if (this.#packets === 0) return;
    const before = this.#steps;
    this.#packets--;
    this.#workload.work.moved(before, before - 1);
  }

  /** A message goes to the disk: so many rows for it and for whom it is owed to. */
  tookMessage(rows: number, bytes: number): void {
    this.#message(rows, bytes);
  }

  doneMessage(rows: number, bytes: number): void {
    this.#message(-rows, -bytes);
  }

  #message(rows: number, bytes: number): void {
    const before = this.#steps;
    this.#rows += rows;
    this.#workload.work.moved(before, before + rows);
    this.#workload.bytes.moved(this.#bytes, this.#bytes + bytes);
    this.#bytes += bytes;
  }

  /** A filter is asked for; answered() when all that it brings has been sent. */
  asked(filters: number): void {
    if (this.#isOver) return;
    const before = this.#steps;
    this.#filters += filters;
    this.#workload.work.moved(before, before + filters);
  }

  answered(filters: number): void {
    if (this.#isOver) return;
    const before = this.#steps;
    this.#filters -= filters;
    this.#workload.work.moved(before, before - filters);
  }

  /** The connection is over: nothing of it is answered any more. What goes to the disk still goes there. */
  end(): void {
    const before = this.#steps;
    this.#packets = 0;
    this.#filters = 0;
    this.#isOver = true;
    this.#workload.work.moved(before, this.#steps);
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
