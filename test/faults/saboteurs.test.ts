/**
 * The trials are worth what they would notice. Each guarantee has a gateway that breaks it, and a trial that must
 * find it out within twenty cycles; the test says which trial found which, and how soon.
 */
import { describe, expect, test } from "vitest";
import type { Trial } from "../../simulators/torture/trial.ts";
import { kill } from "../../simulators/torture/trials/kill.ts";
import { powerCut } from "../../simulators/torture/trials/power-cut.ts";
import { capability } from "../support/capabilities.ts";
import { tryOut } from "../support/trials.ts";

interface Saboteur {
  readonly does: string;
  readonly fault: string;
  readonly trial: Trial;
  /** What the trial does to it before it judges; at most twenty. */
  readonly cycles: number;
  readonly finding: RegExp;
}

const SABOTEURS: readonly Saboteur[] = [
  {
    does: "acknowledges before it commits",
    fault: "early-ack",
    trial: kill,
    cycles: 3,
    finding: /^lost|has accepted \d+ messages, and \d+ are at the backend/,
  },
  {
    does: "remembers what it took outside of the transaction that takes it",
    fault: "late-identity=5",
    trial: kill,
    cycles: 3,
    finding: /^doubled/,
  },
  {
    does: "knows nothing of what came before",
    fault: "no-dedupe",
    trial: kill,
    cycles: 2,
    finding: /^doubled/,
  },
  {
    does: "moves its cursor before it has the outcome",
    fault: "cursor-first",
    trial: kill,
    cycles: 4,
    finding: /^lost/,
  },
  {
    does: "runs with synchronous=NORMAL",
    fault: "synchronous=NORMAL",
    trial: powerCut,
    cycles: 3,
    finding: /^lost|has accepted|does not start again/,
  },
  {
    does: "is on a disk that lies about its syncs",
    fault: "lying-sync",
    trial: powerCut,
    cycles: 2,
    finding: /^lost|has accepted|does not start again/,
  },
];
const CYCLES_MAX = 20;

const disk = capability("power-cut");
const strace = capability("strace");
const long = capability("long");
const wide = capability("wide");

/** The simulation finds such gateways by default (test/model/simulation.test.ts), in seconds. */
const WIDE = "early-ack";

function isFoundOut({ does, fault, trial, cycles, finding }: Saboteur): void {
  test.skipIf(!(fault === WIDE ? wide : long).present)(
    `one that ${does}: by ${trial.name}, in ${cycles} cycles or less`,
    async () => {
      expect(cycles).toBeLessThanOrEqual(CYCLES_MAX);
      const { findings } = await tryOut(trial, { cycles, seed: 41, fault });
      expect(findings).toContainEqual(expect.stringMatching(finding));
    },
  );
}

describe("a gateway with a fault in it is found out", () => {
  for (const saboteur of SABOTEURS) if (saboteur.trial === kill) isFoundOut(saboteur);
});

describe.skipIf(!disk.present)("a gateway that does not sync is found out", () => {
  for (const saboteur of SABOTEURS) if (saboteur.fault === "synchronous=NORMAL") isFoundOut(saboteur);
});

describe.skipIf(!disk.present || !strace.present)("a disk that does not sync is found out", () => {
  for (const saboteur of SABOTEURS) if (saboteur.fault === "lying-sync") isFoundOut(saboteur);
});
