/**
 * A line: what several units may hang on (a TCP connection, a serial bus), and where one question is asked at a
 * time. Questions wait in the order in which they came; what a command asks goes before those of polls, after the
 * one that is under way.
 *
 * Promise: at most one question is under way, and each is answered, in bounded time: the timeouts of those
 * before it and its own. Who asks a silent unit is to ask less often (modbus.ts), so that the others get
 * their turn.
 *
 * States: closed ──a question──▶ opening ──▶ open ──broken, or silent for too long──▶ closed. A line is opened
 * by a question, never by itself; after a failed opening it is not tried again for a while, and questions are
 * answered `unreachable` at once, so that a cable that is out does not make every unit wait for it.
 */
import type { Clock } from "../../core/clock.ts";
import { type Failure, unreachableFailure } from "./failure.ts";
import type { ConnectionConfig } from "./schema.ts";
import { type Answer, type Question, Wire } from "./wire.ts";

/** After so many questions in a row without any answer a connection may be a dead one: it is made anew. */
const SILENT_QUESTIONS_MAX = 3;
/** Between two tries to open it. */
const REOPEN_MS = 500;

/** Never rejects. */
export type Ask = (question: Question, timeoutMs: number) => Promise<Answer>;

export class Line {
  readonly #connection: ConnectionConfig;
  readonly #clock: Clock;
  readonly #urgent: (() => Promise<void>)[] = [];
  readonly #waiting: (() => Promise<void>)[] = [];
  readonly #stopping = new AbortController();
  #wire: Wire | null = null;
  #working: Promise<void> | null = null;
  #silent = 0;
  #unopened: { readonly failure: Failure; readonly untilMs: number } | null = null;

  constructor(connection: ConnectionConfig, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  /** Never rejects. */
  ask(question: Question, timeoutMs: number): Promise<Answer> {
    return this.#inTurn(this.#waiting, () => this.#answer(question, timeoutMs));
  }

  /** The line is this work's alone until it ends: nobody asks anything between its questions. */
  urgently<Outcome>(work: (ask: Ask) => Promise<Outcome>): Promise<Outcome> {
    return this.#inTurn(this.#urgent, () => work((question, timeoutMs) => this.#answer(question, timeoutMs)));
  }

  /** What waits is answered `unreachable`; resolves when nothing is under way any more. */
  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#wire?.close(STOPPED.sentence);
    await this.#working;
    await this.#wire?.close();
    this.#wire = null;
  }

  #inTurn<Outcome>(queue: (() => Promise<void>)[], work: () => Promise<Outcome>): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      queue.push(() => work().then(resolve, reject));
      this.#working ??= this.#work();
    });
  }

  async #work(): Promise<void> {
    for (;;) {
      const next = this.#urgent.shift() ?? this.#waiting.shift();
      if (!next) break;
      await next();
    }
    this.#working = null;
  }

  async #answer(question: Question, timeoutMs: number): Promise<Answer> {
    const { signal } = this.#stopping;
    const wire = signal.aborted ? STOPPED : await this.#open(timeoutMs);
    if (!(wire instanceof Wire)) return { ok: false, failure: wire };
    const answer = await wire.ask(question, timeoutMs);
    this.#silent = answer.ok || !isSilence(answer.failure) ? 0 : this.#silent + 1;
    if (wire.broken || this.#silent >= SILENT_QUESTIONS_MAX) {
      this.#silent = 0;
      this.#wire = null;
      await wire.close();
    }
    return answer;
  }

  async #open(timeoutMs: number): Promise<Wire | Failure> {
    if (this.#wire && !this.#wire.broken) return this.#wire;
    const broken = this.#wire;
    this.#wire = null;
    await broken?.close();
    if (this.#unopened && this.#clock.monoMs() < this.#unopened.untilMs) return this.#unopened.failure;
    const opened = await Wire.open(this.#connection, timeoutMs, this.#clock, this.#stopping.signal);
    if (opened instanceof Wire) {
      this.#unopened = null;
      this.#wire = opened;
    } else {
      this.#unopened = { failure: opened, untilMs: this.#clock.monoMs() + REOPEN_MS };
    }
    return opened;
  }
}

/** An exception tells that the line is alive, also where a Modbus gateway gives it for a unit that is not there. */
function isSilence({ name }: Failure): boolean {
  return name === "timeout" || name === "garbled";
}

export const STOPPED = unreachableFailure("the gateway stops");

export function whereText(connection: ConnectionConfig, unit: number): string {
  const line = connection.type === "tcp" ? `${connection.host}:${connection.port}` : connection.path;
  return `${line} unit ${unit}`;
}
