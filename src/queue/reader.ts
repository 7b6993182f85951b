/**
 * Questions to the store from the main thread, answered on a thread of their own.
 *
 * Promise: a slow question never delays an acknowledgement: it runs on another thread, on a read-only
 * connection that takes no lock a writer waits for. What a question throws comes back as its error.
 * Constraint: questions are answered one after the other, so a slow one delays the next; the audit alone
 * goes in steps and lets others in between.
 * A thread that dies is reported, fails what it was asked, and is started again with the next question,
 * but not more often than once a second.
 */
import { Worker } from "node:worker_threads";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import { BaseService } from "../core/service.ts";
import type { QueryName, QueryParams, QueryResult } from "./queries.ts";
import { type ReaderError, revive } from "./reader-error.ts";

const RESTART_EVERY_MS_MIN = 1000;

export type ReaderRequest =
  | { readonly kind: "query"; readonly id: number; readonly name: string; readonly params: unknown }
  | { readonly kind: "stop" };

export type ReaderReply =
  | { readonly kind: "ready" }
  | { readonly kind: "failed"; readonly error: ReaderError }
  | { readonly kind: "result"; readonly id: number; readonly value: unknown }
  | { readonly kind: "error"; readonly id: number; readonly error: ReaderError };

export interface ReaderOptions {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The thread's entry; tests pass one with a fault in it. */
  readonly threadEntry?: URL;
}

// The name of this very file tells whether the code runs as written or as compiled.
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const THREAD_ENTRY = new URL(`./reader-thread.${EXTENSION}`, import.meta.url);

interface Asked {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** What others need of it: the CLI and tests answer from a connection of their own. */
export interface Querying {
  /**
   * Rejects with the HoldfastError that the query threw, with HF_INTERNAL for a defect or a thread that
   * died under it.
   */
  query<N extends QueryName>(name: N, params: QueryParams<N>): Promise<QueryResult<N>>;
}

export class Reader extends BaseService implements Querying {
  readonly #options: ReaderOptions;
  readonly #asked = new Map<number, Asked>();
  #worker: Promise<Worker> | undefined;
  #startedAtMs = Number.NEGATIVE_INFINITY;
  #lastId = 0;

  /** Called when a question met damage: the store must not be written on, and the next start looks at all of it. */
  onDamaged: (error: HoldfastError) => void = () => {};

  constructor(options: ReaderOptions) {
    super();
    this.#options = options;
  }

  async query<N extends QueryName>(name: N, params: QueryParams<N>): Promise<QueryResult<N>> {
    if (this.stopping) throw new HoldfastError("HF_GATEWAY_DOWN", "the gateway is stopping");
    const worker = await this.#running();
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve: resolve as Asked["resolve"], reject });
      worker.postMessage({ kind: "query", id, name, params } satisfies ReaderRequest);
    });
  }

  protected async onStart(): Promise<void> {
    await this.#running();
  }

  protected async onStop(): Promise<void> {
    const worker = await this.#worker?.catch(() => undefined);
    if (!worker) return;
    const ended = new Promise((resolve) => worker.once("exit", resolve));
    worker.postMessage({ kind: "stop" } satisfies ReaderRequest);
    await ended;
  }

  #running(): Promise<Worker> {
    if (this.#worker) return this.#worker;
    const nowMs = this.#options.clock.monoMs();
    if (nowMs - this.#startedAtMs < RESTART_EVERY_MS_MIN) {
      return Promise.reject(
        new HoldfastError("HF_INTERNAL", "the reader thread has just stopped; ask again"),
      );
    }
    this.#startedAtMs = nowMs;
    this.#worker = this.#spawn();
    this.#worker.catch(() => {
      this.#worker = undefined;
    });
    return this.#worker;
  }

  #spawn(): Promise<Worker> {
    const worker = new Worker(this.#options.threadEntry ?? THREAD_ENTRY, {
      name: "reader",
      workerData: { dataDir: this.#options.dataDir },
    });
    return new Promise((resolve, reject) => {
      worker.on("message", (reply: ReaderReply) => {
        if (reply.kind === "ready") resolve(worker);
        else if (reply.kind === "failed") reject(revive(reply.error));
        else this.#settle(reply);
      });
      worker.on("error", (error) => this.#options.logger.error({ err: error }, "the reader thread failed"));
      worker.on("exit", (exitCode) => {
        this.#worker = undefined;
        const gone = new HoldfastError("HF_INTERNAL", `the reader thread stopped (exit code ${exitCode})`);
        reject(gone);
        for (const asked of this.#asked.values()) asked.reject(gone);
        this.#asked.clear();
        if (!this.stopping)
          this.#options.logger.warn({ exitCode }, "the reader thread stopped; it starts again when asked");
      });
    });
  }

  #settle(reply: Extract<ReaderReply, { id: number }>): void {
    const asked = this.#asked.get(reply.id);
    this.#asked.delete(reply.id);
    if (reply.kind === "result") {
      asked?.resolve(reply.value);
      return;
    }
    const error = revive(reply.error);
    asked?.reject(error);
    if (error.code === "HF_STORE_DAMAGED") this.onDamaged(error);
  }
}
