/** The reader thread: answers queries one after the other on a read-only connection. See reader.ts. */
import { flushCompileCache } from "node:module";
import { parentPort, workerData } from "node:worker_threads";
import { type Db, openForReading } from "./database.ts";
import { type QueryName, runQuery } from "./queries.ts";
import { type Audit, auditSteps } from "./queries-audit.ts";
import type { ReaderReply, ReaderRequest } from "./reader.ts";
import { describe } from "./reader-error.ts";

const port = parentPort!;
const { dataDir } = workerData as { dataDir: string };
const reply = (message: ReaderReply) => port.postMessage(message);

let stopping = false;
let auditing: Promise<Audit> | undefined;

function start(): void {
  try {
    const db = openForReading(dataDir);
    db.pragma("temp_store = MEMORY"); // The root file system may be read-only.
    port.on("message", (request: ReaderRequest) => {
      if (request.kind === "query") return answer(db, request);
      stopping = true;
      db.close();
      port.close();
    });
    reply({ kind: "ready" });
  } catch (error) {
    reply({ kind: "failed", error: describe(error, dataDir) });
    port.close();
  }
}

function answer(db: Db, { id, name, params }: Extract<ReaderRequest, { kind: "query" }>): void {
  const result = (value: unknown) => reply({ kind: "result", id, value });
  const fail = (error: unknown) => reply({ kind: "error", id, error: describe(error, dataDir) });
  if (name === "audit") {
    auditing ??= audit();
    auditing.then(result, fail);
    return;
  }
  try {
    result(runQuery(db, name as QueryName, params as never));
  } catch (error) {
    fail(error);
  }
}

/** On a connection of its own, a step at a time, so that other queries are answered in between. */
async function audit(): Promise<Audit> {
  const db = openForReading(dataDir);
  try {
    db.exec("BEGIN");
    const steps = auditSteps(db);
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
      await new Promise((resolve) => setImmediate(resolve));
      if (stopping) throw new Error("the reader is stopping");
    }
  } finally {
    db.close();
    auditing = undefined;
  }
}

start();
flushCompileCache(); // As in store-thread.ts.
