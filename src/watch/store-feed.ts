/**
 * What watch/ knows from the store: the figures, asked for each tick, and the audit, now and then.
 *
 * A reader that does not answer must not stop the watching: a question is waited for briefly, never asked
 * twice at the same time, and figures that have become old are no longer passed off as true.
 */
import { type Clock, sleep, type Timer } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { Audit } from "../queue/queries-audit.ts";
import type { Overview } from "../queue/queries-flows.ts";
import type { Querying } from "../queue/reader.ts";

/** A tick waits at most this long for figures… */
const ANSWER_WAIT_MS = 2000;
/** …and uses those of an earlier tick up to this age. */
const FIGURES_AGE_MS_MAX = 10_000;
/** The first audit, when the start is over. */
const FIRST_AUDIT_AFTER_MS = 1000;
/** Audits take at most this share of the reader's time, however large the store. */
const AUDIT_SHARE_MAX = 1 / 20;

export interface StoreFeedOptions {
  readonly reader: Querying;
  readonly auditEveryMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly steadyMs: () => number;
}

export interface AuditRecord {
  readonly result: Audit;
  readonly atWallMs: number;
  readonly tookMs: number;
}

export class StoreFeed {
  readonly #options: StoreFeedOptions;
  #asking: Promise<void> | undefined;
  #overview: { value: Overview; atMonoMs: number } | undefined;
  #overviewError: string | null = null;
  #auditError: string | null = null;
  #auditTimer: Timer | undefined;
  #stopped = false;
  audit: AuditRecord | null = null;
  /** Called when an audit has ended. */
  onAudit: () => void = () => {};

  constructor(options: StoreFeedOptions) {
    this.#options = options;
  }

  start(): void {
    this.#auditAfter(Math.min(FIRST_AUDIT_AFTER_MS, this.#options.auditEveryMs));
  }

  stop(): void {
    this.#stopped = true;
    this.#auditTimer?.cancel();
  }

  /** Asks for new figures and waits for them, but not long. Never rejects. */
  async refresh(): Promise<void> {
    this.#asking ??= this.#ask();
    const waited = new AbortController();
    await Promise.race([this.#asking, sleep(this.#options.clock, ANSWER_WAIT_MS, waited.signal)]);
    waited.abort();
  }

  /** Null where they could not be had, or are too old to be called figures. */
  get overview(): Overview | null {
    const { clock } = this.#options;
    if (!this.#overview || clock.monoMs() - this.#overview.atMonoMs > FIGURES_AGE_MS_MAX) return null;
    return this.#overview.value;
  }

  /** Why something is not known, or null. */
  get blind(): string | null {
    if (this.#overviewError !== null) return this.#overviewError;
    if (this.#overview && this.overview === null) return "the reader does not answer";
    return this.#auditError === null ? null : `the accounts could not be checked: ${this.#auditError}`;
  }

  async #ask(): Promise<void> {
    const { reader, clock, steadyMs } = this.#options;
    try {
      const value = await reader.query("overview", { steadyNowMs: steadyMs() });
      this.#overview = { value, atMonoMs: clock.monoMs() };
      this.#overviewError = null;
    } catch (error) {
      this.#overviewError = errorText(error);
    } finally {
      this.#asking = undefined;
    }
  }

  #auditAfter(delayMs: number): void {
    if (this.#stopped) return;
    this.#auditTimer = this.#options.clock.after(delayMs, () => void this.#audit());
  }

  async #audit(): Promise<void> {
    const { reader, clock, logger, auditEveryMs } = this.#options;
    const beganMs = clock.monoMs();
    try {
      const result = await reader.query("audit", {});
      this.audit = { result, atWallMs: clock.wallMs(), tookMs: clock.monoMs() - beganMs };
      this.#auditError = null;
      if (!result.balanced) {
        const { mismatches, mismatchesTotal } = result;
        logger.error({ mismatches, mismatchesTotal }, "messages are not accounted for");
      }
    } catch (error) {
      this.#auditError = errorText(error);
      if (!this.#stopped) logger.warn({ err: error }, "the accounts could not be checked");
    }
    if (this.#stopped) return;
    this.onAudit();
    const tookMs = clock.monoMs() - beganMs;
    this.#auditAfter(Math.max(auditEveryMs, tookMs / AUDIT_SHARE_MAX));
  }
}
