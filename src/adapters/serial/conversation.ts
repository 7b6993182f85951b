/**
 * What is said on one port, in both directions: bytes become frames, and a request finds its answer.
 *
 * Promise: at most one request is under way; whoever wants several without anything between them takes a turn.
 * Frames that are no answer to it go to the listener, as all do that nobody asked for. Nothing rejects.
 *
 * A serial answer does not say what it answers. So after a request that stayed without one, and after the port
 * was opened, the line is given a moment to fall silent, and what was begun by then is thrown away; what comes
 * later still could be taken for the answer to the next request. `timeout` is to be above the slowest answer.
 */
import { type Clock, sleep, type Timer } from "../../core/clock.ts";
import { type FrameEvent, type Framer, makeFramer } from "./framing.ts";
import { Port } from "./port.ts";
import type { FramingConfig, SerialConnection } from "./schema.ts";

export type Whole = FrameEvent & { readonly kind: "frame" };
export type Broken = FrameEvent & { readonly kind: "bad" };

export interface Listener {
  /** One that no request took. */
  onFrame(frame: Whole): void;
  onBad(frame: Broken): void;
  onOpen(): void;
  onGone(why: string): void;
}

export type Exchanged<Answer> =
  | { readonly kind: "answer"; readonly answer: Answer }
  /** `garbled`: what came instead. */
  | { readonly kind: "silence"; readonly garbled: string | null }
  /** The port went, or the stop came; `sent`: it may have left before. */
  | { readonly kind: "gone"; readonly why: string; readonly sent: boolean };

export interface Request<Answer> {
  readonly bytes: Buffer;
  /** What the frame says, or null where it is no answer. */
  readonly judge: (content: Buffer) => Answer | null;
  readonly timeoutMs: number;
  /** The first byte leaves, or may have. */
  readonly onSent?: () => void;
  readonly signal?: AbortSignal;
}

/** So long nothing has come where a line has fallen silent. */
const STILL_MS = 50;
/** An instrument that never stops talking is not waited for. */
const STILL_WAIT_MS_MAX = 300;

interface Pending {
  take(content: Buffer): boolean;
  end(why: string): void;
  garbled: string | null;
}

export class Conversation {
  readonly #clock: Clock;
  readonly #listener: Listener;
  readonly #port: Port;
  readonly #framing: FramingConfig;
  readonly #stopping = new AbortController();
  #framer: Framer;
  #noiseBefore = 0;
  #pending: Pending | null = null;
  #quiet: Timer | null = null;
  #heardAtMs = 0;
  /** Something may still come that belongs to no request to come. */
  #unsettled = true;
  #turn: Promise<unknown> = Promise.resolve();
  #opened = Promise.withResolvers<void>();
  #wasOpen = false;

  constructor(connection: SerialConnection, framing: FramingConfig, clock: Clock, listener: Listener) {
    this.#clock = clock;
    this.#listener = listener;
    this.#framing = framing;
    this.#framer = makeFramer(framing);
    this.#port = new Port(connection, clock, {
      onData: (data) => this.#onData(data),
      onOpen: () => this.#onOpen(),
      onGone: (why) => this.#onGone(why),
    });
  }

  get isOpen(): boolean {
    return this.#port.isOpen;
  }

  get noiseBytes(): number {
    return this.#noiseBefore + this.#framer.noiseBytes;
  }

  start(): void {
    this.#port.start();
  }

  /** A request under way is answered `gone`. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#quiet?.cancel();
    this.#pending?.end(STOPS);
    this.#opened.resolve();
    await this.#port.close();
    await this.#turn;
  }

  /** Resolves when the port is open, or the conversation is over. */
  whenOpen(): Promise<void> {
    return this.isOpen ? Promise.resolve() : this.#opened.promise;
  }

  /** Requests of `work` have the line to themselves. `work` must not reject. */
  turn<Outcome>(work: () => Promise<Outcome>): Promise<Outcome> {
    const mine = this.#turn.then(work);
    this.#turn = mine;
    return mine;
  }

  /** Within a turn. */
  async exchange<Answer>({
    bytes,
    judge,
    timeoutMs,
    onSent,
    signal,
  }: Request<Answer>): Promise<Exchanged<Answer>> {
    const stop = signal ? AbortSignal.any([signal, this.#stopping.signal]) : this.#stopping.signal;
    if (this.#unsettled) await this.#settle(stop);
    if (stop.aborted) return { kind: "gone", why: STOPS, sent: false };
    if (!this.isOpen) return { kind: "gone", why: "the port is not open", sent: false };
    const done = Promise.withResolvers<Exchanged<Answer>>();
    const pending: Pending = {
      garbled: null,
      take(content) {
        const answer = judge(content);
        if (answer === null) return false;
        done.resolve({ kind: "answer", answer });
        return true;
      },
      end: (why) => done.resolve({ kind: "gone", why, sent: true }),
    };
    this.#pending = pending;
    const late = this.#clock.after(timeoutMs, () =>
      done.resolve({ kind: "silence", garbled: pending.garbled }),
    );
    const onAbort = () => pending.end(STOPS);
    stop.addEventListener("abort", onAbort, { once: true });
    onSent?.();
    void this.#port.write(bytes).then((problem) => problem !== null && pending.end(problem));
    const exchanged = await done.promise;
    late.cancel();
    stop.removeEventListener("abort", onAbort);
    this.#pending = null;
    this.#unsettled = exchanged.kind !== "answer";
    return exchanged;
  }

  async #settle(stop: AbortSignal): Promise<void> {
    const untilMs = this.#clock.monoMs() + STILL_WAIT_MS_MAX;
    for (;;) {
      const nowMs = this.#clock.monoMs();
      const stillMs = this.#heardAtMs + STILL_MS;
      if (stop.aborted || nowMs >= untilMs || nowMs >= stillMs) break;
      await sleep(this.#clock, Math.min(stillMs, untilMs) - nowMs, stop);
    }
    this.#framer.forget();
    this.#unsettled = false;
  }

  #onOpen(): void {
    this.#noiseBefore += this.#framer.noiseBytes;
    this.#framer = makeFramer(this.#framing);
    this.#heardAtMs = this.#clock.monoMs();
    this.#unsettled = true;
    this.#awaitQuiet();
    this.#wasOpen = true;
    this.#opened.resolve();
    this.#listener.onOpen();
  }

  #onGone(why: string): void {
    if (this.#wasOpen) this.#opened = Promise.withResolvers();
    this.#wasOpen = false;
    this.#quiet?.cancel();
    this.#pending?.end(why);
    this.#listener.onGone(why);
  }

  #onData(data: Buffer): void {
    this.#heardAtMs = this.#clock.monoMs();
    this.#tell(this.#framer.push(data));
    this.#awaitQuiet();
  }

  #awaitQuiet(): void {
    this.#quiet?.cancel();
    const { quiet } = this.#framing;
    // Where no frame has begun a much shorter silence tells that the next byte begins one.
    const waitMs = this.#framer.lost ? Math.min(STILL_MS, quiet) : quiet;
    this.#quiet = this.#framer.pending
      ? this.#clock.after(waitMs, () => this.#tell(this.#framer.quiet()))
      : null;
  }

  #tell(events: readonly FrameEvent[]): void {
    for (const event of events) {
      if (this.#stopping.signal.aborted) return;
      if (event.kind === "bad") {
        if (this.#pending) this.#pending.garbled = event.reason;
        this.#listener.onBad(event);
      } else if (!this.#pending?.take(event.content)) this.#listener.onFrame(event);
    }
  }
}

const STOPS = "the gateway stops";
