/** A run that is recorded, and replayed twice on gateways of their own. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replayFile } from "../../simulators/replay-run.ts";
import { runScenario } from "../../simulators/run-scenario.ts";
import { scenarioSchema } from "../../simulators/scenario.ts";
import { systemClock } from "../../src/core/clock.ts";
import { capability } from "../support/capabilities.ts";

const SLOW_MS = 180_000;

test.skipIf(!capability("wide").present)(
  "a recorded run is replayed to the same verdict and figures, and the replay's record is the capture",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-replayed-"));
    try {
      const file = join(folder, "run.jsonl");
      const scenario = scenarioSchema.parse({
        duration: "1500ms",
        machines: [
          { count: 3, rate: 30, qos: { 1: 2, 2: 1 }, loseAck: 0.1, dup: 0.05, withholdPubrel: 0.05 },
        ],
        timeline: [{ at: "700ms", do: "reconnect-storm" }],
      });
      const recorded = await runScenario({
        scenario,
        seed: 3,
        clock: systemClock,
        record: file,
        report: () => {},
      });
      expect(recorded.ok).toBe(true);
      const replayed = async (n: number) => {
        const record = join(folder, `replay-${n}.jsonl`);
        const result = await replayFile({
          file,
          record,
          speed: Number.POSITIVE_INFINITY,
          settleMs: 30_000,
          clock: systemClock,
        });
        expect(timeless(record)).toEqual(timeless(file));
        const { complete, deviations, sent, acked, repeats, connections, judged } = result;
        const { kept, drained, verdict, gateway } = judged!;
        return {
          ...{ complete, deviations, sent, acked, repeats, connections, kept, drained },
          ...{ figures: verdict.figures, gateway },
        };
      };
      const first = await replayed(1);
      expect(first).toMatchObject({
        complete: true,
        kept: true,
        drained: true,
        sent: recorded.verdict.figures.sent,
      });
      expect(first.repeats).toBe(recorded.verdict.figures.repeatsSent);
      expect(first.repeats).toBeGreaterThan(5);
      expect(first.figures.arrived).toBe(recorded.verdict.figures.arrived);
      expect(await replayed(2)).toEqual(first);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  SLOW_MS,
);

function timeless(file: string): string[] {
  return readFileSync(file, "utf8")
    .replace(/^\{"at":\d+,/gm, "{")
    .split("\n");
}
