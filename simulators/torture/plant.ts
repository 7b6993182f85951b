/**
 * A small plant for a trial: a gateway of its own, machines and a web service behind it, and the oracle over all
 * of it. A trial starts one, does its fault to it as often as it likes, and asks for the findings at the end.
 */
import { join } from "node:path";
import { stringify } from "yaml";
import { sleep } from "../../src/core/clock.ts";
import { HttpBackend } from "../backends/http-backend.ts";
import { embeddedConfig } from "../embedded-config.ts";
import { GatewayProcess } from "../gateway-process.ts";
import { Rig } from "../rig.ts";
import { scenarioSchema } from "../scenario.ts";
import type { TrialContext } from "./trial.ts";

/** Far beyond what it takes for everything to arrive once faults are over. */
const DRAIN_MS_MAX = 60_000;
const FINDINGS_TOLD_MAX = 20;

export interface PlantOptions {
  /** As a scenario writes them. */
  readonly machines: readonly Record<string, unknown>[];
  /** Laid over the gateway's config. */
  readonly config?: Record<string, unknown>;
}

export class Plant {
  readonly rig: Rig;
  readonly gateway: GatewayProcess;
  readonly backend: HttpBackend;
  readonly findings: string[] = [];
  readonly #context: TrialContext;

  private constructor(
    context: TrialContext,
    parts: { readonly rig: Rig; readonly gateway: GatewayProcess; readonly backend: HttpBackend },
    crashes: string[],
  ) {
    this.#context = context;
    this.rig = parts.rig;
    this.gateway = parts.gateway;
    this.backend = parts.backend;
    this.findings = crashes;
  }

  /** Everything is up, and the machines have begun. */
  static async start(context: TrialContext, options: PlantOptions): Promise<Plant> {
    const { clock, seed, dir, script, env } = context;
    const scenario = scenarioSchema.parse({
      machines: options.machines,
      gateway: { config: options.config ?? {} },
    });
    const backend = new HttpBackend({ clock, itemResults: true });
    const { url } = await backend.start();
    const findings: string[] = [];
    const gateway = new GatewayProcess({
      config: stringify(embeddedConfig(scenario)),
      dir: join(dir, "gateway"),
      env: { ...env, BACKEND_URL: url },
      script,
      clock,
      onCrash: (how, log) => findings.push(`the gateway ended by itself, ${how}: ${log.at(-1) ?? "no log"}`),
    });
    const rig = new Rig({ machines: scenario.machines, seed, backend, arrivals: backend, gateway, clock });
    const plant = new Plant(context, { rig, gateway, backend }, findings);
    try {
      await rig.start();
    } catch (error) {
      await plant.stop();
      throw error;
    }
    rig.fleet.start();
    return plant;
  }

  /** Lets traffic flow; returns early where the person gives up. */
  async pause(ms: number): Promise<void> {
    await sleep(this.#context.clock, ms, this.#context.signal);
  }

  get givenUp(): boolean {
    return this.#context.signal.aborted;
  }

  /** Ends the traffic, waits until everything has arrived, and lets the oracle judge. Adds to the findings. */
  async judge(): Promise<Record<string, number>> {
    const { rig } = this;
    rig.fleet.silence();
    await rig.backendBack();
    if (!this.gateway.up && !this.givenUp) await rig.startGateway();
    const { clock, signal } = this.#context;
    const untilMs = clock.monoMs() + DRAIN_MS_MAX;
    const left = () => Math.max(0, untilMs - clock.monoMs());
    const settled = await Promise.race([rig.fleet.settle(DRAIN_MS_MAX), aborted(signal)]);
    const drained = settled && (await Promise.race([rig.drain(left()), aborted(signal)]));
    const verdict = await rig.verdict();
    const own = await rig.look();
    if (!this.givenUp) {
      if (!settled)
        this.findings.push(`machines had no answer for all they sent after ${DRAIN_MS_MAX / 1000} s`);
      else if (!drained) this.findings.push(`not everything had arrived after ${DRAIN_MS_MAX / 1000} s`);
      if (!own) this.findings.push("the gateway does not answer for its figures");
      // What a gateway that is down still has is not lost: that it does not start has been said.
      const found = verdict.findings.filter(({ kind }) => own !== null || kind !== "lost");
      for (const { kind, detail, id } of found.slice(0, FINDINGS_TOLD_MAX)) {
        this.findings.push(`${kind}: ${id}: ${detail}`);
      }
      const more = found.length - FINDINGS_TOLD_MAX;
      if (more > 0) this.findings.push(`and ${more} more messages that are lost, doubled or out of order`);
    }
    if (own?.balanced === false) this.findings.push("the gateway's accounting does not add up");
    const { sent, acked, arrived, repeatsSent, suppressedByBackend } = verdict.figures;
    return { sent, acked, arrived, repeatsSent, suppressedByBackend, duplicates: own?.duplicates ?? 0 };
  }

  async stop(): Promise<void> {
    await this.rig.stop();
  }
}

function aborted(signal: AbortSignal): Promise<false> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(false);
    else signal.addEventListener("abort", () => resolve(false), { once: true });
  });
}
