/**
 * One device: opens a link to its server, has its nodes watched, makes readings of what comes, and hands on
 * those that are worth a message. When the link breaks it opens another at once, and then less and less often.
 *
 * States: starting ─▶ online, while the server says something in time and watches a node; failing, while it
 * answers and lets nothing be read; offline, while it does not answer. Readings are `stale` from the first try
 * on that failed, with the value read last; a link that broke and was there again at once is no trouble.
 */
import type { Timer } from "../../core/clock.ts";
import { sleep } from "../../core/clock.ts";
import type { AdapterContext, DeviceReport, DeviceState } from "../adapter.ts";
import { GAP } from "../device-keys.ts";
import { Holding } from "../holding.ts";
import type { Reading } from "../readings.ts";
import { Reporter, type ReportRule } from "../report.ts";
import { renderTopic } from "../topic-template.ts";
import { hasOverflowed, readingOf } from "./decode.ts";
import { type Failure, failureOf, failureText, unreachable } from "./failure.ts";
import { type DataValue, type Library, loadLibrary, type Session } from "./library.ts";
import { Link } from "./link.ts";
import type { OpcuaDeviceConfig } from "./schema.ts";
import { type Item, type Listener, Subscriptions } from "./subscriptions.ts";
import { ownIdentity } from "./trust.ts";

/** The first wait after a try that failed; doubled from there. */
const BACKOFF_MS_MIN = 500;
/** A heartbeat may come late by this part of it. */
const HEARTBEAT_LATE_PART = 10;
const HEARTBEAT_LOOK_MS_MIN = 50;

interface Known {
  readonly group: string;
  readonly item: Item;
  readonly rule: ReportRule | undefined;
  /** What was received last. */
  reading: Reading | null;
}

export class Monitor implements Listener {
  readonly #device: string;
  readonly #config: OpcuaDeviceConfig;
  readonly #context: AdapterContext;
  readonly #holding: Holding;
  readonly #reporter = new Reporter();
  readonly #known: ReadonlyMap<string, Known>;
  readonly #stopping = new AbortController();
  /** Who waits for what is made up to a number to be stored. */
  readonly #unsettled: { readonly sequence: number; readonly stored: () => void }[] = [];
  #settled = 0;
  #running: Promise<void> | undefined;
  #link: Link | null = null;
  #session: Session | null = null;
  #silence: Timer | undefined;
  #heartbeat: Timer | undefined;
  #silenceMs = 0;
  #state: DeviceState = "starting";
  #sinceMs: number;
  #lastAnswerAtMs: number | null = null;
  #lastFailure: Failure | null = null;
  #lastError: string | null = null;
  #lastErrorAtMs: number | null = null;
  #requests = 0;
  #failures = 0;

  constructor(device: string, config: OpcuaDeviceConfig, context: AdapterContext) {
    this.#device = device;
    this.#config = config;
    this.#context = context;
    const { clock, boot, intake, logger } = context;
    this.#sinceMs = clock.wallMs();
    this.#known = new Map(
      Object.entries(config.groups).flatMap(([group, { nodes, report }]) =>
        Object.entries(nodes).map(([signal, node]) => {
          const item = { signal, node };
          return [signal, { group, item, rule: node.report ?? report, reading: null }] as const;
        }),
      ),
    );
    this.#holding = new Holding({
      source: { device, source: "opcua", boot },
      ...config.hold,
      gapTopic: this.#topic(GAP, GAP),
      intake,
      clock,
      logger,
      onGivenUp: () => this.#reporter.forget(),
      onSettled: (sequence) => this.#settle(sequence),
    });
  }

  /** The link of now, for who has something to ask; null while there is none. */
  get link(): Link | null {
    return this.#link;
  }

  start(): void {
    this.#running = this.#run();
    this.#armHeartbeat();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#heartbeat?.cancel();
    await this.#running;
    await this.#holding.stop();
  }

  report(): DeviceReport {
    const { stored, held, missed, refused, duplicates, made, storedSequence, lastStoredAtMs } =
      this.#holding.figures();
    return {
      device: this.#device,
      type: "opcua",
      where: this.#config.endpoint,
      state: this.#state,
      sinceMs: this.#sinceMs,
      lastAnswerAtMs: this.#lastAnswerAtMs,
      lastError: this.#lastError,
      lastErrorAtMs: this.#lastErrorAtMs,
      lastStoredAtMs,
      requests: this.#requests,
      failures: this.#failures,
      skippedPolls: 0,
      made,
      stored,
      held,
      missed,
      refused,
      duplicates,
      storedSequence,
    };
  }

  async #run(): Promise<void> {
    const { clock, random } = this.#context;
    const { signal } = this.#stopping;
    let tries = 0;
    let subscriptions: Subscriptions | null = null;
    while (!signal.aborted) {
      const begunMs = clock.monoMs();
      try {
        const library = await loadLibrary();
        subscriptions ??= new Subscriptions(this.#config, library, clock, this);
        const why = await this.#live(subscriptions, library);
        if (signal.aborted) break;
        this.#note(why);
        // Once at once, unless it breaks as soon as it is made.
        if (clock.monoMs() - begunMs > BACKOFF_MS_MIN) tries = 0;
        if (tries === 0) {
          tries = 1;
          continue;
        }
      } catch (error) {
        if (signal.aborted) break;
        this.#note(failureOf(error));
      }
      this.#enter(this.#lastFailure?.answered ? "failing" : "offline");
      this.#markStale();
      const waitMs = Math.min(BACKOFF_MS_MIN * 2 ** Math.min(tries, 30), this.#config.backoffMax);
      tries += 1;
      await sleep(clock, waitMs / 2 + random.below(Math.max(1, waitMs / 2)), signal);
    }
  }

  /** From a link that is opened to the reason why it ended. */
  async #live(subscriptions: Subscriptions, library: Library): Promise<Failure> {
    const { clock, dataDir } = this.#context;
    const identity = await ownIdentity(this.#config.security, dataDir, library);
    const stop = this.#stopping.signal;
    const options = { config: this.#config, library, identity, dataDir, clock, stop };
    this.#requests += 1;
    const link = await Link.open(options, this.#session);
    this.#session = link.session;
    this.#link = link;
    const leave = () => link.declareLost(unreachable("the gateway stops"));
    stop.addEventListener("abort", leave);
    this.#silenceMs = subscriptions.silenceMsMax;
    try {
      stop.throwIfAborted();
      this.heard();
      await Promise.race([subscriptions.start(link), link.lost.then((error) => Promise.reject(error))]);
      this.#enter(subscriptions.isWatching ? "online" : "failing");
      this.#refresh();
      return (await link.lost).failure;
    } finally {
      stop.removeEventListener("abort", leave);
      this.#link = null;
      this.#silence?.cancel();
      // The server keeps what it holds for us, unless this is the end.
      await link.close(stop.aborted);
    }
  }

  heard(): void {
    const { clock } = this.#context;
    this.#lastAnswerAtMs = clock.wallMs();
    this.#silence?.cancel();
    const link = this.#link;
    this.#silence = clock.after(this.#silenceMs, () =>
      link?.declareLost(unreachable(`it said nothing for ${this.#silenceMs} ms`)),
    );
  }

  values(group: string, values: readonly { item: Item; data: DataValue }[], stored: () => void): void {
    const { clock } = this.#context;
    this.#requests += 1;
    const wallMs = clock.wallMs();
    let batch = new Map<string, Reading>();
    for (const { item, data } of values) {
      const { signal, node } = item;
      const known = this.#known.get(signal)!;
      const reading = readingOf(signal, node.unit ?? null, data, wallMs);
      if (known.reading && isSameSample(known.reading, reading, data)) continue;
      if (hasOverflowed(data)) {
        this.#send(group, batch);
        batch = new Map();
        const reason = `queue-overflow: the server threw values of ${signal} away, since more came than its queue holds; raise queueSize, or lower every`;
        this.gap(group, reason, known.reading?.producedAtMs ?? wallMs, wallMs);
      }
      known.reading = reading;
      // A message has one value of each signal.
      if (batch.has(signal)) {
        this.#send(group, batch);
        batch = new Map();
      }
      batch.set(signal, reading);
    }
    this.#send(group, batch);
    const { made } = this.#holding.figures();
    if (this.#settled >= made) stored();
    else this.#unsettled.push({ sequence: made, stored });
  }

  gap(group: string, reason: string, fromMs: number, toMs: number): void {
    const { logger } = this.#context;
    logger.warn({ device: this.#device, group, reason }, "readings may be missing");
    this.#holding.submitGap(`group ${group}: ${reason}`, fromMs, toMs);
  }

  refused(group: string, { signal, node }: Item, reason: string): void {
    const known = this.#known.get(signal)!;
    this.#failures += 1;
    this.#lastError = `${reason} (${signal})`;
    this.#lastErrorAtMs = this.#context.clock.wallMs();
    const producedAtMs = this.#context.clock.wallMs();
    known.reading = { signal, unit: node.unit ?? null, value: null, quality: "bad", reason, producedAtMs };
    this.#send(group, new Map([[signal, known.reading]]));
  }

  renewed(group: string): void {
    for (const known of this.#known.values()) if (known.group === group) known.reading = null;
  }

  #settle(sequence: number): void {
    this.#settled = Math.max(this.#settled, sequence);
    while (this.#unsettled[0] && this.#unsettled[0].sequence <= this.#settled) {
      this.#unsettled.shift()!.stored();
    }
  }

  #note(failure: Failure): void {
    this.#failures += 1;
    this.#lastFailure = failure;
    this.#lastError = failureText(failure);
    this.#lastErrorAtMs = this.#context.clock.wallMs();
  }

  #enter(state: DeviceState): void {
    if (this.#state === state) return;
    const { logger, clock } = this.#context;
    this.#state = state;
    this.#sinceMs = clock.wallMs();
    const facts = { device: this.#device, where: this.#config.endpoint };
    if (state === "online") logger.info(facts, "the device answers");
    else logger.warn({ ...facts, reason: this.#lastError }, `the device is ${state}`);
  }

  /** What was read last is so no longer for sure. */
  #markStale(): void {
    const producedAtMs = this.#context.clock.wallMs();
    this.#byGroup(({ item: { signal, node }, reading }) => {
      if (reading?.quality === "good" || reading?.quality === "stale") {
        return { ...reading, quality: "stale", reason: this.#lastError };
      }
      const base = { signal, unit: node.unit ?? null, producedAtMs };
      return { ...base, value: null, quality: "bad", reason: this.#lastError };
    });
  }

  /** The server still watches, and nothing has changed since: what was stale is as it was. */
  #refresh(): void {
    this.#byGroup(({ reading }) => (reading && this.#reporter.isOtherQuality(reading) ? reading : null));
  }

  #byGroup(readingOf: (known: Known) => Reading | null): void {
    for (const [group, known] of Map.groupBy(this.#known.values(), (each) => each.group)) {
      const readings = known.flatMap((each) => readingOf(each) ?? []);
      this.#send(group, new Map(readings.map((each) => [each.signal, each])), true);
    }
  }

  #armHeartbeat(): void {
    const beats = [...this.#known.values()].flatMap(({ rule }) => rule?.heartbeat ?? []);
    if (beats.length === 0) return;
    const everyMs = Math.max(HEARTBEAT_LOOK_MS_MIN, Math.min(...beats) / HEARTBEAT_LATE_PART);
    const beat = () => {
      if (this.#link && this.#state === "online") {
        this.#byGroup(({ rule, reading }) => (rule?.heartbeat === undefined ? null : reading));
      }
      this.#heartbeat = this.#context.clock.after(everyMs, beat);
    };
    this.#heartbeat = this.#context.clock.after(everyMs, beat);
  }

  /** `again`: they were received before, and are said now. */
  #send(group: string, readings: ReadonlyMap<string, Reading>, again = false): void {
    const { clock } = this.#context;
    const nowMs = clock.monoMs();
    const worth = [...readings.values()].filter((each) =>
      this.#reporter.take(each, this.#known.get(each.signal)?.rule, nowMs),
    );
    if (worth.length === 0) return;
    const atMs = again ? clock.wallMs() : Math.max(...worth.map(({ producedAtMs }) => producedAtMs));
    if (this.#config.message === "poll") {
      this.#holding.submit(this.#topic(group, group), { kind: "poll", group, atMs, readings: worth });
      return;
    }
    for (const reading of worth) {
      const at = again ? atMs : reading.producedAtMs;
      this.#holding.submit(this.#topic(reading.signal, group), { kind: "signal", group, atMs: at, reading });
    }
  }

  #topic(signal: string, group: string): string {
    return renderTopic(this.#config.topic, { ...this.#config.place, device: this.#device, group, signal });
  }
}

/** Servers send what they sent last once more when a session is taken up again. A change has a time of its own. */
function isSameSample(last: Reading, next: Reading, { sourceTimestamp }: DataValue): boolean {
  return (
    Boolean(sourceTimestamp) &&
    last.producedAtMs === next.producedAtMs &&
    last.quality === next.quality &&
    last.reason === next.reason &&
    JSON.stringify(last.value) === JSON.stringify(next.value)
  );
}
