import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type DemoEvent, runDemo } from "../../simulators/demo/demo.ts";
import { systemClock } from "../../src/core/clock.ts";

/** A folder for temporary folders of its own, so that nobody else's count. */
let temporary: string;
beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), "holdfast-demo-test-"));
  vi.stubEnv("TMPDIR", temporary);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(temporary, { recursive: true, force: true });
});

/** The gateway's process id, from the sentence that names it. */
function pidOf(events: readonly DemoEvent[]): number {
  for (const event of events) {
    const pid = event.event === "say" ? /is process (\d+)/.exec(event.text)?.[1] : undefined;
    if (pid) return Number(pid);
  }
  throw new Error("no sentence names the gateway's process");
}

/** It takes seconds, and many times that on a machine that is busy with something else. */
const SLOW_MS = 120_000;

describe("the demo", () => {
  test(
    "keeps the promise through an outage, a power cut and lost answers, and leaves nothing behind",
    async () => {
      const events: DemoEvent[] = [];
      const kept = await runDemo({
        clock: systemClock,
        pace: 0.12,
        report: (event) => events.push(event),
        signal: new AbortController().signal,
      });
      const verdict = events.at(-1);
      if (verdict?.event !== "verdict") throw new Error("the demo must end with its verdict");
      expect(verdict.verdict.findings).toEqual([]);
      expect(kept).toBe(true);
      // It would prove nothing if nothing had gone wrong.
      expect(verdict.verdict.figures.repeatsSent).toBeGreaterThan(0);
      expect(verdict.verdict.figures.suppressedByBackend).toBeGreaterThan(0);
      expect(verdict.figures.gateway!.duplicates).toBeGreaterThan(0);
      const figures = events.filter((event) => event.event === "figures");
      expect(figures.some(({ gatewayUp }) => !gatewayUp)).toBe(true);
      expect(Math.max(...figures.map(({ gateway }) => gateway?.open ?? 0))).toBeGreaterThan(20);
      expect(existsSync(`/proc/${pidOf(events)}`)).toBe(false);
      expect(readdirSync(temporary)).toEqual([]);
    },
    SLOW_MS,
  );

  test(
    "that is broken off stops everything it started",
    async () => {
      const events: DemoEvent[] = [];
      const stop = new AbortController();
      const run = runDemo({
        clock: systemClock,
        report: (event) => {
          events.push(event);
          if (event.event === "figures" && event.sent > 10) stop.abort(new Error("enough"));
        },
        signal: stop.signal,
      });
      await expect(run).rejects.toThrow("enough");
      expect(existsSync(`/proc/${pidOf(events)}`)).toBe(false);
      expect(readdirSync(temporary)).toEqual([]);
    },
    SLOW_MS,
  );
});
