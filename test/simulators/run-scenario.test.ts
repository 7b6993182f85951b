import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  type RunEvent,
  type RunOptions,
  type RunResult,
  runScenario,
} from "../../simulators/run-scenario.ts";
import { scenarioSchema } from "../../simulators/scenario.ts";
import { systemClock } from "../../src/core/clock.ts";
import { freePort, type Sabotage, standInGateway } from "./stand-in-gateway.ts";

async function runWith(
  sabotage: Sabotage,
  change: { scenario?: object; run?: Partial<RunOptions>; events?: RunEvent[] } = {},
): Promise<RunResult> {
  const port = await freePort();
  const gateway = await standInGateway(`http://127.0.0.1:${port}`, sabotage);
  try {
    return await runScenario({
      scenario: scenarioSchema.parse({
        duration: "600ms",
        // Where something is withheld for good, all of this time is waited.
        drain: sabotage === "loses" || sabotage === "reorders" ? "4s" : "15s",
        machines: [{ count: 2, rate: 0, burst: { every: "40ms", size: 5 }, messages: 50, republish: 0.2 }],
        backend: { type: "http", port },
        ...change.scenario,
      }),
      seed: 1,
      clock: systemClock,
      running: { host: "127.0.0.1", port: gateway.port, http: null },
      report: (event) => change.events?.push(event),
      ...change.run,
    });
  } finally {
    await gateway.stop();
  }
}

describe("a scenario run", () => {
  test("ends as expected where the gateway keeps the promise, and says what happened", async () => {
    const events: RunEvent[] = [];
    const result = await runWith("none", {
      scenario: { timeline: [{ at: "300ms", do: "reconnect-storm" }] },
      events,
    });
    expect(result.verdict.findings).toEqual([]);
    expect(result).toMatchObject({ ok: true, drained: true, crashes: [] });
    expect(result.verdict.figures.repeatsSent).toBeGreaterThan(0);
    expect(result.verdict.figures.arrived).toBe(result.verdict.figures.sent);
    const steps = events.flatMap((event) => (event.event === "step" ? [event.text] : []));
    expect(steps).toContain("all connections break");
    expect(events.at(-1)).toMatchObject({ event: "figures", machines: 2, gateway: null });
  });

  test.concurrent.each([
    ["loses", "lost"],
    ["doubles", "doubled"],
    ["reorders", "outOfOrder"],
    ["alters", "altered"],
  ] as const)("ends with a no where the gateway %s messages", async (sabotage, kind) => {
    const result = await runWith(sabotage);
    expect(result.ok).toBe(false);
    expect(result.verdict.counts[kind]).toBeGreaterThan(0);
    const others = Object.entries(result.verdict.counts).filter(([other]) => other !== kind);
    // A message that is held back for good at the end is lost as well.
    expect(others.filter(([other, count]) => count > (other === "lost" ? 1 : 0))).toEqual([]);
    expect(result.expectations.find(({ what }) => what === kind)).toMatchObject({ met: false });
  });

  test("records what the machines send, as a capture", async () => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-record-"));
    try {
      const file = join(folder, "capture.jsonl");
      const { verdict } = await runWith("none", { run: { record: file } });
      const [header, ...lines] = readFileSync(file, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(header).toMatchObject({ capture: 2, backend: { type: "http" } });
      const published = lines.filter((line) => line.do === undefined);
      expect(published.length).toBe(verdict.figures.sent + verdict.figures.repeatsSent);
      expect(published[0]).toMatchObject({
        topic: "plant/machine-01/temperature",
        qos: 1,
        dup: false,
        packetId: 1,
      });
      const of = (what: string) => lines.filter((line) => line.do === what);
      expect(
        of("connect")
          .map((line) => line.device)
          .sort(),
      ).toEqual(["machine-01", "machine-02"]);
      expect(of("answer").length).toBe(published.length);
      expect(of("close").map((line) => line.how)).toEqual(["disconnect", "disconnect"]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("takes machines off the network and gives it back, and lets them send again", async () => {
    const events: RunEvent[] = [];
    const result = await runWith("none", {
      scenario: {
        duration: "1200ms",
        machines: [
          { name: "press", rate: 50 },
          { name: "oven", rate: 50 },
        ],
        timeline: [
          { at: "300ms", do: "machines-offline", group: "oven" },
          { at: "800ms", do: "machines-online", group: "oven" },
          { at: "1100ms", do: "send-again", last: 5, group: "press" },
        ],
        expect: { repeatsSent: { min: 5 } },
      },
      events,
    });
    expect(result.ok).toBe(true);
    const figures = events.flatMap((event) => (event.event === "figures" ? [event] : []));
    expect(figures.some(({ machinesUp }) => machinesUp === 1)).toBe(true);
    expect(figures.at(-1)!.machinesUp).toBe(2);
    expect(result.verdict.figures.arrived).toBe(result.verdict.figures.sent);
  });

  test("disturbs the line before the machines, who then send again", async () => {
    const result = await runWith("none", {
      scenario: {
        duration: "1500ms",
        machines: [{ rate: 40, ackTimeout: "150ms" }],
        timeline: [
          { at: "300ms", do: "network", of: "machines", mode: "drop-answers" },
          { at: "900ms", do: "network", of: "machines", mode: "pass" },
        ],
        expect: { repeatsSent: { min: 1 } },
      },
    });
    expect(result.expectations.filter(({ met }) => met === false)).toEqual([]);
  });

  test("measures what it costs", async () => {
    const { usage } = await runWith("none");
    expect(usage.gateway).toBeNull();
    if (process.platform !== "linux") return;
    expect(usage.simulator.cpuMs).toBeGreaterThan(0);
    expect(usage.simulator.rssBytesMax).toBeGreaterThan(2 ** 20);
  });

  test("can be broken off, and leaves nothing running", async () => {
    const stop = new AbortController();
    const startedMs = systemClock.monoMs();
    const run = runWith("none", { scenario: { duration: "1m" }, run: { signal: stop.signal } });
    systemClock.after(200, () => stop.abort(new Error("enough")));
    await expect(run).rejects.toThrow("enough");
    expect(systemClock.monoMs() - startedMs).toBeLessThan(5_000);
  });
});

describe("a scenario with PLCs", () => {
  const plcs = [
    { name: "boiler", every: "30ms" },
    { name: "mixer", every: "30ms", message: "signal" },
  ];

  test("has them read by the run's own gateway, and judges each number of theirs", async () => {
    const scenario = scenarioSchema.parse({
      duration: "1500ms",
      plcs,
      backend: { type: "file" },
      timeline: [
        { at: "200ms", do: "plc-fault", group: "boiler", fault: "exception", code: 6 },
        { at: "500ms", do: "plc-fault", fault: "none" },
        { at: "600ms", do: "plc-restart", group: "mixer", down: "300ms" },
      ],
    });
    const events: RunEvent[] = [];
    const report = (event: RunEvent) => void events.push(event);
    const result = await runScenario({ scenario, seed: 1, clock: systemClock, report });
    expect(result.verdict.findings).toEqual([]);
    expect(result).toMatchObject({ ok: true, drained: true, crashes: [], verdict: { kept: true } });
    const figures = events.findLast((event) => event.event === "figures")!;
    expect(figures).toMatchObject({ wired: 2, wiredUp: 0, readings: result.gateway!.delivered });
    expect(figures.readings).toBeGreaterThan(5);
  }, 60_000);

  test("is not run with a gateway that reads others", async () => {
    const scenario = scenarioSchema.parse({ plcs });
    const running = { host: "127.0.0.1", port: 1, http: null };
    await expect(
      runScenario({ scenario, seed: 1, clock: systemClock, running, report: () => {} }),
    ).rejects.toMatchObject({ code: "HF_SCENARIO" });
  });
});
