/**
 * Into a gateway by `--import`: how late the main thread's loop is. SIGUSR2 begins anew; the next one writes what was
 * seen since to the file named in HOLDFAST_BENCH_LOOP, in ms.
 */
import { writeFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { isMainThread } from "node:worker_threads";

const file = process.env.HOLDFAST_BENCH_LOOP;
/** A millisecond of what is measured is the measuring itself. */
const RESOLUTION_MS = 1;

if (isMainThread && file) {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  let begun = false;
  process.on("SIGUSR2", () => {
    const ms = (ns: number) => Math.max(0, ns / 1e6 - RESOLUTION_MS);
    if (begun) {
      const [p50, p99, max] = [ms(delay.percentile(50)), ms(delay.percentile(99)), ms(delay.max)];
      writeFileSync(file, JSON.stringify({ p50, p99, max }));
    }
    begun = true;
    delay.reset();
    delay.enable();
  });
}
