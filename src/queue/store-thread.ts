/** Entry of the store thread. */
import { parentPort, workerData } from "node:worker_threads";
import { serveStore } from "./thread-loop.ts";

serveStore(parentPort!, workerData);
