/**
 * What this machine has that some tests need, and what to do where it has not. A test never skips itself in
 * silence: it asks here, and the test command prints beforehand what will be skipped, why, and how to get it.
 *
 *     const mosquitto = capability("mosquitto");
 *     describe.skipIf(!mosquitto.present)("a real mosquitto upstream", () => { spawn(mosquitto.path, …) });
 */
import { type MeansName, PROBES, type Probe, rememberingProbes } from "../../simulators/torture/means.ts";

/** Set by `./holdfast test --long`. */
export const LONG_VARIABLE = "HOLDFAST_TEST_LONG";
/** Set by `./holdfast test --wide`; build machines set CI and mean the same. */
export const WIDE_VARIABLE = "HOLDFAST_TEST_WIDE";

const TEST_PROBES: Record<CapabilityName, Probe> = {
  ...PROBES,
  long: {
    missing: "it takes minutes",
    howToGet: "./holdfast test --long",
    find: () => process.env[LONG_VARIABLE] === "1",
  },
  wide: {
    missing: "others of their kind are run",
    howToGet: "./holdfast test --wide, as build machines do",
    find: () =>
      [LONG_VARIABLE, WIDE_VARIABLE].some((name) => process.env[name] === "1") ||
      !["", "0", "false"].includes(process.env.CI ?? ""),
  },
};

export type CapabilityName = MeansName | "long" | "wide";

export const capabilityNames = Object.keys(TEST_PROBES) as CapabilityName[];

export const capability = rememberingProbes(TEST_PROBES);
