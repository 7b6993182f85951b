/** The thread of one list that is held against what a flow has. See reconciling.ts. */
import { parentPort, workerData } from "node:worker_threads";
import { HoldfastError } from "../core/errors.ts";
import { idsIn, idsInJson, jsonIn } from "../core/id-lines.ts";
import { openForReading } from "./database.ts";
import { IdList, reconcile } from "./id-list.ts";
import { runQuery } from "./queries.ts";
import { describe } from "./reader-error.ts";
import type { ReconcileAsk, ReconcileReply, ReconcileWord } from "./reconciling.ts";

const JSON_BYTES_MAX = 8 * 2 ** 20;

const port = parentPort!;
const { dataDir, ask } = workerData as { dataDir: string; ask: ReconcileAsk };
const reply = (message: ReconcileReply) => port.postMessage(message);

let awaited = Promise.withResolvers<Uint8Array | null>();
let gone = false;
port.on("message", (word: ReconcileWord) => {
  if ("chunk" in word) return awaited.resolve(word.chunk);
  gone = true;
  awaited.resolve(null);
});

function stayOnlyIfAwaited(): void {
  if (gone) throw new HoldfastError("HF_REQUEST", "whoever sent the list has gone away");
}

async function* chunks(): AsyncGenerator<Uint8Array> {
  for (;;) {
    awaited = Promise.withResolvers();
    reply({ kind: "more" });
    const chunk = await awaited.promise;
    stayOnlyIfAwaited();
    if (chunk === null) return;
    yield chunk;
  }
}

async function* ids(): AsyncGenerator<readonly string[]> {
  const { column, json } = ask;
  const refuse = (sentence: string) =>
    new HoldfastError(
      "HF_REQUEST",
      `${sentence}; nothing was compared. \`column\` says what the id is called`,
    );
  const place = { column, refuse };
  if (json) yield idsInJson(await jsonIn(chunks(), JSON_BYTES_MAX, refuse), place);
  else yield* idsIn(chunks(), place);
}

async function run(): Promise<void> {
  const { flow, range, limit } = ask;
  const db = openForReading(dataDir);
  const list = new IdList(range);
  try {
    const compared = await reconcile(list, ids(), async (after) => {
      // Lets in that whoever asks has gone.
      await new Promise((resolve) => setImmediate(resolve));
      stayOnlyIfAwaited();
      return runQuery(db, "ledger", { flow, after });
    });
    reply({ kind: "done", value: { ...compared, shown: list.shown(limit) } });
  } finally {
    db.close();
    list.close();
  }
}

run()
  .catch((error) => reply({ kind: "failed", error: describe(error, dataDir) }))
  .finally(() => port.close());
