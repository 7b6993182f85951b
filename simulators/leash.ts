/**
 * Loaded into a gateway before anything else (`node --import`), where a simulator started it: the gateway ends when
 * whoever started it is gone. A process that is killed with SIGKILL cannot stop what it started, but the pipe that
 * it held to this one's standard input ends with it.
 */
import { isMainThread } from "node:worker_threads";

if (isMainThread) {
  process.stdin.on("end", () => process.kill(process.pid, "SIGKILL"));
  process.stdin.on("error", () => process.kill(process.pid, "SIGKILL"));
  process.stdin.resume();
  // It must not keep a gateway alive that has stopped decently.
  (process.stdin as unknown as { unref?: () => void }).unref?.();
}
