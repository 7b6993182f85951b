/**
 * Traffic for a trial that does things to processes and disks: machines under QoS 1 and 2 and over HTTP in front of a
 * gateway of its own, a web service and a broker behind it that both get every message, and the oracle over all of it.
 *
 * Those over MQTT declare no ids, so the gateway has nothing but packet ids to know a repetition by. They make readings
 * when they are told to (`burst`), so that a slow start of the gateway piles up none.
 *
 * Whatever shows that a promise is broken goes to `findings`, in a sentence. That the gateway ends by itself is one
 * unless the trial says that it is to (`mayEnd`).
 */
import { join } from "node:path";
import { stringify } from "yaml";
import { z } from "zod";
import { sleep } from "../../src/core/clock.ts";
import { errorText } from "../../src/core/errors.ts";
import { safeParse } from "../../src/core/safe-parse.ts";
import type { Backend } from "../backends/backend.ts";
import { BackendProcess } from "../backends/backend-process.ts";
import { HttpBackend } from "../backends/http-backend.ts";
import { MqttBackend } from "../backends/mqtt-backend.ts";
import { askGateway, GatewayProcess } from "../gateway-process.ts";
import { machineGroupSchema } from "../machines/fleet.ts";
import { judge, type Verdict } from "../oracle.ts";
import { Rig } from "../rig.ts";
import type { TrialContext } from "./trial.ts";
import { TRIED_CONFIG } from "./tried-config.ts";

/** Far beyond what it takes for everything to arrive once faults are over. */
const SETTLE_MS_MAX = 60_000;
/** With nothing open at the gateway any more, what has not arrived by then will not. */
const LOST_AFTER_MS = 2_000;
const LOOK_MS = 20;
const FINDINGS_TOLD_MAX = 10;

const MACHINES: readonly Record<string, unknown>[] = [
  { name: "press", count: 3, rate: 0, qos: 1, dup: 0.05, loseAck: 0.01 },
  { name: "oven", count: 2, rate: 0, qos: 2, dup: 0.05, loseAck: 0.01, withholdPubrel: 0.01 },
  { name: "packer", count: 1, rate: 0, qos: { 1: 1, 2: 1 } },
  { name: "scale", count: 2, rate: 0, door: "http", dup: 0.05, loseAck: 0.01 },
];

/** Backends misbehave for as long as the box takes for a cycle: that a message is given up is not what is tried. */
const RETRY = { delayMin: "20ms", delayMax: "200ms", attemptsMax: 1000 };
const FLOW = { from: "plant/#", retry: RETRY };

export interface TrafficOptions {
  /** As a scenario writes them; default: eight, under QoS 1 and 2 and over HTTP, with the mishaps of the field. */
  readonly machines?: readonly Record<string, unknown>[];
  /** Laid over the gateway's config, key by key at the top. */
  readonly config?: Record<string, unknown>;
  /** On the disk that is tried; default: in the trial's folder. */
  readonly dataDir?: string;
  /** Where the backends run; default: in this process, from where they can only go away. */
  readonly backends?: "here" | "processes";
  /** What there is to deliver to; default: both. */
  readonly targets?: readonly ("http" | "mqtt")[];
}

/** How the gateway ended by itself, and the end of its log. */
export interface End {
  /** "by SIGKILL", "with exit code 74" */
  readonly how: string;
  readonly log: string;
}

export class Traffic {
  readonly rig: Rig;
  readonly gateway: GatewayProcess;
  readonly backends: readonly Backend[];
  readonly findings: string[] = [];
  /** The gateway is about to end by itself: that is no finding. */
  mayEnd = false;
  readonly #context: TrialContext;
  #ended = Promise.withResolvers<End>();
  #begun = false;

  private constructor(
    context: TrialContext,
    options: TrafficOptions,
    { backends, urls }: { backends: ReadonlyMap<string, Backend>; urls: ReadonlyMap<string, string> },
  ) {
    const { clock, seed, dir, script, env } = context;
    const targets = {
      http: { type: "http", url: urls.get("http"), requestTimeout: "300ms" },
      mqtt: { type: "mqtt", url: urls.get("mqtt"), protocol: 5, idempotent: true, ackTimeout: "300ms" },
    };
    const names = [...backends.keys()] as (keyof typeof targets)[];
    const config = {
      ...TRIED_CONFIG,
      targets: Object.fromEntries(names.map((name) => [name, targets[name]])),
      flows: Object.fromEntries(names.map((name) => [name, { ...FLOW, to: name }])),
      ...options.config,
    };
    this.#context = context;
    this.backends = [...backends.values()];
    this.gateway = new GatewayProcess({
      config: stringify(config),
      dir: join(dir, "gateway"),
      dataDir: options.dataDir,
      env,
      script,
      clock,
      onCrash: (how, log) => {
        if (!this.mayEnd && !this.givenUp)
          this.findings.push(`the gateway ended by itself, ${how}: ${log.at(-1) ?? ""}`);
        this.#ended.resolve({ how, log: log.join("\n") });
      },
    });
    this.rig = new Rig({
      machines: (options.machines ?? MACHINES).map((group) => machineGroupSchema.parse(group)),
      seed,
      backend: this.backends[0]!,
      arrivals: this.backends[0]!,
      gateway: this.gateway,
      clock,
    });
  }

  /** The backends are up; the gateway is not started yet. */
  static async prepare(context: TrialContext, options: TrafficOptions = {}): Promise<Traffic> {
    const { clock, dir, env } = context;
    const backends = new Map<string, Backend>();
    const urls = new Map<string, string>();
    try {
      for (const kind of options.targets ?? (["http", "mqtt"] as const)) {
        const here = () => (kind === "http" ? new HttpBackend({ clock }) : new MqttBackend({ clock }));
        const backend =
          options.backends === "processes" ? new BackendProcess({ kind, dir, clock, env }) : here();
        backends.set(kind, backend);
        urls.set(kind, (await backend.start()).url);
      }
    } catch (error) {
      for (const backend of backends.values()) await backend.stop();
      throw error;
    }
    return new Traffic(context, options, { backends, urls });
  }

  /** Everything is up, and the machines are connecting. Throws where the gateway does not start at all. */
  static async start(context: TrialContext, options: TrafficOptions = {}): Promise<Traffic> {
    const traffic = await Traffic.prepare(context, options);
    try {
      await traffic.begin();
    } catch (error) {
      await traffic.stop();
      throw error;
    }
    return traffic;
  }

  /** The first start. */
  async begin(): Promise<void> {
    await this.rig.start();
    this.beginMachines();
  }

  /** For a gateway whose first start is itself a part of the trial. */
  beginMachines(): void {
    if (!this.#begun) this.rig.fleet.start();
    this.#begun = true;
  }

  get #patienceMs(): number {
    return this.#context.patienceMs ?? SETTLE_MS_MAX;
  }

  get givenUp(): boolean {
    return this.#context.signal.aborted;
  }

  get acked(): number {
    return this.rig.fleet.ledger.acked;
  }

  /** Starts it again; that it does not start is a finding, and false. `blame` says whether it could have. */
  async startAgain(blame: () => boolean = () => true): Promise<boolean> {
    try {
      await this.rig.startGateway();
      return true;
    } catch (error) {
      if (!this.givenUp && blame())
        this.findings.push(`the gateway does not start again: ${errorText(error)}`);
      return false;
    }
  }

  /** Resolves when it has ended without being told to; for a trial that makes it end. Ask before it can. */
  ends(): Promise<End> {
    this.#ended = Promise.withResolvers();
    return this.#ended.promise;
  }

  pause(ms: number): Promise<void> {
    return sleep(this.#context.clock, ms, this.#context.signal);
  }

  /** Waits for something that is to come; false where it has not come in time or the person has given up. */
  async until(come: () => boolean | Promise<boolean>, withinMs = this.#patienceMs): Promise<boolean> {
    const { clock } = this.#context;
    const untilMs = clock.monoMs() + withinMs;
    for (;;) {
      if (await come()) return true;
      if (this.givenUp || clock.monoMs() >= untilMs) return false;
      await this.pause(LOOK_MS);
    }
  }

  /** Ends the traffic, waits until everything has arrived, and lets the oracle judge. Adds to the findings. */
  async judge(): Promise<Record<string, number>> {
    const { rig } = this;
    rig.fleet.silence();
    for (const backend of this.backends) {
      backend.setMode("ok");
      await backend.comeBack();
    }
    this.mayEnd = false;
    if (!this.gateway.up && !this.givenUp) await this.startAgain();
    if (this.gateway.up) await this.#arrive();
    const sent = rig.fleet.ledger.entries();
    const [, ...others] = this.backends;
    const verdicts = [await rig.verdict()];
    for (const backend of others) verdicts.push(judge({ sent, arrivals: backend.arrivals() }));
    if (!this.givenUp) {
      for (const verdict of verdicts) this.blame(verdict);
      await this.#lookAtAccounts(verdicts[0]!.figures.arrived);
    }
    const { acked, arrived, repeatsSent, suppressedByBackend } = verdicts[0]!.figures;
    return { sent: sent.length, acked, arrived, repeatsSent, suppressedByBackend };
  }

  /**
   * Each finding of the oracle in a sentence, the first few of them. What a gateway that is down still has is not lost:
   * that it does not start has been said.
   */
  blame({ findings: all }: Verdict, where = ""): void {
    const findings = this.gateway.up ? all : all.filter(({ kind }) => kind !== "lost");
    for (const { kind, detail } of findings.slice(0, FINDINGS_TOLD_MAX)) {
      this.findings.push(`${kind}${where}: ${detail}`);
    }
    const more = findings.length - FINDINGS_TOLD_MAX;
    if (more > 0)
      this.findings.push(`and ${more} more messages that are lost, doubled or out of order${where}`);
  }

  /** Waits for answers to machines, then until the gateway has nothing open; not for what is lost. */
  async #arrive(): Promise<void> {
    const { clock, signal } = this.#context;
    const { fleet } = this.rig;
    const givenUp = new Promise<boolean>((resolve) => {
      if (signal.aborted) resolve(false);
      signal.addEventListener("abort", () => resolve(false), { once: true });
    });
    const answered = await Promise.race([fleet.settle(this.#patienceMs), givenUp]);
    if (!answered && !this.givenUp)
      this.findings.push(`machines have no answers after ${this.#patienceMs / 1000} s`);
    let closedSinceMs: number | null = null;
    const arrived = await this.until(async () => {
      const own = await this.rig.look();
      const open = own === null || own.open > 0;
      closedSinceMs = open ? null : (closedSinceMs ?? clock.monoMs());
      if (open) return false;
      return this.rig.outstanding().length === 0 || clock.monoMs() - closedSinceMs! > LOST_AFTER_MS;
    });
    if (!arrived && !this.givenUp)
      this.findings.push(`not everything had arrived after ${this.#patienceMs / 1000} s`);
  }

  /** The gateway's own figures, and its own count of every row, made after now. */
  async #lookAtAccounts(arrived: number): Promise<void> {
    const own = await this.rig.look();
    if (!own) {
      this.findings.push("the gateway does not answer for its figures");
      return;
    }
    if (!own.balanced) this.findings.push("the gateway's accounting does not add up");
    if (own.accepted !== arrived) {
      this.findings.push(
        `the gateway has accepted ${own.accepted} messages, and ${arrived} are at the backend (of all deliveries ${own.dead} are dead, ${own.expired} expired, ${own.evicted} evicted, ${own.discarded} discarded)`,
      );
    }
    const sinceMs = this.#context.clock.wallMs();
    let counted: Accounting | null = null;
    await this.until(async () => {
      const { http } = this.rig;
      const status = safeParse(statusShape, await askGateway(http, "/v1/status"));
      counted = status.success ? status.data.health.accounting : null;
      return (counted?.checkedAtMs ?? 0) > sinceMs;
    });
    const { state = "unchecked", mismatches = [] } = (counted ?? {}) as Partial<Accounting>;
    if (state !== "balanced" && !this.givenUp) {
      this.findings.push(`the gateway's count of its rows: ${state}; ${JSON.stringify(mismatches)}`);
    }
  }

  /** May be called at any time; leaves nothing behind. */
  async stop(): Promise<void> {
    this.mayEnd = true;
    await this.rig.stop();
    for (const backend of this.backends) await backend.stop();
  }
}

const statusShape = z.looseObject({
  health: z.looseObject({
    accounting: z.object({
      state: z.string(),
      checkedAtMs: z.number().nullable(),
      mismatches: z.array(z.unknown()),
    }),
  }),
});
type Accounting = z.output<typeof statusShape>["health"]["accounting"];
