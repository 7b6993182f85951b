/**
 * Watch: what is true about the gateway, told to whoever asks.
 *
 * Promise: it says what is so, by evidence (health.ts says what counts as such), and says so when it does
 * not know. Constraint: it only looks. Nothing here can delay or change a message: figures come from the
 * reader's thread and from memory, and publishing waits for nobody.
 *
 * Once a second it looks (a tick): figures from the store, circuits from the relay, the disk. The report is
 * published every `health.interval`, and at once where something changed. The audit (queries-audit.ts)
 * runs beside it.
 *
 * What it trades away: a change is seen up to a second late, except where nudge() tells of it.
 */
import { stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, sleep, type Timer, wallClockTrusted } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import type { Logger } from "../core/logger.ts";
import { BaseService } from "../core/service.ts";
import type { Querying } from "../queue/reader.ts";
import { Events } from "./events.ts";
import { assess, type Facts, type HealthReport, type Memory, NOTHING_KNOWN } from "./health.ts";
import { History } from "./history.ts";
import { jobBrief, jobWords } from "./job-words.ts";
import { Metrics } from "./metrics.ts";
import type { Notifier } from "./notifier.ts";
import type { Problem } from "./problems.ts";
import { Publisher } from "./publisher.ts";
import { type FlowRates, Rates } from "./rates.ts";
import type { HealthConfig } from "./schema.ts";
import type {
  BrokerView,
  DiskFacts,
  FlowFacts,
  JobFacts,
  Publish,
  RelayView,
  StoreView,
  TargetFacts,
} from "./sources.ts";
import { type AuditRecord, StoreFeed } from "./store-feed.ts";

const TICK_MS = 1000;
/** Looking takes at most a tenth of the time, however large the store: ticks are then further apart… */
const LOOK_SHARE_MAX = 1 / 10;
/** …but not further than this. */
const TICK_MS_MAX = 5000;
/** Between a nudge and the tick it causes, so that a flapping circuit does not make a tick each. */
const NUDGE_MS = 100;
/** Device topics of an earlier run that are taken back. */
const STALE_TOPICS_MAX = 200_000;
/** How long a stop waits for the last words to be published. */
const LAST_WORDS_MS_MAX = 2000;

export interface WatchOptions {
  readonly config: HealthConfig;
  readonly gateway: string;
  readonly version: string;
  readonly boot: string;
  readonly dataDir: string;
  /** queue.bytesMax */
  readonly bytesMax: number;
  readonly flows: readonly FlowFacts[];
  readonly relay: RelayView;
  readonly jobs: JobFacts;
  readonly store: StoreView;
  readonly broker: BrokerView;
  readonly reader: Querying;
  readonly publish: Publish;
  /** Tells backends that want it how the gateway is: the report as JSON. */
  readonly announce: (health: string) => void;
  /** Tells people; absent where nobody is to be told. */
  readonly notifier?: Notifier;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The report with what tells one gateway and one moment from another. */
export interface SignedReport extends HealthReport {
  readonly gateway: string;
  readonly version: string;
  readonly boot: string;
  /** Wall clock, epoch ms. */
  readonly atMs: number;
  readonly uptimeMs: number;
  /** Those that run or are paused. */
  readonly jobs: ReturnType<JobFacts["open"]>;
  readonly devices: { readonly known: number; readonly online: number; readonly clientsOnline: number };
}

export class Watch extends BaseService {
  readonly #options: WatchOptions;
  readonly #feed: StoreFeed;
  readonly #publisher: Publisher;
  readonly #startedMs: number;
  readonly metrics: Metrics;
  readonly events: Events;
  readonly #rates = new Rates();
  readonly history: History;
  #memory: Memory = NOTHING_KNOWN;
  #report: SignedReport | undefined;
  #disk: DiskFacts | null = null;
  #timer: Timer | undefined;
  #ticking: Promise<void> | undefined;
  /** Something changed since the last tick began: settled by the next one. */
  #nudged: PromiseWithResolvers<void> | undefined;
  #publishedAtMs = Number.NEGATIVE_INFINITY;
  #publishedSign = "";

  /** Called after each look, with the report it came to. */
  onLook: (report: SignedReport) => void = () => {};

  constructor(options: WatchOptions) {
    super();
    this.#options = options;
    const { config, gateway, reader, store, publish, clock, logger, version, boot } = options;
    this.#startedMs = clock.monoMs();
    this.#feed = new StoreFeed({
      reader,
      auditEveryMs: config.auditEvery,
      clock,
      logger,
      steadyMs: () => store.steadyMs(),
    });
    this.#feed.onAudit = () => void this.nudge();
    this.#publisher = new Publisher({ gateway, config, publish, clock, logger });
    this.metrics = new Metrics({ version });
    this.history = new History(clock);
    this.events = new Events(clock, boot);
    options.notifier?.reportTo(this);
  }

  /** Of a flow, over the last minute. */
  rates(flow: string): FlowRates {
    return this.#rates.of(flow);
  }

  /** The last time that the accounts were held against the rows; null before the first. */
  audit(): AuditRecord | null {
    return this.#feed.audit;
  }

  /** Null where nobody is to be told. */
  get notifier(): Notifier | null {
    return this.#options.notifier ?? null;
  }

  /** What the relay knows of its targets now, by name. */
  targets(): ReadonlyMap<string, TargetFacts> {
    return this.#options.relay.views();
  }

  /** As of the last tick. */
  report(): SignedReport {
    this.#report ??= this.#assess();
    return this.#report;
  }

  /** Something has changed (a circuit, the store): look now rather than at the next tick. Resolves after it. */
  nudge(): Promise<void> {
    if (this.stopping) return Promise.resolve();
    this.#nudged ??= Promise.withResolvers();
    if (!this.#ticking) {
      this.#timer?.cancel();
      this.#tickAfter(NUDGE_MS);
    }
    return this.#nudged.promise;
  }

  /** After each commit of the store. */
  committed(requests: number, durationMs: number, syncMs?: number): void {
    this.metrics.committed(requests, durationMs, syncMs);
    this.history.committed(durationMs);
  }

  /** A job has begun, paused, gone on or ended. */
  job(job: Job): void {
    this.events.tell({ kind: "job", subject: String(job.id), ...jobWords(job) });
    void this.nudge();
  }

  /** After each call of a target: an outcome for each delivery, in step. */
  answered(
    target: string,
    deliveries: readonly { readonly steadyAtMs: number }[],
    outcomes: readonly { readonly kind: string }[],
  ): void {
    this.metrics.answered(target, outcomes);
    const steadyMs = this.#options.store.steadyMs();
    for (const [at, { kind }] of outcomes.entries()) {
      if (kind === "delivered") this.history.delivered(steadyMs - deliveries[at]!.steadyAtMs);
      else this.history.failed();
    }
  }

  /** The registry's text, with figures as of now. */
  async exposition(): Promise<{ readonly contentType: string; readonly text: string }> {
    await this.#feed.refresh();
    this.metrics.refresh({
      report: this.report(),
      overview: this.#feed.overview,
      targets: this.#options.relay.views(),
      audit: this.#feed.audit,
      jobs: this.#options.jobs,
      monoMs: this.#options.clock.monoMs(),
    });
    return { contentType: this.metrics.registry.contentType, text: await this.metrics.registry.metrics() };
  }

  protected async onStart(): Promise<void> {
    if (this.#options.config.topics) {
      this.#publisher.status("online");
      await this.#takeBackDevices();
    }
    this.#feed.start();
    await this.#options.notifier?.start();
    const { gateway, version } = this.#options;
    const sentence = `gateway ${gateway} has started (version ${version})`;
    this.events.tell({ kind: "started", severity: "info", subject: null, sentence });
    await this.#tick();
  }

  protected async onStop(): Promise<void> {
    this.#timer?.cancel();
    this.#feed.stop();
    await this.#ticking;
    this.#nudged?.resolve();
    this.#report = this.#assess();
    // The failure that ends the gateway would otherwise not be told.
    if (this.#report.state === "failed") this.#options.notifier?.look(this.#report);
    await this.#options.notifier?.stop();
    if (!this.#options.config.topics) return;
    this.#sayHealth(this.#report);
    this.#publisher.status("offline");
    const waited = new AbortController();
    await Promise.race([
      this.#publisher.settled(),
      sleep(this.#options.clock, LAST_WORDS_MS_MAX, waited.signal),
    ]);
    waited.abort();
  }

  async #takeBackDevices(): Promise<void> {
    const { reader, logger } = this.#options;
    try {
      const prefix = this.#publisher.devicesPrefix;
      this.#publisher.takeBack(await reader.query("retainedTopics", { prefix, limit: STALE_TOPICS_MAX }));
    } catch (error) {
      logger.warn({ err: error }, "what an earlier run said of devices cannot be taken back");
    }
  }

  #tickAfter(delayMs: number): void {
    this.#timer = this.#options.clock.after(delayMs, () => void this.#tick());
  }

  #tick(): Promise<void> {
    const { clock, logger } = this.#options;
    const beganMs = clock.monoMs();
    this.#ticking ??= this.#look()
      .catch((error) => logger.error({ err: error }, "a look at the gateway's health failed"))
      .finally(() => {
        this.#ticking = undefined;
        if (this.stopping) return;
        const tookMs = clock.monoMs() - beganMs;
        const pauseMs = Math.min(Math.max(TICK_MS, tookMs / LOOK_SHARE_MAX), TICK_MS_MAX);
        this.#tickAfter(this.#nudged ? NUDGE_MS : pauseMs);
      });
    return this.#ticking;
  }

  async #look(): Promise<void> {
    const nudged = this.#nudged;
    this.#nudged = undefined;
    try {
      await Promise.all([this.#feed.refresh(), this.#lookAtDisk()]);
      if (this.#feed.overview) this.history.look(this.#feed.overview);
      const before = this.#report?.problems ?? [];
      this.#report = this.#assess();
      this.#logChanges(before, this.#report.problems);
      this.events.compare(this.#report, this.#options.broker.devices());
      if (this.#feed.overview) this.#rates.add(this.#options.clock.monoMs(), this.#feed.overview);
      this.onLook(this.#report);
      this.#options.notifier?.look(this.#report);
      if (this.#options.config.topics) this.#tell(this.#report);
    } finally {
      nudged?.resolve();
    }
  }

  /** The log has each problem once, when it begins, and once when it is over. */
  #logChanges(before: readonly Problem[], now: readonly Problem[]): void {
    const { logger } = this.#options;
    for (const { key, severity, sentence } of now) {
      if (before.some((problem) => problem.key === key)) continue;
      logger[severity === "alarm" ? "error" : "warn"]({ problem: key }, sentence);
    }
    for (const { key } of before) {
      if (!now.some((problem) => problem.key === key)) logger.info({ problem: key }, "over");
    }
  }

  #tell(report: SignedReport): void {
    const { config, clock, broker } = this.#options;
    this.#publisher.devices(broker.devices());
    const sign = signOf(report);
    const due = clock.monoMs() - this.#publishedAtMs >= config.interval;
    if (!due && sign === this.#publishedSign) return;
    this.#publishedAtMs = clock.monoMs();
    this.#publishedSign = sign;
    this.#sayHealth(report);
  }

  #sayHealth(report: SignedReport): void {
    this.#publisher.health(report);
    this.#options.announce(JSON.stringify(report));
  }

  #assess(): SignedReport {
    const { config, gateway, version, boot, broker, clock, jobs } = this.#options;
    const { report, memory } = assess(this.#facts(), config, this.#memory);
    this.#memory = memory;
    let known = 0;
    let online = 0;
    for (const device of broker.devices()) {
      known += 1;
      if (device.online) online += 1;
    }
    return {
      gateway,
      version,
      boot,
      atMs: clock.wallMs(),
      uptimeMs: Math.round(clock.monoMs() - this.#startedMs),
      ...report,
      jobs: jobs.open().map(jobBrief),
      devices: { known, online, clientsOnline: broker.clientsOnline },
    };
  }

  #facts(): Facts {
    const { clock, store, flows, relay, broker, bytesMax } = this.#options;
    const wallMs = clock.wallMs();
    return {
      monoMs: clock.monoMs(),
      wallMs,
      clockTrusted: wallClockTrusted(wallMs),
      stopping: this.stopping,
      store: store.state,
      flows,
      pauses: relay.pauses.all,
      targets: relay.views(),
      devices: broker.read(),
      overview: this.#feed.overview,
      blind: this.#feed.blind,
      audit: this.#feed.audit,
      disk: this.#disk,
      channels: this.#options.notifier?.troubles() ?? [],
      bytesMax,
    };
  }

  async #lookAtDisk(): Promise<void> {
    const { dataDir, logger } = this.#options;
    try {
      const disk = await statfs(dataDir);
      const wal = await stat(join(dataDir, "store.db-wal")).catch(() => null);
      this.#disk = { freeBytes: disk.bavail * disk.bsize, walBytes: wal?.size ?? 0 };
    } catch (error) {
      if (this.#disk)
        logger.warn({ err: errorText(error) }, "the disk of the data folder cannot be looked at");
      this.#disk = null;
    }
  }
}

/** What makes a report worth publishing at once: its states, not its figures. */
function signOf(report: SignedReport): string {
  return JSON.stringify([
    report.jobs.map(({ id, state }) => [id, state]),
    report.state,
    report.problems.map(({ key }) => key),
    report.targets.map(({ state, circuit }) => [state, circuit]),
    report.flows.map(({ state }) => state),
    report.pauses.map(({ kind, name }) => [kind, name]),
    report.accounting.state,
  ]);
}
