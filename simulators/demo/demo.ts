/**
 * The demo: half a minute in which the promise is put to the test in front of the reader. A gateway as a
 * process of its own, machines that stutter, a backend that goes away, a power cut, an answer that gets
 * lost; then the oracle's verdict. Everything is real but the machines and the backend.
 *
 * It says what it does before it does it, in plain sentences, and leaves nothing behind.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { type Clock, sleep } from "../../src/core/clock.ts";
import { HttpBackend } from "../backends/http-backend.ts";
import { embeddedConfig } from "../embedded-config.ts";
import { GatewayProcess } from "../gateway-process.ts";
import { WiredFleet } from "../machines/wired-fleet.ts";
import type { Verdict } from "../oracle.ts";
import { Rig, type RigFigures } from "../rig.ts";
import { type Scenario, scenarioSchema } from "../scenario.ts";
import { type MeansName, means } from "../torture/means.ts";
import { n } from "./panel.ts";

export type DemoEvent =
  | { readonly event: "say"; readonly atMs: number; readonly text: string; readonly weight: Weight }
  | ({
      readonly event: "figures";
      readonly atMs: number;
      readonly scene: string;
      readonly doubled: number;
      readonly outOfOrder: number;
    } & RigFigures)
  | {
      readonly event: "verdict";
      readonly atMs: number;
      readonly kept: boolean;
      /** False where the time was over before everything had arrived. */
      readonly drained: boolean;
      readonly verdict: Verdict;
      readonly figures: RigFigures;
    };

/** Whether a sentence begins a scene or goes on with it. */
type Weight = "scene" | "more";

export interface DemoOptions {
  readonly clock: Clock;
  readonly report: (event: DemoEvent) => void;
  readonly signal: AbortSignal;
  readonly seed?: number;
  /** Length of the scenes, 1 as written; a test tells the story faster. */
  readonly pace?: number;
}

const FIGURES_EVERY_MS = 250;
const UNTIL_MS_MAX = 8_000;
const UNTIL_LOOK_MS = 20;
/** A slow or busy computer gets its time. */
const DRAIN_MS_MAX = 60_000;

const MACHINES = [
  { name: "press", count: 4, rate: 10, qos: 1 },
  { name: "oven", count: 2, rate: 8, qos: 2 },
  // Loses its acknowledgements and repeats itself: what duplicates are made of.
  { name: "packer", count: 1, rate: 10, qos: 1, republish: 0.15, dup: 0.1, loseAck: 0.02 },
];

const PLCS = [{ name: "mixer", every: "250ms" }];
/** On serial lines to pretend with, where there can be any. */
const INSTRUMENTS = [
  { name: "scale", kind: "scale", every: "500ms" },
  { name: "scanner", kind: "barcode", every: "700ms" },
  { name: "crane", kind: "nmea", every: "1s" },
];
/** Where the library for it was added. */
const OPCUA = [{ name: "filler", every: "250ms" }];

/** Rejects with the signal's reason where it was broken off. True where the promise was kept and everything arrived. */
export async function runDemo(options: DemoOptions): Promise<boolean> {
  const demo = new Demo(options);
  try {
    return await demo.run();
  } finally {
    await demo.stop();
  }
}

class Demo {
  readonly #o: DemoOptions;
  readonly #startedMs: number;
  readonly #dir = mkdtempSync(join(tmpdir(), "holdfast-demo-"));
  // Slow enough that the eye can follow how the backlog drains.
  readonly #backend = new HttpBackend({ mode: "slow", slowMs: 8 });
  readonly #scenario: Scenario;
  readonly #wired: WiredFleet;
  #rig: Rig | null = null;
  #scene = "";
  #crash: string | null = null;
  #drained = false;
  readonly #ticking = new AbortController();
  #ticks: Promise<void> = Promise.resolve();

  constructor(options: DemoOptions) {
    this.#o = options;
    this.#startedMs = options.clock.monoMs();
    this.#scenario = scenarioSchema.parse({
      machines: MACHINES,
      plcs: PLCS,
      instruments: means("pty").present ? INSTRUMENTS : [],
      opcua: means("opcua-server").present ? OPCUA : [],
      gateway: { config: { gateway: { name: "demo" }, relay: { probeDelayMax: "500ms" } } },
    });
    this.#wired = new WiredFleet(this.#scenario, options.seed ?? 1, options.clock);
  }

  async run(): Promise<boolean> {
    const rig = await this.#setUp();
    await this.#allIsWell(rig);
    await this.#backendAway(rig);
    await this.#powerCut(rig);
    await this.#backAgain(rig);
    await this.#answersLost(rig);
    await this.#drain(rig);
    return this.#verdict(rig);
  }

  async #setUp(): Promise<Rig> {
    const { clock, seed = 1 } = this.#o;
    const wired = this.#wired.inWords;
    this.#say("scene", `A gateway, seven machines, ${wired} and a backend start on this computer.`);
    this.#sayWhatIsMissing("Instruments on serial lines", "pty");
    this.#sayWhatIsMissing("An OPC UA server", "opcua-server");
    await this.#wired.start();
    const { url } = await this.#backend.start();
    const gateway = new GatewayProcess({
      config: stringify(embeddedConfig(this.#scenario, this.#wired.config())),
      dir: this.#dir,
      env: { BACKEND_URL: url },
      clock,
      onCrash: (how, log) => {
        if (this.#o.signal.aborted) return; // Ctrl-C reaches the gateway as well
        this.#crash = how;
        this.#say("more", `The gateway ended by itself, ${how}. That must not happen. ${log.join(" ")}`);
      },
    });
    const rig = new Rig({
      machines: this.#scenario.machines,
      seed,
      backend: this.#backend,
      backendWell: "slow",
      arrivals: this.#backend,
      wired: this.#wired,
      gateway,
      clock,
    });
    this.#rig = rig;
    await rig.start();
    this.#checkAborted();
    const { host, port } = rig.door;
    this.#say(
      "more",
      `The gateway is process ${gateway.pid}, takes MQTT at ${host}:${port} and sends to ${url}.`,
    );
    if (rig.http) this.#say("more", `Look on from another terminal: curl -s ${rig.http}/v1/status`);
    this.#ticks = this.#tick(rig);
    return rig;
  }

  async #allIsWell(rig: Rig): Promise<void> {
    this.#scene = "all is well";
    rig.fleet.start();
    this.#say(
      "more",
      "The machines publish about 65 readings a second. Each is answered only when it is safe on disk. One machine stutters: it sends some readings twice. The PLC speaks Modbus, and is asked four times a second.",
    );
    if (this.#scenario.instruments.length > 0) {
      this.#say(
        "more",
        "On serial lines, the scale is asked twice a second; the barcode reader and the crane's NMEA talker speak by themselves.",
      );
    }
    if (this.#scenario.opcua.length > 0) {
      this.#say("more", "The OPC UA server is subscribed to: it tells what changes.");
    }
    await this.#wait(5_000);
  }

  async #backendAway(rig: Rig): Promise<void> {
    this.#scene = "the backend is away";
    this.#say(
      "scene",
      "Now the backend goes away. The machines do not notice; what they send waits on disk.",
    );
    await rig.backendAway();
    await this.#wait(6_000);
  }

  async #powerCut(rig: Rig): Promise<void> {
    this.#scene = "power cut: the gateway is dead";
    const { gateway } = rig.figures();
    this.#say(
      "scene",
      `A power cut: kill -9 on the gateway, with ${n(gateway?.open ?? 0)} messages waiting.`,
    );
    await rig.killGateway();
    await this.#wait(1_500);
    await rig.startGateway();
    this.#checkAborted();
    this.#scene = "the gateway is up again, the backend still away";
    const after = await rig.look();
    this.#say(
      "more",
      `It is up again, and the ${n(after?.open ?? 0)} that wait are still there. The machines send again what had no answer; what is known is not taken twice.`,
    );
    await this.#wait(4_500);
  }

  async #backAgain(rig: Rig): Promise<void> {
    this.#scene = "the backend is back, the backlog drains";
    this.#say("scene", "The backend is back. What waited drains, oldest first, each machine in its order.");
    const { arrived, gateway } = rig.figures();
    const third = Math.ceil((gateway?.open ?? 0) / 3);
    await rig.backendBack();
    await this.#until(() => rig.figures().arrived >= arrived + third);
  }

  async #answersLost(rig: Rig): Promise<void> {
    this.#scene = "the backend takes messages, and its answers get lost";
    this.#say(
      "scene",
      "In the middle of it answers get lost: the backend takes a message and drops the connection. The gateway cannot know, and sends it again under the same id, by which the backend knows it.",
    );
    rig.backendMode("commit-then-drop");
    await this.#wait(2_000);
    this.#scene = "the backend is well, the backlog drains";
    this.#say("more", "The backend is well again, and the rest drains.");
    await rig.backendBack();
    await this.#wait(5_000);
  }

  async #drain(rig: Rig): Promise<void> {
    this.#scene = "the machines are silent, the rest arrives";
    this.#say("more", "The machines fall silent.");
    rig.fleet.silence();
    await this.#wired.silence();
    await rig.fleet.settle(DRAIN_MS_MAX);
    this.#checkAborted();
    this.#drained = await rig.drain(DRAIN_MS_MAX);
    this.#checkAborted();
  }

  async #verdict(rig: Rig): Promise<boolean> {
    this.#scene = "the verdict";
    const verdict = await rig.verdict();
    this.#ticking.abort();
    await this.#ticks;
    const figures = rig.figures();
    const { gateway } = figures;
    const kept = verdict.kept && gateway?.balanced === true && this.#crash === null;
    const drained = this.#drained;
    this.#o.report({ event: "verdict", atMs: this.#atMs(), kept, drained, verdict, figures });
    return kept && drained;
  }

  async #tick(rig: Rig): Promise<void> {
    while (!this.#ticking.signal.aborted) {
      const { doubled, outOfOrder } = rig.judgeNow().counts;
      const facts = { scene: this.#scene, doubled, outOfOrder, ...rig.figures() };
      this.#o.report({ event: "figures", atMs: this.#atMs(), ...facts });
      await sleep(this.#o.clock, FIGURES_EVERY_MS, this.#ticking.signal);
    }
  }

  async #wait(ms: number): Promise<void> {
    await sleep(this.#o.clock, ms * (this.#o.pace ?? 1), this.#o.signal);
    this.#checkAborted();
  }

  /** Goes on as soon as `holds`, and after some seconds anyway: the story must end. */
  async #until(holds: () => boolean): Promise<void> {
    const untilMs = this.#o.clock.monoMs() + UNTIL_MS_MAX;
    while (!holds() && this.#o.clock.monoMs() < untilMs) {
      await sleep(this.#o.clock, UNTIL_LOOK_MS, this.#o.signal);
      this.#checkAborted();
    }
  }

  #sayWhatIsMissing(what: string, name: MeansName): void {
    const { present, missing, howToGet } = means(name);
    if (!present) this.#say("more", `${what} would take part, but ${missing}: ${howToGet}`);
  }

  #checkAborted(): void {
    if (this.#o.signal.aborted) throw this.#o.signal.reason;
  }

  #say(weight: Weight, text: string): void {
    this.#o.report({ event: "say", atMs: this.#atMs(), text, weight });
  }

  #atMs(): number {
    return Math.round(this.#o.clock.monoMs() - this.#startedMs);
  }

  async stop(): Promise<void> {
    this.#ticking.abort();
    await this.#ticks;
    if (this.#rig) await this.#rig.stop();
    else {
      await this.#backend.stop();
      await this.#wired.silence();
    }
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
