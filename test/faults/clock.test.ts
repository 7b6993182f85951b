/** The wall clock jumps under a gateway that runs, and between two starts. */
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { clock } from "../../simulators/torture/trials/clock.ts";
import { capability } from "../support/capabilities.ts";
import { tryOut } from "../support/trials.ts";

const SABOTEUR = fileURLToPath(new URL("../support/saboteur-outside.ts", import.meta.url));
const SEED = 1970;
const long = capability("long");
const cycles = long.present ? 100 : 2;

describe.skipIf(!capability("wide").present || !capability("faketime").present)(
  "a wall clock that jumps ten years",
  () => {
    test("loses, doubles, reorders and expires nothing, and makes no pause shorter or longer", {
      timeout: 900_000,
    }, async () => {
      const { findings, figures } = await tryOut(clock, { cycles, seed: SEED });
      expect(findings).toEqual([]);
      expect(figures.expired).toBe(cycles);
      expect(figures.jumpedPauses).toBeGreaterThan(0);
    });

    test.skipIf(!long.present)("finds out a gateway whose ages go by it", async () => {
      const { findings } = await tryOut(clock, {
        cycles: 2,
        seed: SEED,
        fault: "ages-by-wall-clock",
        script: SABOTEUR,
      });
      for (const found of [
        /^expired early: \d+ messages with a life of an hour/,
        /^expired early: message 1/,
        /^expired: a session/,
        /^doubled on marked/,
        /^lost on http/,
        /^too early/,
      ]) {
        expect(findings).toContainEqual(expect.stringMatching(found));
      }
    });
  },
);
