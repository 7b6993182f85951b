/** How often an address may do something: a burst, then one in so long. Pure. */

/** Addresses remembered; above this those longest silent are forgotten. */
const ADDRESSES_MAX = 2000;

export interface PaceOptions {
  readonly everyMs: number;
  /** At once, after a silence. */
  readonly burst: number;
  readonly monoMs: () => number;
}

export class Pace {
  readonly #options: PaceOptions;
  /** By address: when all that it has taken is paid back; mono ms. */
  readonly #paidAtMs = new Map<string, number>();

  constructor(options: PaceOptions) {
    this.#options = options;
  }

  /** Counts one; 0 where it may be, else how long to wait, and then it does not count. */
  take(address: string): number {
    const { everyMs, burst, monoMs } = this.#options;
    const nowMs = monoMs();
    const paidAtMs = Math.max(nowMs, this.#paidAtMs.get(address) ?? 0) + everyMs;
    const waitMs = paidAtMs - burst * everyMs - nowMs;
    if (waitMs > 0) return waitMs;
    this.#paidAtMs.delete(address);
    this.#paidAtMs.set(address, paidAtMs);
    if (this.#paidAtMs.size > ADDRESSES_MAX) {
      const [oldest] = this.#paidAtMs.keys();
      this.#paidAtMs.delete(oldest!);
    }
    return 0;
  }
}
