/**
 * What the demo shows is true: at its end every message that a machine was answered for has arrived, once in effect
 * and in order, and the gateway's own accounting says the same as the oracle. It leaves nothing behind.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type DemoEvent, runDemo } from "../../simulators/demo/demo.ts";
import { systemClock } from "../../src/core/clock.ts";
import { capability } from "../support/capabilities.ts";
import { runCliProcess } from "../support/cli-process.ts";
import { scratchFolder } from "../support/journey.ts";

type Ending = Extract<DemoEvent, { event: "verdict" }>;

/** What is not accounted for, in a sentence each; none means that all is. */
function unaccounted(events: readonly DemoEvent[]): string[] {
  const ending = events.at(-1);
  if (ending?.event !== "verdict") return ["it ends without a verdict"];
  const { verdict, figures, kept, drained } = ending;
  const { sent, acked, arrived, unackedButArrived, qos0Missing } = verdict.figures;
  const own = figures.gateway;
  if (!own) return ["the gateway did not say how many it has"];
  const found: string[] = verdict.findings.map(({ kind, detail }) => `${kind}: ${detail}`);
  const must = (holds: boolean, sentence: string) => {
    if (!holds) found.push(sentence);
  };
  must(kept && drained, "it says itself that the promise was not kept");
  must(acked > 0 && sent >= acked, `${acked} of ${sent} were acknowledged`);
  must(arrived - unackedButArrived === acked, `${acked} were acknowledged, and ${arrived} arrived`);
  must(qos0Missing === 0, `${qos0Missing} are missing`);
  must(own.balanced, "the gateway's figures do not add up");
  must(own.open === 0, `${own.open} are still open`);
  must(own.accepted === own.delivered, `${own.accepted} were accepted, and ${own.delivered} delivered`);
  const { readings } = figures;
  must(readings > 0, "the PLC was not read");
  must(
    own.accepted === arrived + readings,
    `${own.accepted} were accepted, and ${arrived} and ${readings} readings arrived`,
  );
  return found;
}

/** The gateway's process id, from the sentence that names it. */
function pidOf(events: readonly DemoEvent[]): number {
  for (const event of events) {
    const pid = event.event === "say" ? /is process (\d+)/.exec(event.text)?.[1] : undefined;
    if (pid) return Number(pid);
  }
  throw new Error("no sentence names the gateway's process");
}

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

describe("the demo", () => {
  test.skipIf(!capability("wide").present)(
    "accounts for every message, through an outage, a power cut and lost answers",
    async () => {
      const events: DemoEvent[] = [];
      const { signal } = new AbortController();
      // In short scenes.
      const report = (event: DemoEvent) => events.push(event);
      expect(await runDemo({ clock: systemClock, pace: 0.12, report, signal })).toBe(true);
      expect(unaccounted(events)).toEqual([]);
      const ending = events.at(-1) as Ending;
      // It would prove nothing if nothing had gone wrong.
      expect(ending.verdict.figures.repeatsSent).toBeGreaterThan(0);
      expect(ending.verdict.figures.suppressedByBackend).toBeGreaterThan(0);
      expect(ending.figures.gateway!.duplicates).toBeGreaterThan(0);
      const figures = events.filter((event) => event.event === "figures");
      expect(figures.some(({ gatewayUp }) => !gatewayUp)).toBe(true);
      expect(Math.max(...figures.map(({ gateway }) => gateway?.open ?? 0))).toBeGreaterThan(20);
      expect(existsSync(`/proc/${pidOf(events)}`)).toBe(false);
      expect(readdirSync(temporary)).toEqual([]);

      // One that it did not account for would be found.
      const without = (change: (ending: Ending) => void) => {
        const doctored = structuredClone(ending) as Ending;
        change(doctored);
        return unaccounted([doctored]);
      };
      type Loose<T> = { -readonly [K in keyof T]: T[K] };
      const one = (figures: unknown, key: string, by: number) => {
        (figures as Loose<Record<string, number>>)[key]! += by;
      };
      expect(without(({ verdict }) => one(verdict.figures, "arrived", -1))).toHaveLength(2);
      expect(without(({ figures }) => one(figures.gateway, "delivered", -1))).toHaveLength(1);
      expect(without(({ figures }) => one(figures.gateway, "open", 1))).toHaveLength(1);
      expect(without(({ figures }) => one(figures, "readings", -1))).toHaveLength(1);
      expect(unaccounted(events.slice(0, -1))).toEqual(["it ends without a verdict"]);
    },
  );

  test("that is broken off stops everything it started", async () => {
    const events: DemoEvent[] = [];
    const stop = new AbortController();
    const report = (event: DemoEvent) => {
      events.push(event);
      if (event.event === "figures" && event.sent > 10) stop.abort(new Error("enough"));
    };
    await expect(runDemo({ clock: systemClock, report, signal: stop.signal })).rejects.toThrow("enough");
    expect(existsSync(`/proc/${pidOf(events)}`)).toBe(false);
    expect(readdirSync(temporary)).toEqual([]);
  });
});

describe.skipIf(!capability("long").present)("`holdfast demo --json`", () => {
  test("tells the whole story as events and ends with exit code 0", async () => {
    const { code, stdout } = await runCliProcess(["demo", "--json"], { cwd: scratchFolder() });
    const events = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as DemoEvent);
    expect(unaccounted(events)).toEqual([]);
    expect(code).toBe(0);
    const said = events.flatMap((event) => (event.event === "say" ? event.text : []));
    expect(said.join(" ")).toMatch(/backend goes away.*power cut.*answers get lost/is);
  }, 180_000);
});
