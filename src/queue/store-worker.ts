/** The thread that the store's writer runs on, as the store sees it. */
import { Worker } from "node:worker_threads";
import type { FromThread, ToThread } from "./thread-loop.ts";
import type { WriterOptions } from "./writer-options.ts";

/** What the store needs of a worker thread that runs thread-loop.ts. */
export interface StoreThread {
  postMessage(message: ToThread, transfer: ArrayBuffer[]): void;
  on(event: "message", listener: (message: FromThread) => void): unknown;
  on(event: "error", listener: (cause: unknown) => void): unknown;
  on(event: "exit", listener: () => void): unknown;
  terminate(): Promise<unknown>;
}

export type StartThread = (options: WriterOptions) => StoreThread;

/** A worker thread with this file as its entry. */
export function threadAt(entry: URL): StartThread {
  return (workerData) => new Worker(entry, { workerData });
}

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
export const startStoreThread = threadAt(new URL(`./store-thread.${EXTENSION}`, import.meta.url));
