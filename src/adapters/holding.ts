/**
 * The way out for one device: messages go to intake in the order in which they were made, and what intake does
 * not take yet is held here.
 *
 * Promise: every message gets a number, and every number is stored, as the message itself or within a gap
 * record, in the order of the numbers. Constraint: a machine cannot be told to wait as an MQTT client can, and
 * memory is bounded: at most `messagesMax` are held. When one more comes, the oldest (or, with `keep: oldest`,
 * the newest) is given up and counted; the gap record takes its place in the line, so that it is stored as soon
 * as anything is.
 *
 * What it trades away: what is held is in memory only. A kill or power cut while the store refuses takes it
 * along, as it takes the readings that were never made.
 */
import { type Clock, sleep } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { Accepting, Draft, Receipt } from "../intake/draft.ts";
import { type Content, contentDraft, type Gap, gapDraft, mergedGap, type Source } from "./readings.ts";

export const GAP_REASON = "the store took no messages, and more came than may be held";

/** Offered to intake at a time, so that a commit may take many. They cannot be given up any more. */
const OFFERED_MAX = 32;
/** How long a stop waits for what has been offered. */
const DRAIN_MS_MAX = 2000;

export interface HoldingOptions {
  readonly source: Source;
  readonly messagesMax: number;
  readonly keep: "newest" | "oldest";
  /** Topic of gap records. */
  readonly gapTopic: string;
  readonly intake: Accepting;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Messages were given up: what was reported in them did not arrive. */
  readonly onGivenUp?: () => void;
  /** Everything up to this number is stored, stands in a stored gap record, or was refused for good. */
  readonly onSettled?: (sequence: number) => void;
}

export interface HoldingFigures {
  /** Numbers given out in this boot. */
  readonly made: number;
  /** Everything up to here is committed, as messages or within gap records: the device's cursor. */
  readonly storedSequence: number;
  readonly stored: number;
  readonly held: number;
  readonly missed: number;
  readonly refused: number;
  readonly duplicates: number;
  /** Wall clock, epoch ms. */
  readonly lastStoredAtMs: number | null;
}

type Entry =
  | { readonly kind: "message"; readonly sequence: number; readonly atMs: number; readonly draft: Draft }
  | { readonly kind: "gap"; readonly gap: Gap };

export class Holding {
  readonly #options: HoldingOptions;
  /** Never all that may be held, or there would be none to choose from. */
  readonly #offeredMax: number;
  readonly #line: Entry[] = [];
  readonly #stopping = new AbortController();
  #messagesHeld = 0;
  #offered = 0;
  #idle: PromiseWithResolvers<void> | undefined;
  #made = 0;
  #storedSequence = 0;
  #stored = 0;
  #missed = 0;
  #refused = 0;
  #duplicates = 0;
  #lastStoredAtMs: number | null = null;
  /** The store has failed for good: nothing will be taken any more. */
  #over = false;

  constructor(options: HoldingOptions) {
    this.#options = options;
    this.#offeredMax = Math.max(1, Math.min(OFFERED_MAX, Math.floor(options.messagesMax / 2)));
  }

  figures(): HoldingFigures {
    return {
      made: this.#made,
      storedSequence: this.#storedSequence,
      stored: this.#stored,
      held: this.#messagesHeld,
      missed: this.#missed,
      refused: this.#refused,
      duplicates: this.#duplicates,
      lastStoredAtMs: this.#lastStoredAtMs,
    };
  }

  /** The message's number; that of the message before where none is taken any more. */
  submit(topic: string, content: Content): number {
    if (this.#over || this.#stopping.signal.aborted) return this.#made;
    const sequence = ++this.#made;
    const { source, messagesMax, keep } = this.#options;
    const draft = contentDraft(source, sequence, topic, content);
    this.#line.push({ kind: "message", sequence, atMs: content.atMs, draft });
    this.#messagesHeld += 1;
    this.#pump();
    if (this.#messagesHeld > messagesMax) this.#giveUp(keep === "newest" ? "first" : "last");
    return sequence;
  }

  /** Readings that never left the machine: nobody can count them, but it is known that they are missing. */
  submitGap(reason: string, fromMs: number, toMs: number): void {
    if (this.#over || this.#stopping.signal.aborted) return;
    const sequence = ++this.#made;
    this.#line.push({
      kind: "gap",
      gap: { fromSequence: sequence, toSequence: sequence, count: null, fromMs, toMs, reason },
    });
    this.#mergeAt(this.#line.length - 1);
    this.#pump();
  }

  /** Waits a little for what has been offered, then gives the rest up. */
  async stop(): Promise<void> {
    const { clock, logger, source } = this.#options;
    if (this.#offered > 0 || this.#line.length > 0) {
      this.#idle = Promise.withResolvers();
      const waited = new AbortController();
      await Promise.race([this.#idle.promise, sleep(clock, DRAIN_MS_MAX, waited.signal)]);
      waited.abort();
    }
    this.#stopping.abort(new Error("the gateway stops"));
    if (this.#messagesHeld > 0) {
      const facts = { device: source.device, messages: this.#messagesHeld };
      logger.warn(facts, "readings were still held at the stop, and are lost");
    }
  }

  #giveUp(which: "first" | "last"): void {
    const at =
      which === "first"
        ? this.#line.findIndex(({ kind }) => kind === "message")
        : this.#line.findLastIndex(({ kind }) => kind === "message");
    // Only one is held, and it has been offered.
    if (at < 0) return;
    const { sequence, atMs } = this.#line[at] as Entry & { kind: "message" };
    this.#messagesHeld -= 1;
    this.#missed += 1;
    this.#line[at] = {
      kind: "gap",
      gap: {
        fromSequence: sequence,
        toSequence: sequence,
        count: 1,
        fromMs: atMs,
        toMs: atMs,
        reason: GAP_REASON,
      },
    };
    if (!this.#mergeAt(at)) {
      const { source, logger } = this.#options;
      logger.warn(
        { device: source.device, fromSequence: sequence },
        "readings are given up: the store takes none",
      );
    }
    this.#options.onGivenUp?.();
  }

  /** Gaps side by side become one, so that memory stays bounded however often there is one. */
  #mergeAt(at: number): boolean {
    let merged = false;
    for (const [first, second] of [
      [at, at + 1],
      [at - 1, at],
    ] as const) {
      const [a, b] = [this.#line[first], this.#line[second]];
      if (a?.kind !== "gap" || b?.kind !== "gap") continue;
      this.#line.splice(first, 2, { kind: "gap", gap: mergedGap(a.gap, b.gap) });
      merged = true;
    }
    return merged;
  }

  #pump(): void {
    const { source, gapTopic, intake } = this.#options;
    while (this.#offered < this.#offeredMax && !this.#over && !this.#stopping.signal.aborted) {
      const entry = this.#line.shift();
      if (!entry) break;
      this.#offered += 1;
      const draft = entry.kind === "message" ? entry.draft : gapDraft(source, gapTopic, entry.gap);
      void intake.accept(draft, this.#stopping.signal).then(
        (receipt) => this.#answered(entry, receipt),
        (error) => this.#failed(entry, error),
      );
    }
    if (this.#offered === 0 && this.#line.length === 0) this.#idle?.resolve();
  }

  #answered(entry: Entry, receipt: Receipt): void {
    this.#offered -= 1;
    if (entry.kind === "message") this.#messagesHeld -= 1;
    if (receipt.kind === "refused") this.#onRefused(receipt.reason);
    else {
      // Answers come in the order of the offers; never backwards all the same.
      const sequence = entry.kind === "message" ? entry.sequence : entry.gap.toSequence;
      this.#storedSequence = Math.max(this.#storedSequence, sequence);
      if (receipt.kind === "duplicate") this.#duplicates += 1;
      else this.#stored += 1;
      this.#lastStoredAtMs = this.#options.clock.wallMs();
    }
    this.#options.onSettled?.(entry.kind === "message" ? entry.sequence : entry.gap.toSequence);
    this.#pump();
  }

  #onRefused(reason: string): void {
    const { source, logger } = this.#options;
    // Said once: it may well be so for each one.
    if (this.#refused === 0) logger.error({ device: source.device, reason }, "readings are refused");
    this.#refused += 1;
  }

  #failed(entry: Entry, error: unknown): void {
    this.#offered -= 1;
    if (this.#stopping.signal.aborted) {
      this.#pump();
      return;
    }
    if (entry.kind === "message") this.#messagesHeld -= 1;
    if (!this.#over) {
      const { source, logger } = this.#options;
      logger.error({ device: source.device, err: errorText(error) }, "readings cannot be stored any more");
    }
    this.#over = true;
    this.#line.length = 0;
    this.#messagesHeld = this.#offered;
    this.#pump();
  }
}
