/** When the store is asked for its next step of retention (retention.ts). */
import type { Clock, Timer } from "../core/clock.ts";

/** Pause between two steps, so that commits for messages come first. */
const STEP_EVERY_MS = 50;

export interface PruningOptions {
  readonly clock: Clock;
  /** How often a sweep begins. */
  readonly everyMs: number;
  /** One step; resolves to whether the sweep has ended. Rejects where there is nothing more to prune from. */
  readonly step: (how: { readonly sweep: boolean; readonly forRoom: boolean }) => Promise<boolean>;
}

export class Pruning {
  readonly #options: PruningOptions;
  #timer: Timer | undefined;
  #makingRoom = false;
  #stopped = false;

  constructor(options: PruningOptions) {
    this.#options = options;
  }

  start(): void {
    this.#schedule(true);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** One step at a time: while the disk is full, even that has to wait. */
  async makeRoom(): Promise<void> {
    if (this.#makingRoom) return;
    this.#makingRoom = true;
    await this.#step(false, true);
    this.#makingRoom = false;
  }

  #schedule(sweep: boolean): void {
    const { clock, everyMs } = this.#options;
    this.#timer = clock.after(sweep ? everyMs : STEP_EVERY_MS, () => {
      if (this.#stopped) return;
      void this.#step(sweep, false).then((finished) => this.#schedule(finished));
    });
  }

  async #step(sweep: boolean, forRoom: boolean): Promise<boolean> {
    try {
      return await this.#options.step({ sweep, forRoom });
    } catch {
      return true; // The store has failed or closes.
    }
  }
}
