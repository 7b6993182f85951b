/**
 * Replays an exact capture against a gateway of its own, started with the config that the capture names, and lets
 * the oracle judge what arrived. The backend and the network are well throughout: what is replayed is what the
 * machines did.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import type { Clock } from "../src/core/clock.ts";
import { HoldfastError } from "../src/core/errors.ts";
import { CaptureWriter, openCapture } from "./capture.ts";
import { embeddedConfig, orderOf } from "./embedded-config.ts";
import { type ExactReplayProgress, type ExactReplayResult, replayExactly } from "./exact-replay.ts";
import { type GatewayFigures, gatewayFigures } from "./gateway-figures.ts";
import { GatewayProcess } from "./gateway-process.ts";
import { Ledger } from "./machines/ledger.ts";
import type { Verdict } from "./oracle.ts";
import { OutboxReader } from "./outbox-reader.ts";
import { Rig } from "./rig.ts";
import { makeBackend } from "./run-scenario.ts";
import { type Scenario, scenarioSchema } from "./scenario.ts";

export interface ReplayFileOptions {
  readonly file: string;
  /** A broker that runs already; without it the replay starts a gateway of its own, and judges. */
  readonly to?: { readonly host: string; readonly port: number };
  readonly username?: string;
  readonly password?: string;
  readonly speed: number;
  /** How long an answer, and at the end everything that is on its way, is waited for. */
  readonly settleMs: number;
  /** Writes what the replay did as a capture of its own. */
  readonly record?: string;
  readonly clock: Clock;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ExactReplayProgress) => void;
}

export interface ReplayFileResult extends ExactReplayResult {
  /** The capture ends in the middle of a line, and was replayed up to there. */
  readonly cutOff: boolean;
  /** Of a replay on a gateway of its own. */
  readonly judged: {
    readonly kept: boolean;
    /** False where the time was over before everything had arrived. */
    readonly drained: boolean;
    readonly verdict: Verdict;
    readonly gateway: GatewayFigures | null;
  } | null;
}

/** Rejects with HF_CAPTURE where the capture is not an exact one, or has a mistake. */
export async function replayFile(options: ReplayFileOptions): Promise<ReplayFileResult> {
  const { file, to, record, clock, speed, settleMs, signal, username, password } = options;
  const capture = await openCapture(file);
  const stops: (() => unknown)[] = [() => capture.close()];
  try {
    const { header } = capture;
    if (!header) {
      throw new HoldfastError(
        "HF_CAPTURE",
        `${file} has no packet ids and answers, so it cannot be replayed exactly`,
      );
    }
    const scenario = { ...scenarioSchema.parse({}), ...header } as Scenario;
    const ledger = new Ledger();
    let rig: Rig | null = null;
    if (!to) {
      const own = await startOwn(scenario, ledger, clock);
      rig = own.rig;
      stops.push(own.stop);
      await rig.start();
    }
    const writer = record === undefined ? null : new CaptureWriter(record, header);
    if (writer) stops.push(() => writer.close());
    const played = await replayExactly({
      events: capture.events,
      address: () => to ?? rig!.door,
      username,
      password,
      speed,
      answerMsMax: settleMs,
      ledger,
      clock,
      signal,
      onEvent: writer ? (event) => writer.write(event) : undefined,
      onProgress: options.onProgress,
    });
    const judged = rig && !signal?.aborted ? await judge(rig, settleMs) : null;
    return { ...played, cutOff: capture.cutOff(), judged };
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}

async function judge(rig: Rig, settleMs: number): Promise<NonNullable<ReplayFileResult["judged"]>> {
  const drained = await rig.drain(settleMs);
  const verdict = await rig.verdict();
  const gateway = await gatewayFigures(rig.http);
  return { kept: verdict.kept && gateway?.balanced !== false, drained, verdict, gateway };
}

async function startOwn(
  scenario: Scenario,
  ledger: Ledger,
  clock: Clock,
): Promise<{ readonly rig: Rig; readonly stop: () => Promise<void> }> {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-replay-"));
  const backend = makeBackend(scenario.backend, clock);
  const address = await backend?.start();
  const gateway = new GatewayProcess({
    config: stringify(embeddedConfig(scenario)),
    dir,
    env: { BACKEND_URL: address?.url ?? "" },
    clock,
  });
  const rig = new Rig({
    machines: [],
    ledger,
    seed: scenario.seed,
    backend,
    arrivals: backend ?? new OutboxReader(join(dir, "data", "outbox")),
    orderBy: orderOf(scenario),
    gateway,
    clock,
  });
  const stop = async () => {
    await rig.stop();
    rmSync(dir, { recursive: true, force: true });
  };
  return { rig, stop };
}
