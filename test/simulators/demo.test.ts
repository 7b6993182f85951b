import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { describe, expect, test } from "vitest";
import { type DemoEvent, runDemo } from "../../simulators/demo/demo.ts";
import { systemClock } from "../../src/core/clock.ts";

const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith("holdfast-demo-"));

/** The gateway's process id, from the sentence that names it. */
function pidOf(events: readonly DemoEvent[]): number {
  for (const event of events) {
    const pid = event.event === "say" ? /is process (\d+)/.exec(event.text)?.[1] : undefined;
    if (pid) return Number(pid);
  }
  throw new Error("no sentence names the gateway's process");
}

describe("the demo", () => {
  test("keeps the promise through an outage, a power cut and lost answers, and leaves nothing behind", async () => {
    const before = folders();
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
    expect(folders()).toEqual(before);
  });

  test("that is broken off stops everything it started", async () => {
    const before = folders();
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
    expect(folders()).toEqual(before);
  });
});
