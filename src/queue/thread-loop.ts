/**
 * What the store thread does: opens the writer, then runs each batch it is sent and posts the replies back.
 * Any failure but a full disk is the end of it: reported once, and nothing is written afterwards, because
 * after a failed fsync nobody knows what is on the disk.
 */
import type { MessagePort } from "node:worker_threads";
import { type Clock, systemClock } from "../core/clock.ts";
import { type ErrorCode, errorText, HoldfastError } from "../core/errors.ts";
import { Ballast } from "./ballast.ts";
import type { StoreNews } from "./command-record.ts";
import { startWriter } from "./damage.ts";
import { markSuspect } from "./damaged-folder.ts";
import { lockStore } from "./lock.ts";
import { free } from "./wire.ts";
import type { Writer } from "./writer.ts";
import type { Opened, WriterOptions } from "./writer-options.ts";

export type ToThread =
  | { readonly kind: "batch"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "close"; readonly clean: boolean };

export type FromThread =
  /** `full`: new messages wait for room on the disk. */
  | { readonly kind: "opened"; readonly opened: Opened; readonly full?: boolean }
  | {
      readonly kind: "replies";
      readonly bytes: Uint8Array<ArrayBuffer>;
      /** The whole batch: its work, COMMIT, and folding the log where that was due. */
      readonly commitMs: number;
      /** Of that, COMMIT alone; absent where nobody measures it. */
      readonly syncMs?: number | undefined;
      readonly full?: boolean;
      readonly news?: StoreNews | null;
    }
  | {
      readonly kind: "failed";
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: "closed" };

/** Failures that may come of damage: the next start then looks at everything, and not at the pages alone. */
const SUSPICIOUS: readonly ErrorCode[] = ["HF_STORE_DAMAGED", "HF_INTERNAL"];

export function serveStore(port: MessagePort, options: WriterOptions, clock: Clock = systemClock): void {
  const post = (message: FromThread, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer);
  let writer: Writer | undefined;
  let unlock: (() => void) | undefined;
  const fail = (error: unknown) => {
    const failure = describeFailure(error);
    if (writer && SUSPICIOUS.includes(failure.code)) markSuspect(options.dataDir, failure.message);
    post({ kind: "failed", ...failure });
    writer = undefined;
  };
  try {
    const startedAt = new Date(options.openedAtMs).toISOString();
    unlock = lockStore(options.dataDir, { pid: process.pid, boot: options.boot, startedAt });
    // What the log holds when it is folded, and a commit that has just not led to that (store.ts).
    const ballast = new Ballast(options.dataDir, 2 * options.queue.walBytesMax);
    ballast.giveForStart();
    // One that was given up is no reason to begin as on a full disk where there is room again.
    if (ballast.given) ballast.take();
    writer = startWriter({ ...options, ballast, monoMs: () => clock.monoMs() });
    post({ kind: "opened", opened: writer.opened, full: writer.full });
  } catch (error) {
    fail(error);
  }
  port.on("message", (message: ToThread) => {
    try {
      if (message.kind === "close") writer?.close(message.clean);
      else if (writer) {
        const beganMs = clock.monoMs();
        const bytes = writer.run(message.bytes);
        const commitMs = clock.monoMs() - beganMs;
        free(message.bytes);
        const { full, syncMs } = writer;
        const replies = { kind: "replies", bytes, commitMs, syncMs, full, news: writer.takeNews() } as const;
        post(replies, [bytes.buffer]);
      }
    } catch (error) {
      fail(error);
    }
    if (message.kind !== "close") return;
    unlock?.();
    post({ kind: "closed" });
    port.close();
  });
}

export function describeFailure(error: unknown): {
  code: ErrorCode;
  message: string;
  details: Record<string, unknown>;
} {
  if (error instanceof HoldfastError) {
    return { code: error.code, message: error.message, details: { ...error.details } };
  }
  const sqlite = String((error as { code?: unknown }).code ?? "");
  const details = { sqlite, stack: (error as Error).stack };
  if (sqlite.startsWith("SQLITE_IOERR") || sqlite === "EIO") {
    return { code: "HF_STORE_IO", message: `the disk failed under the store: ${errorText(error)}`, details };
  }
  if (sqlite.startsWith("SQLITE_CORRUPT") || sqlite === "SQLITE_NOTADB") {
    return { code: "HF_STORE_DAMAGED", message: `the store is damaged: ${errorText(error)}`, details };
  }
  if (sqlite.startsWith("SQLITE_READONLY") || sqlite === "SQLITE_CANTOPEN") {
    return { code: "HF_STORE_DENIED", message: `the store cannot be written: ${errorText(error)}`, details };
  }
  if (sqlite === "SQLITE_FULL") {
    return { code: "HF_STORE_FULL", message: `the store's disk is full: ${errorText(error)}`, details };
  }
  return { code: "HF_INTERNAL", message: `the store thread failed: ${errorText(error)}`, details };
}
