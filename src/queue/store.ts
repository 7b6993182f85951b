/**
 * The store, as the rest of the gateway sees it.
 *
 * Promise: what append(), settle(), claim() or write() has resolved for is committed and fsynced, in the
 * order of the calls. Constraint: one thread alone writes (store-thread.ts); this file runs on the main
 * thread and never touches the disk, because an fsync on an SD card takes up to 50 ms.
 *
 * Group commit: requests gather here while the thread commits; its reply sends the next batch off. So a
 * lone message waits for one fsync, and a flood shares one among thousands. What it trades: a message
 * waits for at most two commits, its own and the one before.
 *
 * Room: a request that the store has no room for (queue.bytesMax, or the disk is full) comes back as
 * `again`. Appends and session changes then wait in order (waiting-line.ts) and are offered again every
 * HELD_RETRY_MS; callers wait, which is what stops their sockets. Claims and settlements go on meanwhile:
 * emptying the store is what makes room.
 *
 * States: ok ⇄ full(disk | limit) → failed (for good: HF_STORE_IO and its like; everything pending and all
 * that follows rejects, and the gateway stops).
 *
 * A batch is wall ms and steady ms (f64 each), then records as in requests.ts. Replies come in the same
 * order, each led by 1 (done) or 0 (again).
 */
import { type Clock, SteadyClock, sleep, type Timer } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { COMMIT_BYTES_MAX } from "../core/limits.ts";
import type { Logger } from "../core/logger.ts";
import { BaseService } from "../core/service.ts";
import type { SessionChange, SessionLog, SessionRow } from "../core/session.ts";
import type { Act } from "./acts.ts";
import { type Arrival, Arrivals } from "./arrivals.ts";
import type { StoreCalls } from "./calls.ts";
import type { CommandChange, TrailEntry } from "./command-record.ts";
import type { Decision, DecisionResult } from "./decide.ts";
import type { ExpireResult } from "./expiry.ts";
import { Pruning } from "./pruning.ts";
import type { OpenLane, RedriveResult, RedriveSelection } from "./repair.ts";
import {
  type AppendReply,
  type AppendRequest,
  type ClaimReply,
  type ClaimRequest,
  REQUEST,
  readAppendReply,
  readClaimReply,
  type Settlement,
  writeAppend,
  writeClaim,
} from "./requests.ts";
import type { SalvageReport } from "./salvage-report.ts";
import type { QueueConfig } from "./schema.ts";
import { writeSessionChanges } from "./session-wire.ts";
import { writeSettle } from "./settle-wire.ts";
import { type StartThread, type StoreThread, startStoreThread } from "./store-worker.ts";
import type { FromThread, ToThread } from "./thread-loop.ts";
import { type Pending, WaitingLine } from "./waiting-line.ts";
import { Decoder, Encoder } from "./wire.ts";
import type { Opened } from "./writer-options.ts";

/** How often held requests are offered to the store again. */
const HELD_RETRY_MS = 250;
/** How long stop() waits for a store without room to take what is pending. */
const STOP_WAIT_MS_MAX = 5000;
/** Deliveries expired in one commit by a sweep. */
const EXPIRE_STEP_MAX = 1000;

export type StoreState =
  | { readonly kind: "ok" }
  | { readonly kind: "full"; readonly sinceMs: number }
  | { readonly kind: "failed"; readonly error: HoldfastError };

export interface StoreOptions {
  readonly dataDir: string;
  readonly queue: QueueConfig;
  readonly boot: string;
  readonly version: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Tests pass one with a fault in it, or one without a thread. */
  readonly startThread?: StartThread;
}

export class Store extends BaseService implements SessionLog {
  readonly #options: StoreOptions;
  readonly #out = new Encoder();
  /** The ballast (thread-loop.ts) counts on it: the log does not grow by more after it should have been folded. */
  readonly #commitBytesMax: number;
  #worker: StoreThread | undefined;
  #opened: Opened | undefined;
  #steady: SteadyClock | undefined;
  readonly #line = new WaitingLine();
  #inFlight: Pending[] | null = null;
  #scheduled = false;
  #state: StoreState = { kind: "ok" };
  /** Set once the thread has been told to close. */
  #closed: HoldfastError | undefined;
  readonly #ended = Promise.withResolvers<void>();
  /** Set while stop() waits for the line to empty. */
  #onQuiet: (() => void) | undefined;
  readonly #arrivals = new Arrivals();
  readonly #pruning: Pruning;
  #retry: Timer | undefined;
  /** Not even what makes room found any: nothing is sent until #retry fires. */
  #paused = false;

  /** Called once a commit with the lanes that got new deliveries. */
  onArrivals: (arrivals: readonly Arrival[]) => void = () => {};
  /** Called once a commit with what commands have come to. */
  onCommands: (changes: readonly CommandChange[]) => void = () => {};
  /** Called when the state changes. */
  onState: (state: StoreState) => void = () => {};
  /** Called after each commit: how many requests it took and how long it ran. */
  onCommit: (requests: number, durationMs: number, syncMs?: number) => void = () => {};

  constructor(options: StoreOptions) {
    super();
    this.#options = options;
    this.#commitBytesMax = Math.min(COMMIT_BYTES_MAX, options.queue.walBytesMax / 2);
    this.#pruning = new Pruning({
      clock: options.clock,
      everyMs: options.queue.retention.every,
      step: async (how) => (await this.call("prune", { nowMs: this.steadyMs(), ...how })).finished,
    });
  }

  get state(): StoreState {
    return this.#state;
  }

  /** Deliveries that the last run left in the air. */
  get recovered(): number {
    return this.#opened?.recovered ?? 0;
  }

  /** What the start found damaged, and what became of it. */
  get salvaged(): SalvageReport | null {
    return this.#opened?.salvaged ?? null;
  }

  /** The steady clock (core/clock.ts), carried on from the store's last run. */
  steadyMs(): number {
    return this.#steady!.nowMs();
  }

  append(request: AppendRequest, signal?: AbortSignal): Promise<AppendReply> {
    return this.#ask(
      (out) => writeAppend(out, request),
      (input) => {
        const reply = readAppendReply(input);
        if (reply.kind === "stored") this.#arrivals.note(request, reply.lanes);
        return reply;
      },
      { held: request.urgent !== true, signal },
    );
  }

  claim(request: ClaimRequest): Promise<ClaimReply> {
    return this.#ask((out) => writeClaim(out, request), readClaimReply);
  }

  settle(settlements: readonly Settlement[]): Promise<void> {
    return this.#ask(
      (out) => writeSettle(out, settlements),
      () => {},
    );
  }

  write(changes: readonly SessionChange[]): Promise<void> {
    return this.#ask(
      (out) => {
        out.u8(REQUEST.session);
        writeSessionChanges(out, changes);
      },
      () => {},
      { held: true },
    );
  }

  async load(): Promise<SessionRow[]> {
    const rows = await this.call("sessions", null);
    return rows.map((row) => ({ ...row, value: Buffer.from(row.value, "base64") }));
  }

  /** Makes flow versions known; the ids are for Route.version, in the order asked. */
  async registerFlows(flows: StoreCalls["registerFlows"][0]): Promise<number[]> {
    const versions = await this.call("registerFlows", flows);
    for (const [at, version] of versions.entries()) this.#arrivals.learnVersion(version, flows[at]!.flow);
    return versions;
  }

  openLanes(): Promise<OpenLane[]> {
    return this.call("openLanes", null);
  }

  redrive(selection: RedriveSelection): Promise<RedriveResult> {
    return this.call("redrive", selection);
  }

  /** Puts on record what somebody did. */
  act(act: Act): Promise<void> {
    return this.call("act", act);
  }

  /** Expires waiting deliveries of a flow whose message is older than `beforeMs` (steady clock). */
  expire(flow: string, beforeMs: number): Promise<ExpireResult> {
    return this.call("expire", { flow, beforeMs, limit: EXPIRE_STEP_MAX });
  }

  /** Expires deliveries whose own time is over, in whatever flow. */
  expireOutlived(): Promise<ExpireResult> {
    return this.call("expireOutlived", { nowMs: this.steadyMs(), limit: EXPIRE_STEP_MAX });
  }

  /** What a person says of a command; see decide.ts. */
  decide(decision: Decision, signal?: AbortSignal): Promise<DecisionResult> {
    return this.call("decide", decision, signal);
  }

  /** Puts a command that was not taken into the audit trail. */
  refused(entry: TrailEntry, signal?: AbortSignal): Promise<void> {
    return this.call("refused", entry, signal);
  }

  /** Moves a figure that has no row of its own: dropped, refused. */
  count(flow: string, what: string, n = 1): Promise<void> {
    return this.call("count", { flow, what, n });
  }

  protected async onStart(): Promise<void> {
    const { dataDir, queue, boot, version, clock, startThread = startStoreThread } = this.#options;
    const worker = startThread({ dataDir, queue, boot, version, openedAtMs: clock.wallMs() });
    this.#worker = worker;
    await new Promise<void>((resolve, reject) => {
      const fail = (error: HoldfastError) => {
        reject(error);
        this.#fail(error);
      };
      worker.on("message", (message: FromThread) => {
        if (message.kind === "opened") {
          this.#opened = message.opened;
          this.#steady = new SteadyClock(clock, message.opened.last);
          if (message.full) this.#noRoom();
          resolve();
        } else if (message.kind === "replies") this.#replied(message);
        else if (message.kind === "closed") this.#ended.resolve();
        else fail(new HoldfastError(message.code, message.message, message.details));
      });
      worker.on("error", (cause) =>
        fail(new HoldfastError("HF_INTERNAL", `the store thread died: ${cause}`, {}, cause)),
      );
      worker.on("exit", () => {
        this.#ended.resolve();
        fail(new HoldfastError("HF_INTERNAL", "the store thread ended by itself"));
      });
    });
    this.#pruning.start();
  }

  protected async onStop(): Promise<void> {
    this.#pruning.stop();
    const worker = this.#worker;
    if (!worker) return;
    if (this.#opened && this.#state.kind !== "failed") await this.#quiet();
    this.#retry?.cancel();
    const clean = this.#opened !== undefined && this.#state.kind !== "failed";
    this.#closed = new HoldfastError("HF_GATEWAY_DOWN", "the store is closed");
    this.#post({ kind: "close", clean });
    await this.#ended.promise;
    await worker.terminate();
    for (const pending of this.#inFlight ?? []) pending.reject(this.#closed);
    this.#line.rejectAll(this.#closed);
  }

  /** Waits until all that has been asked is answered, or until what is left has found no room once more. */
  async #quiet(): Promise<void> {
    if (this.#state.kind === "full") this.#offerAgain();
    if (!this.#inFlight && !this.#line.ready) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onQuiet = resolve;
    await Promise.race([promise, sleep(this.#options.clock, STOP_WAIT_MS_MAX)]);
  }

  /** What is asked rarely, by name (calls.ts); done in a commit like all else. */
  call<K extends keyof StoreCalls>(name: K, argument: StoreCalls[K][0], signal?: AbortSignal) {
    return this.#ask(
      (out) => {
        out.u8(REQUEST.call);
        out.text(name);
        out.text(JSON.stringify(argument));
      },
      (input) => JSON.parse(input.text()) as StoreCalls[K][1],
      { signal },
    );
  }

  #ask<T>(
    encode: (out: Encoder) => void,
    decode: (input: Decoder) => T,
    { held = false, signal }: { held?: boolean; signal?: AbortSignal } = {},
  ): Promise<T> {
    const refusal = this.#closed ?? (this.#state.kind === "failed" ? this.#state.error : undefined);
    if (refusal) return Promise.reject(refusal);
    return new Promise<T>((resolve, reject) => {
      this.#line.push({ encode, decode: (input) => resolve(decode(input)), reject, held, signal });
      this.#schedule();
    });
  }

  /** Sends after this turn of the event loop, so that all its requests go in one batch. */
  #schedule(): void {
    if (this.#scheduled || this.#inFlight || this.#paused) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#inFlight || this.#paused || this.#closed || this.#state.kind === "failed") return;
    const out = this.#out;
    out.f64(this.#options.clock.wallMs());
    out.f64(this.steadyMs());
    const batch = this.#line.take(out, this.#commitBytesMax);
    if (batch.length === 0) {
      out.rewind(0);
      this.#onQuiet?.();
      return;
    }
    this.#inFlight = batch;
    const bytes = out.take();
    this.#post({ kind: "batch", bytes }, [bytes.buffer]);
  }

  #post(message: ToThread, transfer: ArrayBuffer[] = []): void {
    this.#worker!.postMessage(message, transfer);
  }

  #replied({ bytes, commitMs, syncMs, full, news }: Extract<FromThread, { kind: "replies" }>): void {
    const batch = this.#inFlight!;
    this.#inFlight = null;
    const input = new Decoder(bytes);
    const again: Pending[] = [];
    for (const pending of batch) {
      if (input.u8() === 1) pending.decode(input);
      else again.push(pending);
    }
    this.onCommit(batch.length - again.length, commitMs, syncMs);
    if (again.length > 0) this.#holdBack(again);
    else if (full) this.#noRoom();
    else if (!this.#line.stuck) this.#setState({ kind: "ok" });
    const arrivals = [...this.#arrivals.take(), ...(news?.arrivals ?? [])];
    if (arrivals.length > 0) this.onArrivals(arrivals);
    if (news && news.changes.length > 0) this.onCommands(news.changes);
    if (this.#line.ready) this.#schedule();
    else this.#onQuiet?.();
  }

  #holdBack(again: readonly Pending[]): void {
    this.#line.putBack(again);
    this.#paused = again.some((pending) => !pending.held);
    if (this.#paused) this.#onQuiet?.();
    this.#noRoom();
  }

  #noRoom(): void {
    this.#setState({ kind: "full", sinceMs: this.#options.clock.monoMs() });
    this.#retry ??= this.#options.clock.after(HELD_RETRY_MS, () => this.#offerAgain());
  }

  #offerAgain(): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    this.#paused = false;
    if (this.#closed || this.#state.kind === "failed") return;
    this.#line.offerAgain();
    void this.#pruning.makeRoom();
    this.#schedule();
  }

  #setState(state: StoreState): void {
    if (state.kind === this.#state.kind) return;
    this.#state = state;
    this.onState(state);
  }

  #fail(error: HoldfastError): void {
    if (this.#state.kind === "failed") return;
    if (this.#closed) {
      if (error.code !== "HF_INTERNAL") this.#options.logger.error({ err: error }, "the store closed badly");
      return;
    }
    this.#retry?.cancel();
    this.#pruning.stop();
    this.#setState({ kind: "failed", error });
    for (const pending of this.#inFlight ?? []) pending.reject(error);
    this.#inFlight = null;
    this.#line.rejectAll(error);
    this.#onQuiet?.();
  }
}
