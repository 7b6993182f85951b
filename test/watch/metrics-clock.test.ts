/** The figures' library asks the wall clock by itself: a jump must not keep the process busy. */
import { expect, onTestFinished, test, vi } from "vitest";
import { Metrics } from "../../src/watch/metrics.ts";

const YEARS_56_MS = 56 * 365 * 86_400_000;
/** Turning a window of a minute through 56 years takes seconds. */
const BUSY_MS_MAX = 1_000;

test("a wall clock that jumps from 1970 to today does not stop the event loop", async () => {
  vi.useFakeTimers({ toFake: ["Date"], now: 300_000 });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const metrics = new Metrics({ version: "test" });
  vi.setSystemTime(300_000 + YEARS_56_MS);
  let longestMs = 0;
  let lastMs = performance.now();
  // Its own timer comes every 100 ms.
  for (const untilMs = lastMs + 350; lastMs < untilMs; ) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    longestMs = Math.max(longestMs, performance.now() - lastMs);
    lastMs = performance.now();
  }
  const fromMs = performance.now();
  expect(await metrics.registry.metrics()).toContain("nodejs_eventloop_utilization_summary");
  longestMs = Math.max(longestMs, performance.now() - fromMs);
  expect(longestMs).toBeLessThan(BUSY_MS_MAX);
});
