/**
 * The store thread without a thread: the same writer, on a simulated disk, answering some time later. A gateway can
 * die at any access of its disk, and between a commit and the word of it.
 */
import type { Db } from "../../../src/queue/database.ts";
import type { StoreThread } from "../../../src/queue/store-worker.ts";
import { describeFailure, type FromThread, type ToThread } from "../../../src/queue/thread-loop.ts";
import { Writer } from "../../../src/queue/writer.ts";
import type { WriterOptions } from "../../../src/queue/writer-options.ts";
import { CrashError, type Fault, isCrash, type SimDisk } from "./sim-disk.ts";
import { openOnDisk } from "./sim-sqlite.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** Not the log's index, in which nothing is to last. */
const STORE_FILES = /\/store\.db(-wal)?$/;
const FATAL: readonly Fault["kind"][] = ["write", "sync"];

export interface SimThreadParts {
  readonly time: VirtualTime;
  readonly disk: SimDisk;
  /** The gateway that it belongs to. */
  readonly process: { readonly dead: boolean };
  /** How long a commit takes now. */
  readonly commitMs: () => number;
  /** Called between a commit and the word of it; true: the process dies there. */
  readonly onCommitted: () => boolean;
  /** The disk killed the process, or onCommitted did. */
  readonly onDeath: () => void;
  readonly onDb: (db: Db) => void;
  readonly find: (sentence: string) => void;
  readonly synchronous?: WriterOptions["synchronous"];
}

export class SimStoreThread implements StoreThread {
  readonly #parts: SimThreadParts;
  #writer: Writer | null = null;
  #onMessage: (message: FromThread) => void = () => {};
  #onExit: () => void = () => {};

  constructor(options: WriterOptions, parts: SimThreadParts) {
    this.#parts = parts;
    this.#later(2, () => {
      const connect = (file: string) => {
        // As the product's own connect() does (log-renewal.ts).
        parts.disk.renew(`${file}-wal`);
        const db = openOnDisk(parts.disk, file);
        parts.onDb(db);
        return db;
      };
      this.#writer = new Writer({ ...options, connect, synchronous: parts.synchronous });
      this.#post({ kind: "opened", opened: this.#writer.opened });
    });
  }

  on(event: string, listener: (value: never) => void): this {
    if (event === "message") this.#onMessage = listener as (message: FromThread) => void;
    if (event === "exit") this.#onExit = listener as () => void;
    return this;
  }

  postMessage(message: ToThread): void {
    if (message.kind === "close") {
      const writer = this.#writer;
      this.#later(1, () => writer?.close(message.clean));
      this.#later(1, () => this.#post({ kind: "closed" }));
      return;
    }
    const bytes = message.bytes.slice();
    const commitMs = this.#parts.commitMs();
    this.#later(commitMs, () => {
      if (!this.#writer) return;
      const replies = this.#writer.run(bytes);
      if (this.#parts.onCommitted()) throw new CrashError();
      this.#later(0, () => this.#post({ kind: "replies", bytes: replies, commitMs }));
    });
  }

  async terminate(): Promise<void> {
    this.#onExit();
  }

  #later(delayMs: number, work: () => void): void {
    const { time, process, onDeath } = this.#parts;
    time.after(delayMs, () => {
      if (process.dead) return;
      try {
        this.#parts.disk.lastFault = null;
        work();
        this.#checkFault();
      } catch (error) {
        if (isCrash(error)) onDeath();
        else {
          this.#writer = null;
          this.#post({ kind: "failed", ...describeFailure(error) });
        }
      }
    });
  }

  /** Whatever it was doing when its log or its file could not be written or synced, it must not go on. */
  #checkFault(): void {
    const { disk, find } = this.#parts;
    const fault = disk.lastFault;
    if (!fault || !STORE_FILES.test(fault.file) || !FATAL.includes(fault.kind)) return;
    find(`a ${fault.kind} of ${fault.file} failed, and the store went on`);
  }

  #post(message: FromThread): void {
    if (!this.#parts.process.dead) this.#onMessage(message);
  }
}
