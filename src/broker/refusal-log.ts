/**
 * Log lines about what was refused, at most one a second for each reason, so that whoever knocks fastest
 * cannot fill the disk. What was left out is counted in the next line.
 */
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";

const EVERY_MS = 1000;
const REASONS_MAX = 200;

export class RefusalLog {
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #last = new Map<string, { atMs: number; leftOut: number }>();

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger;
    this.#clock = clock;
  }

  note(reason: string, facts: Record<string, unknown>, sentence: string): void {
    const nowMs = this.#clock.monoMs();
    const last = this.#last.get(reason);
    if (last && nowMs - last.atMs < EVERY_MS) {
      last.leftOut++;
      return;
    }
    if (!last && this.#last.size >= REASONS_MAX) this.#last.clear();
    const leftOut = last?.leftOut ?? 0;
    this.#last.set(reason, { atMs: nowMs, leftOut: 0 });
    this.#logger.warn({ ...facts, reason, ...(leftOut > 0 ? { leftOut } : {}) }, sentence);
  }
}
