/**
 * The composition root: the only file that knows every room. Makes each part, says who talks to whom,
 * starts them in the order in which they need each other, and stops them in the reverse order.
 *
 * Start: store, targets, relay, then the doors. A door opens only when what it promises can be kept.
 * Stop: doors first, so that nothing new is acknowledged; then the relay drains; the store closes last.
 */
import { randomUUID } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Adapters } from "./adapters/adapters.ts";
import type { DeviceConfig } from "./adapters/schema.ts";
import { Broker } from "./broker/broker.ts";
import type { Commands } from "./commands/commands.ts";
import type { Upstream } from "./commands/upstream.ts";
import { type Config, redacted } from "./config.ts";
import { type Clock, sleep, systemClock } from "./core/clock.ts";
import { isBuiltInFlow } from "./core/command-message.ts";
import { errorText, HoldfastError, isHoldfastError } from "./core/errors.ts";
import { type Flow, makeFlow } from "./core/flow.ts";
import { type Logger, silentLogger } from "./core/logger.ts";
import { uuidV7Source } from "./core/message.ts";
import { type Random, systemRandom } from "./core/random.ts";
import { BaseService, type Service } from "./core/service.ts";
import { CommandParts } from "./gateway-commands.ts";
import { clientReports, devicesView } from "./gateway-devices.ts";
import { movingParts } from "./gateway-moving.ts";
import { makeNotifier } from "./gateway-notify.ts";
import { makeTraces } from "./gateway-traces.ts";
import type { Accepting } from "./intake/draft.ts";
import { Intake } from "./intake/intake.ts";
import { Reader } from "./queue/reader.ts";
import { isLossy, salvageSentence } from "./queue/salvage-report.ts";
import { Store } from "./queue/store.ts";
import type { StartThread } from "./queue/store-worker.ts";
import { Receipts } from "./receipts/receipts.ts";
import { Jobs } from "./relay/jobs.ts";
import { Relay } from "./relay/relay.ts";
import { Repairs } from "./relay/repairs.ts";
import { createTarget } from "./targets/create.ts";
import type { Target } from "./targets/target.ts";
import type { Traces } from "./telemetry/traces.ts";
import { VERSION } from "./version.ts";
import { Watch } from "./watch/watch.ts";
import { Web } from "./web/web.ts";

/** Where a running gateway says how to reach it, for the CLI: `{ pid, http, boot, startedAt }`. */
export const RUNNING_FILE = "gateway.json";

/** A start on a full disk waits for room so long: somebody may be making some right now. */
const START_ROOM_MS_MAX = 10_000;

export interface GatewayOptions {
  readonly config: Config;
  /** Absolute; made where it does not exist. */
  readonly dataDir: string;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

/** Parts that a test replaces by a twin with a fault in it, to see that it would notice. */
export interface GatewayParts {
  readonly startStoreThread?: StartThread;
}

export interface Address {
  readonly name: string;
  readonly kind: string;
  readonly host: string;
  readonly port: number;
}

export class Gateway extends BaseService {
  readonly #options: Required<GatewayOptions>;
  readonly #boot = randomUUID();
  readonly #store: Store;
  readonly #reader: Reader;
  readonly #intake: Intake;
  readonly #targets: readonly Target[];
  readonly #receipts: Receipts;
  readonly #relay: Relay;
  readonly #jobs: Jobs;
  readonly #broker: Broker;
  readonly #adapters: Adapters;
  readonly #commands: Commands;
  readonly #upstreams: readonly Upstream[];
  /** Null where nothing is traced. */
  readonly #traces: Traces | null;
  readonly #watch: Watch;
  readonly #web: Web;
  readonly #started: Service[] = [];
  #saidWhere = false;
  readonly #failed = Promise.withResolvers<HoldfastError>();

  constructor(given: GatewayOptions, parts: GatewayParts = {}) {
    super();
    const options = { clock: systemClock, random: systemRandom(), logger: silentLogger, ...given };
    this.#options = options;
    const { config, dataDir, clock, random, logger } = options;
    const boot = this.#boot;
    this.#store = new Store({
      dataDir,
      queue: config.queue,
      boot,
      version: VERSION,
      clock,
      logger,
      startThread: parts.startStoreThread,
    });
    const steadyMs = () => this.#store.steadyMs();
    this.#reader = new Reader({ dataDir, clock, logger });
    this.#traces = makeTraces(options, VERSION, (...what) => this.#watch.metrics.traced(...what));
    const { devices } = config;
    // They are made before intake, and ask it no sooner than they are started.
    const intake: Accepting = { accept: (draft, signal) => this.#intake.accept(draft, signal) };
    this.#adapters = new Adapters({
      devices: withAdapters(devices),
      intake,
      boot,
      dataDir,
      clock,
      random,
      logger,
    });
    const commandParts = new CommandParts({
      config,
      dataDir,
      store: this.#store,
      reader: this.#reader,
      clock,
      random,
      logger,
      intake: () => this.#intake,
      broker: () => this.#broker,
      relay: () => this.#relay,
      adapters: this.#adapters,
    });
    this.#upstreams = commandParts.upstreams;
    this.#commands = commandParts.commands;
    const configured = Object.entries(config.flows).map(([name, flow]) => makeFlow(name, flow));
    const flows = [...configured, ...commandParts.flows];
    this.#targets = [...makeTargets(options), ...commandParts.targets];
    this.#intake = new Intake({
      config: config.intake,
      flows,
      store: this.#store,
      clock,
      newId: uuidV7Source(clock.wallMs, random),
      tracing: this.#traces ?? undefined,
      describeFlow: (flow) => describeFlow(config, flow),
    });
    this.#receipts = new Receipts({
      config: config.receipts,
      gateway: config.gateway.name,
      reader: this.#reader,
      send: (device, topic, payload) =>
        this.#broker.send({ device, topic, payload, queue: true, everybody: true, onSent: () => {} }),
      onLeftOut: () => this.#watch.metrics.unfollowed(),
      clock,
      logger,
    });
    this.#relay = new Relay({
      config: config.relay,
      flows,
      targets: new Map(this.#targets.map((target) => [target.name, target])),
      store: this.#store,
      clock,
      random,
      logger,
      onOutcomes: (target, deliveries, outcomes) => this.#watch.answered(target, deliveries, outcomes),
      deliver: this.#traces?.deliver.bind(this.#traces),
    });
    this.#jobs = new Jobs({
      config: config.relay.jobs,
      flows,
      store: this.#store,
      reader: this.#reader,
      relay: this.#relay,
      clock,
      logger,
    });
    this.#broker = new Broker({
      config: config.broker,
      access: config.access,
      devicesTaken: new Set(Object.keys(withAdapters(devices))),
      intake: this.#receipts.listening(commandParts.listening(this.#intake)),
      sessions: this.#store,
      clock,
      random,
      logger,
      steadyMs,
    });
    this.#watch = new Watch({
      config: config.health,
      gateway: config.gateway.name,
      version: VERSION,
      boot,
      dataDir,
      bytesMax: config.queue.bytesMax,
      flows,
      relay: this.#relay,
      jobs: this.#jobs,
      store: this.#store,
      broker: devicesView(this.#broker, this.#adapters),
      reader: this.#reader,
      publish: (topic, payload, how) => this.#broker.publish(topic, payload, how),
      announce: (health) => {
        for (const target of this.#targets) target.announce?.(health);
      },
      notifier: makeNotifier({
        config,
        dataDir,
        publish: (topic, payload) => this.#broker.publish(topic, payload, { qos: 1 }),
        targets: this.#targets,
        steadyMs,
        clock,
        random,
        logger,
      }),
      clock,
      logger,
    });
    const hands = { store: this.#store, reader: this.#reader, relay: this.#relay };
    const repairs = new Repairs(hands);
    this.#web = new Web({
      config: config.web,
      dataDir,
      boot,
      watch: this.#watch,
      reader: this.#reader,
      steadyMs,
      devices: () => [...this.#adapters.devices(), ...clientReports(this.#broker)],
      intake: this.#intake,
      storeIsFull: () => this.#store.state.kind === "full",
      act: (act) => this.#store.act(act),
      redrive: (selection) => this.#relay.redrive(selection),
      repairs,
      pauses: this.#relay.pauses,
      jobs: this.#jobs,
      moving: movingParts({ ...options, flows, ...hands, corrections: repairs.corrections }),
      commands: this.#commands,
      clock,
      logger,
    });
    this.#connect();
  }

  /** Resolves when the gateway must stop by itself: the disk failed, for one. */
  get failed(): Promise<HoldfastError> {
    return this.#failed.promise;
  }

  /** Every door that is open, once started. */
  addresses(): Address[] {
    return [
      ...this.#broker.addresses(),
      { name: "http", kind: this.#web.url().split(":")[0]!, ...this.#web.address() },
    ];
  }

  protected async onStart(): Promise<void> {
    // Stopped last: what the others do as they stop is told too.
    if (this.#traces) await this.#startOne(this.#traces);
    await this.#startOne(this.#store);
    this.#saySalvaged();
    await this.#startOne(this.#reader);
    await this.#prepareIntake();
    await this.#adapters.prepare();
    await Promise.all(this.#targets.map((target) => this.#startOne(target)));
    await this.#startOne(this.#relay);
    await this.#startOne(this.#jobs);
    await this.#startOne(this.#broker);
    await this.#startOne(this.#receipts);
    await this.#startOne(this.#adapters);
    for (const upstream of this.#upstreams) await this.#startOne(upstream);
    await this.#startOne(this.#watch);
    await this.#startOne(this.#web);
    this.#sayWhereWeAre();
    const { recovered } = this.#store;
    if (recovered > 0) {
      this.#options.logger.warn(
        { recovered },
        "deliveries that were being sent at the last stop are now unknown",
      );
    }
  }

  protected async onStop(): Promise<void> {
    // The file of another gateway, which kept this one from starting, is not ours to remove.
    if (this.#saidWhere) rmSync(this.#runningFile, { force: true });
    for (const service of this.#started.toReversed()) await service.stop();
  }

  /** Who is told of what happens elsewhere. */
  #connect(): void {
    const { logger } = this.#options;
    this.#store.onArrivals = (arrivals) => this.#relay.arrived(arrivals);
    this.#store.onCommands = (changes) => this.#commands.changed(changes);
    this.#store.onCommit = (...of) => this.#watch.committed(...of);
    this.#store.onState = (state) => {
      if (state.kind === "failed") this.#failed.resolve(state.error);
      else if (state.kind === "full") logger.error("the store has no room: acknowledgements wait for it");
      else logger.info("the store has room again");
      this.#watch.nudge();
    };
    this.#jobs.onState = (job) => this.#watch.job(job);
    this.#reader.onDamaged = (error) => this.#failed.resolve(error);
    this.#broker.onFatal((error) => {
      this.#failed.resolve(
        isHoldfastError(error) ? error : new HoldfastError("HF_INTERNAL", errorText(error), {}, error),
      );
    });
  }

  #saySalvaged(): void {
    const { salvaged } = this.#store;
    if (!salvaged) return;
    const level = isLossy(salvaged) ? "error" : "warn";
    this.#options.logger[level]({ damage: salvaged }, `the store was damaged: ${salvageSentence(salvaged)}`);
  }

  async #startOne(service: Service): Promise<void> {
    this.#started.push(service);
    await service.start();
  }

  /** The first commit of a start. It needs room, which the ballast gives, unless somebody else has taken that. */
  async #prepareIntake(): Promise<void> {
    const { clock, dataDir } = this.#options;
    const prepared = this.#intake.prepare();
    const over = new AbortController();
    const patience = sleep(clock, START_ROOM_MS_MAX, over.signal).then(() => "over" as const);
    const first = await Promise.race([prepared, patience]);
    over.abort();
    if (first === "over" && this.#store.state.kind === "full") {
      prepared.catch(() => {});
      const message = `the disk of ${dataDir} is full: there is no room left even to start, and others have taken what was kept for that (store.ballast)`;
      throw new HoldfastError("HF_STORE_FULL", message, { dataDir });
    }
    await prepared;
  }

  get #runningFile(): string {
    return join(this.#options.dataDir, RUNNING_FILE);
  }

  #sayWhereWeAre(): void {
    const startedAt = new Date(this.#options.clock.wallMs()).toISOString();
    const cert = this.#options.config.web.tls?.cert;
    const running = { pid: process.pid, http: this.#web.url(), boot: this.#boot, startedAt, cert };
    try {
      writeFileSync(this.#runningFile, `${JSON.stringify(running)}\n`);
      this.#saidWhere = true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
      // Better a gateway that the command line does not find than none.
      this.#options.logger.warn({ running }, "no room to say where this gateway listens");
    }
  }
}

function makeTargets({ config, dataDir, clock, logger }: Required<GatewayOptions>): Target[] {
  return Object.entries(config.targets).map(([name, target]) =>
    createTarget(target, { name, gateway: config.gateway.name, dataDir, clock, logger }),
  );
}

/** The machines that adapters read. */
function withAdapters(devices: Config["devices"]): Record<string, DeviceConfig> {
  return Object.fromEntries(
    Object.entries(devices).flatMap(([name, device]) =>
      device.type === "mqtt" ? [] : [[name, device] as const],
    ),
  );
}

/** The flow and its target as the record of flow versions shows them: without secrets. */
function describeFlow(config: Config, flow: Flow): string {
  if (isBuiltInFlow(flow.name)) return JSON.stringify(flow);
  const shown = redacted(config) as Pick<Config, "flows" | "targets">;
  return JSON.stringify({ ...shown.flows[flow.name], target: shown.targets[flow.to] });
}
