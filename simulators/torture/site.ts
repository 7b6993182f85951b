/**
 * A site for a trial of time or of the network: machines, one gateway, and several ways out of it, each a flow with
 * a target and a backend of its own, over a link of its own that can be broken. The machines have a link, too.
 *
 * Every way gets every message that it takes, and the oracle judges each way by itself. What breaks a promise goes
 * to `findings`, in a sentence.
 */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { stringify } from "yaml";
import { z } from "zod";
import { sleep } from "../../src/core/clock.ts";
import { errorText } from "../../src/core/errors.ts";
import { safeParse } from "../../src/core/safe-parse.ts";
import type { Backend } from "../backends/backend.ts";
import { TcpProxy } from "../backends/tcp-proxy.ts";
import { type GatewayFigures, gatewayFigures } from "../gateway-figures.ts";
import { askGateway, GatewayProcess } from "../gateway-process.ts";
import { Fleet, machineGroupSchema } from "../machines/fleet.ts";
import type { Sent } from "../machines/ledger.ts";
import { judge, type OracleArrival, type Verdict } from "../oracle.ts";
import type { TrialContext } from "./trial.ts";
import { TRIED_CONFIG } from "./tried-config.ts";

/** Far beyond what it takes for everything to arrive once faults are over. */
export const SETTLE_MS_MAX = 60_000;
const LOOK_MS = 25;
const FINDINGS_TOLD_MAX = 8;

export interface Way {
  /** Of its flow and its target. */
  readonly name: string;
  readonly backend: Backend;
  /** The target's options; its `url` is filled in. */
  readonly target: Readonly<Record<string, unknown>>;
  /** The flow's; default: all of plant/#, soon tried again. */
  readonly flow?: Readonly<Record<string, unknown>>;
  /** Whether messages travel in the gateway's envelope; default: as the machine sent them. */
  readonly enveloped?: boolean;
  /** Which messages it takes; default: all. */
  readonly takes?: (sent: Sent) => boolean;
  /** False where the gateway talks to the backend itself. */
  readonly linked?: boolean;
  /** False where what arrives is not the machines', and so not for the oracle. */
  readonly judged?: boolean;
}

export interface SiteOptions {
  readonly ways: readonly Way[];
  /** As a scenario writes them. */
  readonly machines: readonly Record<string, unknown>[];
  /** Laid over the gateway's config, key by key at the top. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Whether the machines come over a link; default: no. */
  readonly machinesLinked?: boolean;
}

const FLOW = { from: "plant/#", retry: { delayMin: "20ms", delayMax: "100ms" } };

export class Site {
  readonly gateway: GatewayProcess;
  readonly fleet: Fleet;
  readonly ways: readonly Way[];
  /** By the way's name. */
  readonly links: ReadonlyMap<string, TcpProxy>;
  /** Between the machines and the gateway; null where there is none. */
  machinesLink: TcpProxy | null = null;
  readonly findings: string[] = [];
  readonly #context: TrialContext;
  readonly #machinesLinked: boolean;
  #door = { host: "127.0.0.1", port: 1 };

  private constructor(
    context: TrialContext,
    options: SiteOptions,
    links: Map<string, TcpProxy>,
    urls: Map<string, string>,
  ) {
    const { clock, seed, dir, script, env } = context;
    this.#context = context;
    this.ways = options.ways;
    this.links = links;
    this.#machinesLinked = options.machinesLinked ?? false;
    const config = {
      ...TRIED_CONFIG,
      targets: Object.fromEntries(
        this.ways.map(({ name, target }) => [name, { ...target, url: urls.get(name) }]),
      ),
      flows: Object.fromEntries(this.ways.map(({ name, flow }) => [name, { ...FLOW, ...flow, to: name }])),
      ...options.config,
    };
    this.gateway = new GatewayProcess({
      config: stringify(config),
      dir: join(dir, "gateway"),
      env: { ...env, ...options.env },
      script,
      clock,
      onCrash: (how, log) =>
        this.findings.push(`the gateway ended by itself, ${how}: ${log.at(-1) ?? "no log"}`),
    });
    this.fleet = new Fleet({
      groups: options.machines.map((group) => machineGroupSchema.parse(group)),
      seed,
      run: randomUUID().slice(0, 6),
      clock,
      address: () => this.#door,
    });
  }

  /** Everything is up, and the machines have begun. */
  static async start(context: TrialContext, options: SiteOptions): Promise<Site> {
    const links = new Map<string, TcpProxy>();
    const urls = new Map<string, string>();
    for (const { name, backend, linked = true } of options.ways) {
      const url = new URL((await backend.start()).url);
      if (linked) {
        const link = new TcpProxy({
          to: { host: url.hostname, port: Number(url.port) },
          delayMs: 60,
          clock: context.clock,
        });
        await link.start();
        links.set(name, link);
        url.host = `${link.host}:${link.port}`;
      }
      urls.set(name, url.href);
    }
    const site = new Site(context, options, links, urls);
    try {
      await site.startGateway();
    } catch (error) {
      await site.stop();
      throw error;
    }
    site.fleet.start();
    return site;
  }

  async startGateway(): Promise<void> {
    await this.gateway.start();
    const { host, port } = this.gateway.address("tcp")!;
    if (!this.#machinesLinked) {
      this.#door = { host, port };
      return;
    }
    this.machinesLink ??= new TcpProxy({ to: { host, port }, delayMs: 60, clock: this.#context.clock });
    await this.machinesLink.start();
    this.#door = { host: this.machinesLink.host, port: this.machinesLink.port };
  }

  /** Where the gateway's own MQTT door is, without a link before it. */
  get door(): { readonly host: string; readonly port: number } {
    return this.gateway.address("tcp") ?? this.#door;
  }

  get http(): string | null {
    const address = this.gateway.address("http");
    return address && `http://${address.host}:${address.port}`;
  }

  look(): Promise<GatewayFigures | null> {
    return gatewayFigures(this.http);
  }

  /** What the gateway says of a message, by its id there; null where it has none. */
  async story(id: string): Promise<Story | null> {
    const parsed = safeParse(
      storyShape,
      await askGateway(this.http, `/v1/messages/${encodeURIComponent(id)}`),
    );
    return parsed.success ? parsed.data : null;
  }

  get givenUp(): boolean {
    return this.#context.signal.aborted;
  }

  pause(ms: number): Promise<void> {
    return sleep(this.#context.clock, ms, this.#context.signal);
  }

  /** Waits for something that is to come; false where it has not come in time or the person has given up. */
  async until(come: () => boolean | Promise<boolean>, withinMs = SETTLE_MS_MAX): Promise<boolean> {
    const { clock } = this.#context;
    const untilMs = clock.monoMs() + withinMs;
    for (;;) {
      if (await come()) return true;
      if (this.givenUp || clock.monoMs() >= untilMs) return false;
      await this.pause(LOOK_MS);
    }
  }

  /**
   * Ends the traffic, waits until everything has arrived, and lets the oracle judge each way. Adds to the findings.
   * `settleMs`: by when, once nothing is broken any more, nothing may be stuck.
   */
  async judge(settleMs = SETTLE_MS_MAX): Promise<Record<string, number>> {
    const { clock } = this.#context;
    this.fleet.silence();
    for (const link of [...this.links.values(), this.machinesLink]) link?.setMode("pass");
    const fromMs = clock.monoMs();
    const leftMs = () => Math.max(0, fromMs + settleMs - clock.monoMs());
    const answered = await this.until(() => this.fleet.machines.every(({ idle }) => idle), settleMs);
    if (!answered && !this.givenUp) {
      this.findings.push(
        `stuck: machines have no answer for all they sent ${settleMs / 1000} s after the last fault`,
      );
    }
    const drained = await this.until(async () => (await this.look())?.open === 0, leftMs());
    const settleTookMs = clock.monoMs() - fromMs;
    if (!drained && !this.givenUp) {
      this.findings.push(`stuck: not everything is delivered ${settleMs / 1000} s after the last fault`);
    }
    const sent = this.fleet.ledger.entries();
    const figures = {
      sent: sent.length,
      acked: this.fleet.ledger.acked,
      arrived: 0,
      repeatsSent: 0,
      suppressedByBackend: 0,
    };
    for (const { name, backend, enveloped, judged = true, takes = () => true } of this.ways) {
      if (!judged) continue;
      const arrivals = enveloped ? backend.arrivals().map(unwrapped) : backend.arrivals();
      const verdict = judge({ sent: sent.filter(takes), arrivals });
      if (!this.givenUp) this.#blame(name, verdict);
      figures.arrived += verdict.figures.arrived;
      figures.suppressedByBackend += verdict.figures.suppressedByBackend;
    }
    figures.repeatsSent = this.fleet.ledger.repeats;
    if (!this.givenUp) await this.#lookAtAccounts();
    return { ...figures, settleMs: Math.round(settleTookMs) };
  }

  #blame(way: string, { findings }: Verdict): void {
    for (const { kind, detail } of findings.slice(0, FINDINGS_TOLD_MAX)) {
      this.findings.push(`${kind} on ${way}: ${detail}`);
    }
    const more = findings.length - FINDINGS_TOLD_MAX;
    if (more > 0)
      this.findings.push(`and ${more} more messages that are lost, doubled or out of order on ${way}`);
  }

  /** The gateway's own figures, and its own count of every row, made after now. */
  async #lookAtAccounts(): Promise<void> {
    const own = await this.look();
    if (!own) {
      this.findings.push("the gateway does not answer for its figures");
      return;
    }
    if (!own.balanced) this.findings.push("the gateway's accounting does not add up");
    if (own.dead > 0) this.findings.push(`${own.dead} deliveries are dead, and no backend has refused any`);
    const accounting = async () => (await this.#status())?.health.accounting ?? null;
    const last = await accounting();
    let counted = last;
    await this.until(async () => {
      counted = await accounting();
      return counted !== null && counted.checkedAtMs !== last?.checkedAtMs;
    });
    if (counted?.state !== "balanced" && !this.givenUp) {
      this.findings.push(
        `the gateway's count of its rows: ${counted?.state}; ${JSON.stringify(counted?.mismatches)}`,
      );
    }
  }

  /** A flow's figures; null where the gateway does not answer. */
  async flow(name: string): Promise<Status["flows"][number] | null> {
    return (await this.#status())?.flows.find(({ flow }) => flow === name) ?? null;
  }

  async #status(): Promise<Status | null> {
    const status = safeParse(statusShape, await askGateway(this.http, "/v1/status"));
    return status.success ? status.data : null;
  }

  /** May be called at any time; leaves nothing behind. */
  async stop(): Promise<void> {
    await this.fleet.stop();
    await this.gateway.stop();
    for (const link of [...this.links.values(), this.machinesLink]) await link?.stop();
    for (const { name, backend } of this.ways) {
      await backend.stop().catch((error) => this.findings.push(`${name}: ${errorText(error)}`));
    }
  }
}

function unwrapped({ payload, ...arrival }: OracleArrival): OracleArrival {
  const { payload: inside } = JSON.parse(Buffer.from(payload as Uint8Array).toString()) as {
    payload: unknown;
  };
  return { ...arrival, payload: JSON.stringify(inside) };
}

const storyShape = z.looseObject({
  message: z.looseObject({ acceptedAtMs: z.number(), clockTrusted: z.boolean() }),
  deliveries: z.array(
    z.looseObject({
      flow: z.string(),
      state: z.string(),
      attempts: z.number(),
      late: z.boolean(),
      updatedAtMs: z.number(),
    }),
  ),
});
export type Story = z.output<typeof storyShape>;

const statusShape = z.looseObject({
  flows: z.array(
    z.looseObject({ flow: z.string(), accepted: z.number(), expired: z.number(), late: z.number() }),
  ),
  health: z.looseObject({
    accounting: z.object({
      state: z.string(),
      /** By the gateway's own clock, which may be anywhere. */
      checkedAtMs: z.number().nullable(),
      mismatches: z.array(z.unknown()),
    }),
  }),
});
type Status = z.output<typeof statusShape>;
