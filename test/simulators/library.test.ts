/**
 * Every scenario of the library, run as a person would run it: its expected verdict is met. In the
 * wide tests one of each question; all of them where there is time.
 */
import { describe, expect, test } from "vitest";
import { meansFor } from "../../simulators/machines/wired-fleet.ts";
import { runScenario } from "../../simulators/run-scenario.ts";
import type { Scenario } from "../../simulators/scenario.ts";
import { listScenarios, loadScenario, loadTogether } from "../../simulators/scenario-library.ts";
import { systemClock } from "../../src/core/clock.ts";
import { capability } from "../support/capabilities.ts";

/** Starts of processes on a machine that is busy with something else. */
const SLOW_MS = 180_000;
const WIDE: readonly string[] = [
  "twice-clean-session",
  "late-diverted",
  "never-tries-used-up",
  "serial-disturbed",
];
/** A test of its own, below. */
const LARGE = "thousand-machines";

const long = capability("long");
const options = { cwd: import.meta.dirname, env: {} };

function run(scenario: Scenario) {
  return runScenario({ scenario, seed: scenario.seed, clock: systemClock, report: () => {} });
}

function unmet(result: Awaited<ReturnType<typeof run>>) {
  const { expectations, crashes, verdict, stories } = result;
  const findings = result.ok ? [] : verdict.findings.slice(0, 5);
  return {
    unmet: expectations.filter(({ met }) => met !== true),
    crashes,
    findings,
    stories: findings.length ? stories : {},
  };
}
const NOTHING = { unmet: [], crashes: [], findings: [], stories: {} };

describe("the scenario", () => {
  const all = listScenarios()
    .map(({ name }) => name)
    .filter((name) =>
      meansFor(loadScenario(name, options.cwd, {}).scenario).every((each) => capability(each).present),
    );
  test.skipIf(!capability("wide").present).concurrent.each(all.filter((name) => WIDE.includes(name)))(
    "%s ends as it says",
    async (name) => {
      expect(unmet(await run(loadScenario(name, options.cwd, {}).scenario))).toEqual(NOTHING);
    },
    SLOW_MS,
  );

  test.skipIf(!long.present).each(all.filter((name) => !WIDE.includes(name) && name !== LARGE))(
    "%s ends as it says",
    async (name) => {
      expect(unmet(await run(loadScenario(name, options.cwd, {}).scenario))).toEqual(NOTHING);
    },
    SLOW_MS,
  );

  test.skipIf(!long.present)(
    "of a thousand machines ends as it says, within a core for the simulators and one for the gateway",
    async () => {
      const result = await run(loadScenario(LARGE, options.cwd, {}).scenario);
      expect(unmet(result)).toEqual(NOTHING);
      const { gateway, simulator } = result.usage;
      expect(simulator.cpuShare).toBeLessThan(1);
      expect(gateway!.cpuShare).toBeLessThan(1);
    },
    SLOW_MS,
  );

  test.skipIf(!long.present)(
    "of an outage runs together with late readings and rejected ones, on one gateway",
    async () => {
      const { scenario } = loadTogether(["backend-away", "late-delivered", "twice-ack-lost"], options);
      expect(unmet(await run(scenario))).toEqual(NOTHING);
    },
    SLOW_MS,
  );

  test.skipIf(!long.present)(
    "whose backend doubles what it gets twice is found out where it promised that nothing would be",
    async () => {
      const { scenario } = loadScenario("twice-answer-lost-no-ids", options.cwd, {});
      const result = await run({ ...scenario, expect: { ...scenario.expect, doubled: 0 } });
      expect(result.ok).toBe(false);
      expect(result.expectations.filter(({ met }) => !met).map(({ what }) => what)).toEqual(["doubled"]);
    },
    SLOW_MS,
  );
});
