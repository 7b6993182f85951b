/** Runs a trial of the torture command in a test: so many cycles, or with a gateway that has a fault in it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import type { Trial, TrialReport } from "../../simulators/torture/trial.ts";
import { systemClock } from "../../src/core/clock.ts";
import { seededRandom } from "../../src/core/random.ts";

const SABOTEUR_GATEWAY = fileURLToPath(new URL("./saboteur-gateway.ts", import.meta.url));
export interface Tried {
  readonly cycles: number;
  readonly seed: number;
  /** No more cycles after this long, but for the first few (`cyclesMin`): a start takes its time on a small machine. */
  readonly withinMs?: number;
  readonly cyclesMin?: number;
  /** Of the gateway; see gateway-saboteur-thread.ts. */
  readonly fault?: string;
  /** What has the fault; default: saboteur-gateway.ts. */
  readonly script?: string;
}

export async function tryOut(trial: Trial, tried: Tried): Promise<TrialReport> {
  const {
    cycles,
    seed,
    withinMs = Number.POSITIVE_INFINITY,
    cyclesMin = 1,
    fault,
    script = SABOTEUR_GATEWAY,
  } = tried;
  const dir = mkdtempSync(join(tmpdir(), `holdfast-${trial.name}-`));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const givingUp = new AbortController();
  onTestFinished(() => givingUp.abort());
  const untilMs = performance.now() + withinMs;
  return trial.run({
    dir,
    seed,
    random: seededRandom(seed),
    clock: systemClock,
    another: (done) => done < cycles && (done < cyclesMin || performance.now() < untilMs),
    script: fault === undefined ? undefined : script,
    // What a gateway with a fault in it has lost will not come however long one waits.
    patienceMs: fault === undefined ? undefined : 5_000,
    env: { HOLDFAST_TEST_FAULT: fault },
    say: () => {},
    signal: givingUp.signal,
  });
}
