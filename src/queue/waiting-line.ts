/**
 * The line in which requests wait for the store thread. Bookkeeping only: no thread, no clock.
 *
 * Two kinds stand in it, each in the order in which it came:
 * - held ones (appends, session changes) need room in the store. Once the first of them has found none, the
 *   line is stuck: they stay where they are until offerAgain().
 * - urgent ones (claims, settlements, calls) are what makes room, so they go first and pass a stuck line.
 */
import { COMMIT_REQUESTS_MAX } from "../core/limits.ts";
import type { Decoder, Encoder } from "./wire.ts";

export interface Pending {
  readonly encode: (out: Encoder) => void;
  /** Reads its reply and resolves. */
  readonly decode: (input: Decoder) => void;
  readonly reject: (error: unknown) => void;
  /** Keeps its place among appends and session changes, and waits for room. */
  readonly held: boolean;
  readonly signal?: AbortSignal;
}

export class WaitingLine {
  #urgent: Pending[] = [];
  #held: Pending[] = [];
  #stuck = false;

  /** True while held requests wait for room. */
  get stuck(): boolean {
    return this.#stuck;
  }

  /** True where something could be taken now. */
  get ready(): boolean {
    return this.#urgent.length > 0 || (this.#held.length > 0 && !this.#stuck);
  }

  push(pending: Pending): void {
    (pending.held ? this.#held : this.#urgent).push(pending);
  }

  /** Takes as many as one commit has room for, and writes them to `out`: about `bytesMax`, or one that is larger. */
  take(out: Encoder, bytesMax: number): Pending[] {
    const batch: Pending[] = [];
    this.#urgent = takeFrom(this.#urgent, batch, out, bytesMax);
    if (!this.#stuck) this.#held = takeFrom(this.#held, batch, out, bytesMax);
    return batch;
  }

  /** Puts what the store had no room for back to the front, in its order. */
  putBack(again: readonly Pending[]): void {
    const held = again.filter((pending) => pending.held);
    const urgent = again.filter((pending) => !pending.held);
    if (urgent.length > 0) this.#urgent = [...urgent, ...this.#urgent];
    if (held.length === 0) return;
    this.#held = [...held, ...this.#held];
    this.#stuck = true;
  }

  /** Lets held requests be taken again, but for those that were given up meanwhile. */
  offerAgain(): void {
    this.#stuck = false;
    this.#held = this.#held.filter((pending) => !rejectIfAborted(pending));
  }

  rejectAll(error: Error): void {
    for (const pending of [...this.#urgent, ...this.#held]) pending.reject(error);
    this.#urgent = [];
    this.#held = [];
  }
}

/** Moves requests into the batch while it has room; returns those that stay. */
function takeFrom(waiting: Pending[], batch: Pending[], out: Encoder, bytesMax: number): Pending[] {
  let at = 0;
  while (at < waiting.length && batch.length < COMMIT_REQUESTS_MAX && out.length < bytesMax) {
    const pending = waiting[at++]!;
    if (rejectIfAborted(pending)) continue;
    const mark = out.length;
    try {
      pending.encode(out);
      batch.push(pending);
    } catch (error) {
      // One that cannot be written down is its caller's defect, and must not take its neighbours along.
      out.rewind(mark);
      pending.reject(error);
    }
  }
  return at === waiting.length ? [] : waiting.slice(at);
}

function rejectIfAborted(pending: Pending): boolean {
  if (!pending.signal?.aborted) return false;
  pending.reject(pending.signal.reason);
  return true;
}
