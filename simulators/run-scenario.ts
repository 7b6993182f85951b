/**
 * Runs a scenario: starts what it needs, lets happen what its timeline says, waits until everything has
 * arrived, and asks the oracle. Says what happens through `report`, and leaves nothing behind.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { type Clock, sleep } from "../src/core/clock.ts";
import { HoldfastError } from "../src/core/errors.ts";
import type { Backend } from "./backends/backend.ts";
import { HttpBackend } from "./backends/http-backend.ts";
import { MqttBackend } from "./backends/mqtt-backend.ts";
import { TcpProxy } from "./backends/tcp-proxy.ts";
import { CaptureWriter } from "./capture.ts";
import { capturedFrom } from "./captured-from.ts";
import { embeddedConfig, orderOf } from "./embedded-config.ts";
import { checkExpectations, type Expectation } from "./expectations.ts";
import { type GatewayFigures, gatewayFigures, tellStory } from "./gateway-figures.ts";
import { GatewayProcess } from "./gateway-process.ts";
import { meansFor, WiredFleet } from "./machines/wired-fleet.ts";
import { performAct } from "./operator-acts.ts";
import type { Verdict } from "./oracle.ts";
import { OutboxReader } from "./outbox-reader.ts";
import { type Usage, UsageMeter } from "./process-usage.ts";
import { Rig, type RigFigures } from "./rig.ts";
import { findOut } from "./run-findings.ts";
import { demandMeans } from "./run-limits.ts";
import type { Scenario, ScenarioEvent } from "./scenario.ts";
import { type Means, means } from "./torture/means.ts";
import { performWired, whose } from "./wired-events.ts";

const FIGURES_EVERY_MS = 250;
/** Between a start and the next stop that the timeline asks for. */
const UP_MS_MIN = 1_000;
/** How long a gateway that ended by itself stays down. */
const CRASH_DOWN_MS = 500;
/** Findings whose history is told. */
const STORIES_MAX = 10;

export type RunEvent =
  | { readonly event: "step"; readonly atMs: number; readonly text: string }
  | ({ readonly event: "figures"; readonly atMs: number } & RigFigures);

export interface RunOptions {
  readonly scenario: Scenario;
  readonly seed: number;
  readonly clock: Clock;
  /** A gateway that runs already; without it the run starts one of its own. */
  readonly running?: { readonly host: string; readonly port: number; readonly http: string | null };
  /** Writes what the machines send to this file, as a capture. */
  readonly record?: string;
  readonly report: (event: RunEvent) => void;
  readonly signal?: AbortSignal;
}

export interface RunResult {
  readonly ok: boolean;
  readonly seed: number;
  /** False where the time to drain was over before everything had arrived. */
  readonly drained: boolean;
  readonly expectations: readonly Expectation[];
  readonly verdict: Verdict;
  /** The gateway's own figures of this run; null where they are not to be had. */
  readonly gateway: GatewayFigures | null;
  /** What the gateway says of the messages that the oracle names: id → lines. */
  readonly stories: Readonly<Record<string, readonly string[]>>;
  /** Each time the gateway ended without having been told to. */
  readonly crashes: readonly string[];
  /** What it cost, from the machines' start to the end of the drain. A gateway that ran already is not measured. */
  readonly usage: { readonly gateway: Usage | null; readonly simulator: Usage };
}

/** What this computer would have to have to run it, and has not. */
export function missingMeans(scenario: Scenario): readonly Means[] {
  return meansFor(scenario)
    .map(means)
    .filter(({ present }) => !present);
}

/** Throws HF_SCENARIO where it cannot be run here. */
export async function runScenario(options: RunOptions): Promise<RunResult> {
  const missing = missingMeans(options.scenario);
  if (missing.length > 0) {
    const each = missing.map((one) => `${one.missing} (${one.howToGet})`).join("; ");
    throw new HoldfastError("HF_SCENARIO", `this scenario cannot be run here: ${each}`);
  }
  const run = new Run(options);
  try {
    return await run.run();
  } finally {
    await run.stop();
  }
}

class Run {
  readonly #o: RunOptions;
  readonly #startedMs: number;
  readonly #crashes: string[] = [];
  /** Rejects where the gateway cannot be started again: nothing is left to wait for. */
  readonly #broken = Promise.withResolvers<never>();
  #upSinceMs = Number.NEGATIVE_INFINITY;
  #gatewayWork: Promise<void> = Promise.resolve();
  #dir: string | null = null;
  #wired: WiredFleet | null = null;
  #rig: Rig | null = null;
  #backend: Backend | null = null;
  #capture: CaptureWriter | null = null;
  #backendLink: TcpProxy | null = null;
  #gateway: GatewayProcess | null = null;
  #gatewayMeter: UsageMeter | null = null;
  /** Null until the machines start. */
  #beganMs: number | null = null;

  constructor(options: RunOptions) {
    this.#o = options;
    this.#startedMs = options.clock.monoMs();
    this.#broken.promise.catch(() => {}); // also where nobody waits any more
  }

  async run(): Promise<RunResult> {
    const { scenario, seed, clock } = this.#o;
    const rig = await this.#start();
    const before = await gatewayFigures(rig.http);
    this.#beganMs = clock.monoMs();
    const { machines } = rig.figures();
    if (this.#wired!.members.length > 0) this.#say(`the gateway reads ${this.#wired!.inWords}`);
    if (machines > 0) this.#say(`${machines} machines start`);
    rig.fleet.start();
    const ticking = new AbortController();
    const own = this.#gateway;
    this.#gatewayMeter = own && new UsageMeter(clock, () => own.pid);
    const simulatorMeter = new UsageMeter(clock, () => process.pid);
    const ticks = this.#tick(ticking.signal);
    const played = Promise.race([this.#play(rig), this.#broken.promise]);
    const drained = await played.finally(() => ticking.abort());
    await ticks;
    if (this.#o.signal?.aborted) throw this.#o.signal.reason;
    const usage = { gateway: this.#gatewayMeter?.read() ?? null, simulator: simulatorMeter.read() };
    const { verdict, gateway, found } = await findOut(rig, before);
    const expectations = checkExpectations(scenario.expect, found);
    const unbalanced = gateway?.balanced === false;
    if (unbalanced) this.#say("the gateway's accounting does not add up");
    return {
      ok: expectations.every(({ met }) => met !== false) && this.#crashes.length === 0 && !unbalanced,
      seed,
      drained,
      expectations,
      verdict,
      gateway,
      stories: await this.#stories(rig, verdict),
      crashes: this.#crashes,
      usage,
    };
  }

  async #start(): Promise<Rig> {
    const { scenario, seed, clock, running, record } = this.#o;
    const { backend, gateway: scenarioGateway, timeline } = scenario;
    demandMeans(scenario, { running, record });
    this.#backend = makeBackend(backend, clock);
    const address = await this.#backend?.start();
    const url = address && (await this.#throughLink(address.url));
    if (record) this.#capture = new CaptureWriter(record, { backend, gateway: scenarioGateway });
    const capture = this.#capture;
    const wired = new WiredFleet(scenario, seed, clock);
    this.#wired = wired;
    await wired.start();
    this.#dir = mkdtempSync(join(tmpdir(), "holdfast-simulate-"));
    this.#gateway = running
      ? null
      : new GatewayProcess({
          config: stringify(embeddedConfig(scenario, wired.config())),
          dir: this.#dir,
          env: { BACKEND_URL: url ?? "" },
          clock,
          onCrash: (how, log) => this.#crashed(how, log),
        });
    const rig = new Rig({
      machines: scenario.machines,
      seed,
      backend: this.#backend,
      backendLink: this.#backendLink,
      machinesLink: timeline.some((event) => event.do === "network" && event.of === "machines"),
      arrivals: this.#backend ?? new OutboxReader(join(this.#dir, "data", "outbox")),
      orderBy: orderOf(scenario),
      gateway: running ?? this.#gateway!,
      wired: wired.members.length > 0 ? wired : undefined,
      clock,
      keeps: Math.max(0, ...timeline.map((event) => (event.do === "send-again" ? event.last : 0))),
      onTrace: capture
        ? (device, event) => capture.write(capturedFrom(device, event, this.#wallMs()))
        : undefined,
    });
    this.#rig = rig;
    this.#say(
      running ? `a running gateway at ${running.host}:${running.port}` : "a gateway of its own starts",
    );
    await rig.start();
    return rig;
  }

  /** Where the gateway sends to: the backend, or a line before it where the timeline disturbs one. */
  async #throughLink(url: string): Promise<string> {
    const { scenario, clock } = this.#o;
    if (!scenario.timeline.some((event) => event.do === "network" && event.of === "backend")) return url;
    const { hostname: host, port } = new URL(url);
    const link = new TcpProxy({ to: { host, port: Number(port) }, clock });
    this.#backendLink = link;
    await link.start();
    return url.replace(`:${port}`, `:${link.port}`);
  }

  /** The timeline, then silence, then the drain. True where everything came to an end in time. */
  async #play(rig: Rig): Promise<boolean> {
    const { scenario, clock, signal } = this.#o;
    const steps = [
      ...scenario.timeline.map((event) => ({ atMs: event.at, run: () => this.#perform(rig, event) })),
      {
        atMs: scenario.duration,
        run: async () => {
          rig.fleet.silence();
          await this.#wired?.silence();
          this.#say("the machines make no more readings");
        },
      },
    ].toSorted((a, b) => a.atMs - b.atMs);
    // What takes its time, such as a gateway that is down for a while, does not hold back what comes next.
    const under: Promise<void>[] = [];
    for (const step of steps) {
      const waitMs = step.atMs - (clock.monoMs() - this.#beganMs!);
      if (waitMs > 0) await sleep(clock, waitMs, signal);
      if (signal?.aborted) return false;
      const done = step.run();
      // Handled below; without this a failure before that would count as unhandled.
      done.catch(() => {});
      under.push(done);
    }
    await Promise.all(under);
    if (scenario.backend.type === "file" || scenario.backend.recovers) {
      await rig.backendBack();
      rig.networkWell();
    }
    const untilMs = clock.monoMs() + scenario.drain;
    this.#say("waiting until everything has arrived");
    const settled = await rig.fleet.settle(scenario.drain);
    const drained = await rig.drain(Math.max(0, untilMs - clock.monoMs()));
    return settled && drained;
  }

  async #perform(rig: Rig, event: ScenarioEvent): Promise<void> {
    switch (event.do) {
      case "backend-away":
        this.#say("the backend goes away");
        return rig.backendAway();
      case "backend-back":
        this.#say("the backend is back");
        return rig.backendBack();
      case "network":
        this.#say(`the line before the ${event.of}: ${event.mode}`);
        return rig.network(event.of, event.mode);
      case "backend-mode":
        this.#say(`the backend: ${event.mode}`);
        return rig.backendMode(event.mode);
      case "kill-gateway":
      case "restart-gateway":
        // One after the other: where a start takes long, what comes next waits for it, and for some work done.
        this.#gatewayWork = this.#gatewayWork
          .then(() => sleep(this.#o.clock, this.#upForMs(), this.#o.signal))
          .then(() => this.#bringDown(rig, event));
        return this.#gatewayWork;
      case "redrive":
      case "discard":
      case "replay":
        // Where the gateway is being started, the person waits for it.
        await this.#gatewayWork;
        this.#say(await performAct(rig.http, event, this.#o.clock, this.#o.signal));
        return;
      case "reconnect-storm":
        this.#say(`${whose(event)} connections break`);
        return rig.fleet.storm(event.group);
      case "burst":
        this.#say(`each machine makes ${event.size} readings at once`);
        return rig.fleet.burst(event.size, event.group);
      case "machines-offline":
        this.#say(`${whose(event)} machines lose their network`);
        for (const machine of rig.fleet.group(event.group)) machine.offline();
        return;
      case "machines-online":
        this.#say(`${whose(event)} machines have their network again`);
        for (const machine of rig.fleet.group(event.group)) machine.online();
        return;
      case "send-again":
        this.#say(`each machine publishes its last ${event.last} readings once more`);
        for (const machine of rig.fleet.group(event.group)) machine.sendAgain(event.last);
        return;
      default:
        return performWired(event, this.#wired!, (text) => this.#say(text), this.#o.signal);
    }
  }

  /** As its supervisor would, the run starts it again; that it ended is not forgiven. */
  #crashed(how: string, log: readonly string[]): void {
    if (this.#o.signal?.aborted) return; // Ctrl-C reaches the gateway as well
    this.#crashes.push(`${how}${log.length > 0 ? `:\n${log.join("\n")}` : ""}`);
    this.#say(`the gateway ended by itself, ${how}; it is started again`);
    this.#gatewayWork = this.#gatewayWork.then(() => this.#startAgain(this.#rig!, CRASH_DOWN_MS));
    this.#gatewayWork.catch((error: unknown) => this.#broken.reject(error));
  }

  async #bringDown(rig: Rig, event: Extract<ScenarioEvent, { down: number }>): Promise<void> {
    if (event.do === "kill-gateway") {
      this.#say("kill -9 the gateway");
      await rig.killGateway();
    } else {
      this.#say("the gateway is stopped");
      await rig.stopGateway();
    }
    await this.#startAgain(rig, event.down);
  }

  async #startAgain(rig: Rig, downMs: number): Promise<void> {
    await sleep(this.#o.clock, downMs, this.#o.signal);
    if (this.#o.signal?.aborted) return;
    await rig.startGateway();
    this.#upSinceMs = this.#o.clock.monoMs();
    this.#say("the gateway is up again");
  }

  /** What is missing to the least time that the gateway is left alone. */
  #upForMs(): number {
    return Math.max(0, this.#upSinceMs + UP_MS_MIN - this.#o.clock.monoMs());
  }

  async #tick(signal: AbortSignal): Promise<void> {
    const { clock, report } = this.#o;
    while (!signal.aborted) {
      this.#gatewayMeter?.look();
      report({ event: "figures", atMs: this.#atMs(), ...this.#rig!.figures() });
      await sleep(clock, FIGURES_EVERY_MS, signal);
    }
    report({ event: "figures", atMs: this.#atMs(), ...this.#rig!.figures() });
  }

  async #stories(rig: Rig, verdict: Verdict): Promise<Record<string, readonly string[]>> {
    const stories: Record<string, readonly string[]> = {};
    for (const { id } of verdict.findings.slice(0, STORIES_MAX)) {
      const story = await rig.story(id);
      if (story) stories[id] = tellStory(story);
    }
    return stories;
  }

  /** The wall clock at the start, and from there the time that passed: a capture's times never go back. */
  #wallMs(): number {
    const { clock } = this.#o;
    this.#wallAtStartMs ??= clock.wallMs() - (clock.monoMs() - this.#startedMs);
    return Math.round(this.#wallAtStartMs + (clock.monoMs() - this.#startedMs));
  }
  #wallAtStartMs: number | null = null;

  #atMs(): number {
    return Math.round(this.#o.clock.monoMs() - (this.#beganMs ?? this.#startedMs));
  }

  #say(text: string): void {
    this.#o.report({ event: "step", atMs: this.#beganMs === null ? 0 : this.#atMs(), text });
  }

  async stop(): Promise<void> {
    if (this.#rig) await this.#rig.stop();
    else {
      await this.#backendLink?.stop();
      await this.#backend?.stop();
      await this.#wired?.silence();
    }
    await this.#capture?.close();
    if (this.#dir) rmSync(this.#dir, { recursive: true, force: true });
  }
}

export function makeBackend(wanted: Scenario["backend"], clock: Clock): Backend | null {
  if (wanted.type === "file") return null;
  const { type, slow, recovers: _, ...rest } = wanted;
  const options = { ...rest, slowMs: slow, clock };
  return type === "http" ? new HttpBackend({ ...options, itemResults: true }) : new MqttBackend(options);
}
