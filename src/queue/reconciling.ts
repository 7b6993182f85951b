/**
 * A list of ids that somebody sends, held against what a flow has (id-list.ts), on a thread of its own for as long as
 * that takes: the main thread hands on bytes, a chunk when the last one was taken, and nothing else, so that no
 * acknowledgement waits for it, however long the list is. The thread reads the store by itself, a page at a time.
 *
 * One at a time: each may fill the processor, and the folder for temporary files. Where whoever sends goes away, the
 * thread ends at its next chunk or page, and its file with it.
 */
import { Worker } from "node:worker_threads";
import { HoldfastError } from "../core/errors.ts";
import type { Compared, CompareRange, Finding, Found } from "./id-list.ts";
import { type ReaderError, revive } from "./reader-error.ts";

const RETRY_AFTER_S = 5;

// The name of this very file tells whether the code runs as written or as compiled.
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const THREAD_ENTRY = new URL(`./reconcile-thread.${EXTENSION}`, import.meta.url);

export interface ReconcileAsk {
  readonly flow: string;
  /** What the id is called in the list. */
  readonly column: string;
  /** JSON as a whole, rather than lines. */
  readonly json: boolean;
  readonly range: CompareRange;
  /** Of each kind of finding, at most so many are shown. */
  readonly limit: number;
}

export interface Reconciled extends Compared {
  readonly shown: Readonly<Record<Finding, readonly Found[]>>;
}

/** What the thread is told: a chunk, the end (null), or that nobody waits for it any more. */
export type ReconcileWord = { readonly chunk: Uint8Array | null } | { readonly gone: true };

export type ReconcileReply =
  | { readonly kind: "more" }
  | { readonly kind: "done"; readonly value: Reconciled }
  | { readonly kind: "failed"; readonly error: ReaderError };

export class Reconciling {
  readonly #dataDir: string;
  #busy = false;

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
  }

  /** Resolves when the thread has ended. Throws HF_TOO_MANY, HF_REQUEST for a list that is none, HF_SCRATCH. */
  async run(ask: ReconcileAsk, list: AsyncGenerator<Uint8Array>, gone: AbortSignal): Promise<Reconciled> {
    if (this.#busy) {
      const message = "another list is being compared just now, and one at a time is";
      throw new HoldfastError("HF_TOO_MANY", message, { retryAfterS: RETRY_AFTER_S });
    }
    this.#busy = true;
    const worker = new Worker(THREAD_ENTRY, {
      name: "reconcile",
      workerData: { dataDir: this.#dataDir, ask },
    });
    const ended = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
    const leave = () => worker.postMessage({ gone: true } satisfies ReconcileWord);
    gone.addEventListener("abort", leave);
    try {
      return await answerOf(worker, list);
    } finally {
      gone.removeEventListener("abort", leave);
      leave();
      void list.return(undefined);
      await ended;
      this.#busy = false;
    }
  }
}

function answerOf(worker: Worker, list: AsyncGenerator<Uint8Array>): Promise<Reconciled> {
  return new Promise((resolve, reject) => {
    const give = async () => {
      const { done, value } = await list.next();
      // A copy that is handed over: the chunk is a part of a buffer that goes on to be used.
      const chunk = done ? null : new Uint8Array(value);
      worker.postMessage({ chunk } satisfies ReconcileWord, chunk === null ? [] : [chunk.buffer]);
    };
    worker.on("message", (reply: ReconcileReply) => {
      if (reply.kind === "more") give().catch(reject);
      else if (reply.kind === "done") resolve(reply.value);
      else reject(revive(reply.error));
    });
    worker.once("error", reject);
    worker.once("exit", () => reject(new HoldfastError("HF_INTERNAL", "the thread that compares has ended")));
  });
}
