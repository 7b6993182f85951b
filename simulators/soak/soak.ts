/**
 * The soak: steady mixed traffic for hours against one gateway process, with an outage or a slow backend now and
 * then, late and duplicate messages all the time, and a row of figures every minute: what does a gateway grow
 * by that is never restarted?
 *
 * Retention and the window for duplicates are short here, so that the store soon holds as much as it ever will;
 * what grows after that grows for ever. The books of both sides forget what they agree on (soak-book.ts), so that
 * the run itself does not grow either.
 */
import { join } from "node:path";
import { stringify } from "yaml";
import { type Clock, sleep } from "../../src/core/clock.ts";
import { type Random, seededRandom } from "../../src/core/random.ts";
import { HttpBackend } from "../backends/http-backend.ts";
import { embeddedConfig } from "../embedded-config.ts";
import { type GatewayFigures, gatewayFigures } from "../gateway-figures.ts";
import { GatewayProcess } from "../gateway-process.ts";
import { Fleet } from "../machines/fleet.ts";
import { scenarioSchema } from "../scenario.ts";
import { metric, processFacts, storeFiles } from "./process-facts.ts";
import { SoakBook } from "./soak-book.ts";
import { growthChecks, none, type SoakCheck, type SoakRow } from "./soak-verdict.ts";

const ROW_MS = { min: 250, max: 60_000, share: 1 / 60 };
/** Between two mishaps of the backend. */
const MISHAP_MS = { min: 1_500, max: 5 * 60_000, share: 1 / 15 };
const MISHAP_LASTS_MS_MAX = 20_000;
const RETENTION_MS = { min: 1_000, max: 60_000, share: 1 / 20 };
const DRAIN_MS_MAX = 60_000;
const LOOK_MS = 100;
const ARRIVALS_KEPT = 50_000;
const MACHINES = 12;
const CRASHES_KEPT = 20;

export interface SoakOptions {
  readonly durationMs: number;
  /** Messages a second, all machines together. */
  readonly rate: number;
  readonly seed: number;
  /** An empty folder on the disk that is to be tried. */
  readonly dir: string;
  readonly clock: Clock;
  readonly script?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly report: (event: SoakEvent) => void;
  readonly signal: AbortSignal;
}

export type SoakEvent =
  | ({ readonly event: "row" } & SoakRow)
  | { readonly event: "say"; readonly atMs: number; readonly text: string };

export interface SoakResult {
  readonly held: boolean;
  readonly interrupted: boolean;
  /** How long there was traffic. */
  readonly tookMs: number;
  readonly checks: readonly SoakCheck[];
  readonly findings: readonly string[];
  readonly figures: Readonly<Record<string, number>>;
  readonly rows: readonly SoakRow[];
}

export async function soak(options: SoakOptions): Promise<SoakResult> {
  const run = new Soak(options);
  try {
    return await run.run();
  } finally {
    await run.stop();
  }
}

class Soak {
  readonly #o: SoakOptions;
  readonly #book = new SoakBook();
  readonly #backend: HttpBackend;
  readonly #random: Random;
  readonly #rows: SoakRow[] = [];
  readonly #crashes: string[] = [];
  #events: string[] = [];
  #gateway: GatewayProcess | null = null;
  #fleet: Fleet | null = null;
  #beganMs = 0;
  #mishaps = 0;

  constructor(options: SoakOptions) {
    this.#o = options;
    this.#random = seededRandom(options.seed);
    this.#backend = new HttpBackend({
      clock: options.clock,
      itemResults: true,
      kept: ARRIVALS_KEPT,
      slowMs: 300,
    });
    this.#backend.onArrival = ({ payload, taken, effect }) => {
      if (taken) this.#book.onEffect(payload, effect);
    };
  }

  async run(): Promise<SoakResult> {
    const { clock, durationMs, signal } = this.#o;
    await this.#start();
    const over = new AbortController();
    const ending = AbortSignal.any([signal, over.signal]);
    const side = [this.#measure(ending), this.#mishapsUntil(ending)];
    await sleep(clock, durationMs, signal);
    over.abort();
    const tookMs = this.#atMs();
    await Promise.all(side);
    await this.#row();
    const own = await this.#drain();
    return this.#result(tookMs, own);
  }

  async #start(): Promise<void> {
    const { clock, dir, script, env, seed } = this.#o;
    const scenario = scenarioSchema.parse({
      machines: machines(this.#o.rate),
      gateway: { config: this.#config() },
    });
    const { url } = await this.#backend.start();
    this.#gateway = new GatewayProcess({
      config: stringify(embeddedConfig(scenario)),
      dir: join(dir, "gateway"),
      env: { ...env, BACKEND_URL: url },
      script,
      clock,
      onCrash: (how, log) => this.#crashed(how, log),
    });
    await this.#gateway.start();
    this.#fleet = new Fleet({
      groups: scenario.machines,
      seed,
      run: "soak",
      clock,
      address: () => this.#gateway?.address("tcp") ?? { host: "127.0.0.1", port: 1 },
      ledger: this.#book,
    });
    this.#beganMs = clock.monoMs();
    this.#fleet.start();
  }

  #config(): Record<string, unknown> {
    const keptMs = this.#scaled(RETENTION_MS);
    return {
      intake: { duplicateWindow: Math.max(keptMs, 5_000) },
      queue: { retention: { age: keptMs, every: Math.max(500, Math.round(keptMs / 4)) } },
      flows: { all: { lateAfter: "2s" } },
    };
  }

  #scaled({ min, max, share }: { min: number; max: number; share: number }): number {
    return Math.round(Math.min(max, Math.max(min, this.#o.durationMs * share)));
  }

  /** As its supervisor would, the soak starts it again; that it ended is a finding. */
  #crashed(how: string, log: readonly string[]): void {
    if (this.#o.signal.aborted) return;
    if (this.#crashes.length < CRASHES_KEPT) {
      this.#crashes.push(
        `the gateway ended by itself ${this.#atMs()} ms into the run, ${how}: ${log.at(-1) ?? "no log"}`,
      );
    }
    this.#say(`the gateway ended by itself, ${how}; it is started again`);
    this.#gateway!.start().catch((error: unknown) =>
      this.#crashes.push(`and it did not start again: ${error}`),
    );
  }

  async #measure(signal: AbortSignal): Promise<void> {
    const rowMs = this.#scaled(ROW_MS);
    for (let next = rowMs; !signal.aborted; next += rowMs) {
      await sleep(this.#o.clock, next - this.#atMs(), signal);
      if (!signal.aborted) await this.#row();
    }
  }

  async #row(): Promise<void> {
    const gateway = this.#gateway!;
    const atMs = this.#atMs();
    const acks = this.#book.takeAckTimes();
    const events = this.#events;
    this.#events = [];
    const [exposition, figures] = await Promise.all([this.#exposition(), gatewayFigures(this.#http())]);
    const { sent, acked, arrived } = this.#book;
    const loopSeconds = metric(exposition, "nodejs_eventloop_lag_p99_seconds");
    const row: SoakRow = {
      atMs,
      sent,
      acked,
      arrived,
      open: figures?.open ?? null,
      acksInRow: acks.count,
      ackP50Ms: Math.round(acks.p50Ms * 10) / 10,
      ackP99Ms: Math.round(acks.p99Ms * 10) / 10,
      ...processFacts(gateway.pid),
      heapUsedBytes: metric(exposition, "nodejs_heap_size_used_bytes"),
      ...storeFiles(gateway.dataDir),
      loopP99Ms: loopSeconds === null ? null : Math.round(loopSeconds * 10_000) / 10,
      events,
    };
    this.#rows.push(row);
    this.#o.report({ event: "row", ...row });
  }

  #http(): string | null {
    const http = this.#gateway!.address("http");
    return http && `http://${http.host}:${http.port}`;
  }

  async #exposition(): Promise<string> {
    try {
      const response = await fetch(new URL("/metrics", this.#http() ?? ""), {
        signal: AbortSignal.timeout(3_000),
      });
      return await response.text();
    } catch {
      return "";
    }
  }

  /** Away, gone for a moment, slow, or losing its answers: one after the other, at chance times. */
  async #mishapsUntil(signal: AbortSignal): Promise<void> {
    const { clock } = this.#o;
    const everyMs = this.#scaled(MISHAP_MS);
    for (;;) {
      await sleep(clock, everyMs * (0.5 + this.#random.unit()), signal);
      if (signal.aborted) return;
      const lastsMs = Math.min(MISHAP_LASTS_MS_MAX, everyMs / 3) * (0.3 + 0.7 * this.#random.unit());
      this.#mishaps++;
      await this.#mishap(this.#mishaps % 4, lastsMs, signal);
      this.#backend.setMode("ok");
    }
  }

  async #mishap(which: number, lastsMs: number, signal: AbortSignal): Promise<void> {
    const backend = this.#backend;
    if (which < 2) {
      this.#say(which === 1 ? "backend away" : "backend restarts");
      await backend.goAway();
      if (which === 1) await sleep(this.#o.clock, lastsMs, signal);
      await backend.comeBack();
    } else {
      const mode = which === 2 ? "commit-then-drop" : "slow";
      this.#say(`backend ${mode}`);
      backend.setMode(mode);
      await sleep(this.#o.clock, lastsMs, signal);
    }
  }

  #say(text: string): void {
    this.#events.push(text);
    this.#o.report({ event: "say", atMs: this.#atMs(), text });
  }

  /** Silence, and a wait until everything has arrived. The gateway's last word, or null. */
  async #drain(): Promise<GatewayFigures | null> {
    const { clock, signal } = this.#o;
    this.#fleet!.silence();
    const untilMs = clock.monoMs() + DRAIN_MS_MAX;
    for (;;) {
      const own = await gatewayFigures(this.#http());
      const done = this.#book.unsettled === 0 && this.#book.owed === 0 && own?.open === 0;
      if (done || clock.monoMs() >= untilMs || signal.aborted) return own;
      await sleep(clock, LOOK_MS, signal);
    }
  }

  #result(tookMs: number, own: GatewayFigures | null): SoakResult {
    const { signal } = this.#o;
    const book = this.#book;
    // Broken off, what is still on its way is not lost.
    const lost = signal.aborted ? [] : book.lost();
    const ended = own ? own.dead + own.expired + own.evicted : 0;
    const checks = [
      none("lost", lost.length),
      none("doubled", book.counts.doubled),
      none("out of order", book.counts.outOfOrder),
      none("strangers", book.counts.stranger),
      none("not answered", signal.aborted ? 0 : book.unsettled),
      none("dead, expired or evicted", ended),
      none("ended by itself", this.#crashes.length),
      none("accounting does not add up", own?.balanced === false ? 1 : 0),
      ...growthChecks(this.#rows, tookMs),
    ];
    const { sent, acked, arrived, repeats, suppressedByBackend } = book;
    return {
      held: checks.every(({ met }) => met !== false),
      interrupted: signal.aborted,
      tookMs,
      checks,
      findings: [...this.#crashes, ...book.findings, ...lost.slice(0, 50).map((text) => `lost: ${text}`)],
      figures: {
        sent,
        acked,
        arrived,
        repeatsSent: repeats,
        suppressedByBackend,
        duplicates: own?.duplicates ?? 0,
        late: own?.late ?? 0,
        mishaps: this.#mishaps,
      },
      rows: this.#rows,
    };
  }

  #atMs(): number {
    return this.#beganMs === 0 ? 0 : Math.round(this.#o.clock.monoMs() - this.#beganMs);
  }

  async stop(): Promise<void> {
    await this.#fleet?.stop();
    await this.#gateway?.stop();
    await this.#backend.stop();
  }
}

function machines(rate: number): Record<string, unknown>[] {
  const each = rate / MACHINES;
  const odd = { loseAck: 0.01, dup: 0.01, republish: 0.01, late: { chance: 0.05, by: "10s" } };
  return [
    { name: "press", count: 6, rate: each, qos: 1, ...odd, reconnect: { every: "30s" } },
    {
      name: "oven",
      count: 4,
      rate: each,
      qos: 2,
      ...odd,
      withholdPubrel: 0.01,
      payloadBytes: { min: 150, max: 2000 },
    },
    { name: "meter", count: 2, rate: each, qos: 0 },
  ];
}
