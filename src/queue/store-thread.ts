/** Entry of the store thread. */
import { flushCompileCache } from "node:module";
import { parentPort, workerData } from "node:worker_threads";
import { serveStore } from "./thread-loop.ts";

serveStore(parentPort!, workerData);
// As in cli/run.ts; each thread writes its own. Without, Node loads its TypeScript compiler into it: 10 MiB.
flushCompileCache();
