/** Links that break at any byte, between machines, gateway and each kind of backend. */
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { cablePulled } from "../../simulators/torture/trials/cable-pulled.ts";
import { network, networkTrial } from "../../simulators/torture/trials/network.ts";
import { capability } from "../support/capabilities.ts";
import { tryOut } from "../support/trials.ts";

const SABOTEUR = fileURLToPath(new URL("../support/saboteur-outside.ts", import.meta.url));
const SEED = 20_261_124;

/** Each cycle breaks seven links: to six kinds of targets, and to the machines. */
const long = capability("long");
const cycles = long.present ? 100 : 1;

test.skipIf(!capability("wide").present)(
  "links that break at any byte lose, double and reorder nothing",
  { timeout: 900_000 },
  async () => {
    const { findings, figures } = await tryOut(network, { cycles, seed: SEED });
    expect(findings).toEqual([]);
    expect(figures.faults).toBe(7 * cycles);
    // It was not for want of faults.
    expect(figures.repeatsSent! + figures.suppressedByBackend!).toBeGreaterThan(0);
  },
);

test.skipIf(!long.present)("backends and gateways with a fault in them are found out", async () => {
  const forgetful = networkTrial({ dedupe: false, only: ["http", "mqtt-5-qos-1"] });
  const some = networkTrial({ only: ["http", "mqtt-3-qos-1"] });
  // Long enough for many tries.
  const lengthy = networkTrial({ only: ["http", "mqtt-3-qos-1"], downMs: { min: 2_500, spread: 1 } });
  const fault = (name: string) => ({ cycles: 5, seed: SEED, fault: name, script: SABOTEUR });
  const [doubling, losing, charging] = await Promise.all([
    tryOut(forgetful, { cycles: 5, seed: SEED }),
    tryOut(some, fault("unknown-is-delivered")),
    tryOut(lengthy, { ...fault("outage-is-charged"), cycles: 2 }),
  ]);
  expect(doubling.findings).toContainEqual(expect.stringMatching(/^doubled on (http|mqtt)/));
  expect(losing.findings).toContainEqual(expect.stringMatching(/^lost on (http|mqtt)/));
  expect(charging.findings.join("\n")).toMatch(/^charged|deliveries are dead/m);
});

describe.skipIf(!capability("wide").present || !capability("netns").present)(
  "a cable that is pulled, or swallows packets",
  () => {
    test("loses, doubles and reorders nothing, with the kernel's own retransmissions", {
      timeout: 900_000,
    }, async () => {
      const cableCycles = long.present ? 100 : 1;
      const { findings, figures } = await tryOut(cablePulled, { cycles: cableCycles, seed: SEED });
      expect(findings).toEqual([]);
      expect(figures.arrived).toBeGreaterThan(0);
    });
  },
);
