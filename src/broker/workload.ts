/**
 * What all clients together have in hand, and what of it is a fair share. Pure bookkeeping.
 *
 * Three things are bounded in total, beside what each client is bounded to by itself (pace.ts): work on its
 * way to the disk, since whoever comes next waits behind it; bytes of messages on that way; and bytes of
 * packets that are not whole yet. While a total is below its bound nobody is held for it. At the bound those
 * are held who have their fair share or more, a share being the bound divided by the clients that have
 * something in hand: one that sends little is never held for what others do, however many they are.
 *
 * Work is counted in steps: one for each packet, and more for what makes more of it (rows written for
 * subscribers, filters of a SUBSCRIBE).
 */
export interface WorkloadLimits {
  readonly unackedMessagesTotalMax: number;
  readonly unackedBytesTotalMax: number;
  readonly partialBytesTotalMax: number;
}

/** Once full, it stays so until this part of it is free again, or packets would be handed over one by one. */
const FREE_AGAIN = 0.75;

export class Amount {
  readonly #max: number;
  #total = 0;
  /** Clients that have some of it. */
  #clients = 0;
  #wasFull = false;
  /** Called when a part of it is free again after it was full. */
  onFree: () => void = () => {};

  constructor(max: number) {
    this.#max = max;
  }

  get total(): number {
    return this.#total;
  }

  /** A client's part of it has changed. */
  moved(before: number, after: number): void {
    this.#total += after - before;
    if (before === 0 && after > 0) this.#clients++;
    else if (before > 0 && after === 0) this.#clients--;
    if (this.#total >= this.#max) this.#wasFull = true;
    else if (this.#wasFull && this.#total < this.#max * FREE_AGAIN) {
      this.#wasFull = false;
      this.onFree();
    }
  }

  /** True from when the bound is reached until a part of it is free again. */
  get full(): boolean {
    return this.#wasFull;
  }

  /** Whether a client that has `own` of it has to wait for the others. */
  fullFor(own: number): boolean {
    return this.#wasFull && own > 0 && own >= this.#max / this.#clients;
  }
}

export class Workload {
  readonly work: Amount;
  readonly bytes: Amount;
  readonly partial: Amount;

  constructor(limits: WorkloadLimits) {
    // A message is a packet, until it is answered, and a row, until it is on disk.
    this.work = new Amount(2 * limits.unackedMessagesTotalMax);
    this.bytes = new Amount(limits.unackedBytesTotalMax);
    this.partial = new Amount(limits.partialBytesTotalMax);
  }
}
