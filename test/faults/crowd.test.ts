/** Whatever a client does, the others are served, and the gateway keeps to its memory: with the limits it comes with. */

import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { Trial } from "../../simulators/torture/trial.ts";
import { type CrowdOptions, crowd, PLAIN, runCrowd } from "../../simulators/torture/trials/crowd.ts";
import { capability } from "../support/capabilities.ts";
import { tryOut } from "../support/trials.ts";

const long = capability("long");
const SABOTEUR = fileURLToPath(new URL("../support/saboteur-broker.ts", import.meta.url));
const HOUR_MS = 3_600_000;

const crowdWith = (options: CrowdOptions): Trial => ({
  ...crowd,
  run: (context) => runCrowd(context, options),
});

describe("a crowd of frozen and greedy clients", () => {
  it.skipIf(!capability("wide").present)("harms nobody else", async () => {
    const { figures, findings } = await tryOut(crowd, { cycles: 1, seed: 1 });
    expect(findings).toEqual([]);
    expect(figures.connectionsTried).toBeGreaterThan(1000);
    expect(figures.acked).toBeGreaterThan(20);
    expect(figures.newcomers).toBeGreaterThan(0);
  });

  it.skipIf(!long.present)("for minutes harms nobody else", { timeout: HOUR_MS }, async () => {
    const { findings } = await tryOut(crowdWith({ crowdMs: 20_000, nuisances: PLAIN }), {
      cycles: 6,
      seed: 2,
    });
    expect(findings).toEqual([]);
  });

  it.skipIf(!long.present)(
    "of all kinds loses nothing, and comes to its end",
    { timeout: HOUR_MS },
    async () => {
      const { figures, findings } = await tryOut(crowdWith({ crowdMs: 20_000 }), { cycles: 6, seed: 2 });
      // On two cores, of which the crowd takes one, the others are served late (docs/reliability.md, known limits).
      const LATE =
        /acknowledgements took|waited \d+ ms to be let in|not let in|MiB of memory|did not answer for its status/;
      expect(findings.filter((each) => !LATE.test(each))).toEqual([]);
      expect(figures.acked).toBeGreaterThan(100);
    },
  );

  it.skipIf(!long.present)("takes the memory of a gateway without limits", async () => {
    const without = {
      limits: { partialBytesTotalMax: "1GiB", unackedBytesMax: "1GiB", unackedBytesTotalMax: "1GiB" },
    };
    const nuisances = ["unfinished", "hugePayloads"];
    const { figures } = await tryOut(crowdWith({ broker: without, nuisances }), { cycles: 1, seed: 1 });
    const bounded = await tryOut(crowdWith({ nuisances }), { cycles: 1, seed: 1 });
    expect(figures.rssMaxMb! - bounded.figures.rssMaxMb!).toBeGreaterThan(100);
  });

  it.skipIf(!long.present)(
    "makes the others wait where nobody has a share and nobody takes turns",
    async () => {
      const without = { limits: { unackedMessagesMax: 65_535, unackedMessagesTotalMax: 1_000_000 } };
      const options = { broker: without, nuisances: ["greedyQos0", "greedyQos1", "neverReads"] };
      const faulty = { cycles: 1, seed: 1, fault: "shares-nothing", script: SABOTEUR };
      const { findings } = await tryOut(crowdWith(options), faulty);
      expect(findings.join("\n")).toMatch(/acknowledgements took|was not|of memory/);
    },
  );
});
