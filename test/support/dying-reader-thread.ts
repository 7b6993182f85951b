/** A reader thread that dies under its first question. */
import { parentPort } from "node:worker_threads";

parentPort!.on("message", ({ kind }: { kind: string }) => {
  if (kind === "query") throw new Error("killed by the test");
  parentPort!.close();
});
parentPort!.postMessage({ kind: "ready" });
