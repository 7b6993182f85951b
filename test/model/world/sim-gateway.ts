/** One life of a gateway in a simulated world: the product's own rooms, put together as gateway.ts does. */
import type { Duplex } from "node:stream";
// Loaded before the clock is a simulated one: targets load it for their first connection.
import "mqtt";
import { Broker, type BrokerStats } from "../../../src/broker/broker.ts";
import type { Config } from "../../../src/config.ts";
import type { Clock, Timer } from "../../../src/core/clock.ts";
import { errorText } from "../../../src/core/errors.ts";
import { makeFlow } from "../../../src/core/flow.ts";
import { silentLogger } from "../../../src/core/logger.ts";
import { uuidV7Source } from "../../../src/core/message.ts";
import type { Random } from "../../../src/core/random.ts";
import type { Service } from "../../../src/core/service.ts";
import type { Accepting, Draft } from "../../../src/intake/draft.ts";
import { Intake } from "../../../src/intake/intake.ts";
import type { Db } from "../../../src/queue/database.ts";
import { Store } from "../../../src/queue/store.ts";
import type { StartThread } from "../../../src/queue/store-worker.ts";
import { Jobs } from "../../../src/relay/jobs.ts";
import { MovingOut } from "../../../src/relay/moving-out.ts";
import { Relay } from "../../../src/relay/relay.ts";
import { Repairs } from "../../../src/relay/repairs.ts";
import { createTarget } from "../../../src/targets/create.ts";
import { FileTarget } from "../../../src/targets/file.ts";
import type { Disk } from "../../../src/targets/file-disk.ts";
import { Handing } from "../../../src/web/intake.ts";
import type { Saboteur } from "./saboteurs.ts";
import type { SimNetwork } from "./sim-network.ts";
import { SimReader } from "./sim-reader.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface SimGatewayOptions {
  readonly config: Config;
  /** Counts lives from 1. */
  readonly life: number;
  readonly time: VirtualTime;
  readonly random: Random;
  readonly network: SimNetwork;
  /** What the box's wall clock is off by, ms. */
  readonly skewMs: () => number;
  readonly startThread: StartThread;
  /** The store's connection, once it has one. */
  readonly db: () => Db;
  readonly fileDisk: Disk;
  readonly saboteur?: Saboteur;
  /** It cannot go on: the store has failed. */
  readonly onFailed: (why: string) => void;
  /** The disk killed it. */
  readonly onDeath: () => void;
}

export const DATA_DIR = "/data";
const VERSION = "0.0.0-simulated";

export class SimGateway {
  /** Set when its process is killed: whatever its code still does reaches nobody. */
  dead = false;
  readonly store: Store;
  readonly reader: SimReader;
  readonly relay: Relay;
  readonly jobs: Jobs;
  readonly repairs: Repairs;
  readonly moving: MovingOut;
  readonly broker: Broker;
  readonly #options: SimGatewayOptions;
  readonly #intake: Intake;
  readonly #accepting: Accepting;
  readonly #clock: Clock;
  readonly #handing = new Handing();
  readonly #targets: readonly Service[];
  readonly #started: Service[] = [];

  constructor(options: SimGatewayOptions) {
    this.#options = options;
    const { config, life, random, network, time } = options;
    const clock = new ProcessClock(time, options.skewMs, this);
    const logger = silentLogger;
    const flows = Object.entries(config.flows).map(([name, flow]) => makeFlow(name, flow));
    const store = new Store({
      dataDir: DATA_DIR,
      queue: config.queue,
      boot: `life-${life}`,
      version: VERSION,
      clock,
      logger,
      startThread: options.startThread,
    });
    options.saboteur?.store?.(store);
    this.store = store;
    const reader = new SimReader({ time, process: this, db: options.db, onDeath: options.onDeath });
    this.reader = reader;
    const connect = (host: string) => network.connect("gateway", host);
    const targets = new Map(
      Object.entries(config.targets).map(([name, target]) => {
        const context = { name, gateway: "sim", dataDir: DATA_DIR, clock, logger, connect };
        const made =
          target.type === "file"
            ? new FileTarget(target, context, options.fileDisk)
            : createTarget(target, context);
        return [name, made];
      }),
    );
    this.#targets = [...targets.values()];
    this.#intake = new Intake({
      config: config.intake,
      flows,
      store,
      clock,
      newId: uuidV7Source(clock.wallMs, random),
      describeFlow: (flow) => flow.name,
    });
    this.#clock = clock;
    this.#accepting = options.saboteur?.intake?.(this.#intake) ?? this.#intake;
    this.relay = new Relay({ config: config.relay, flows, targets, store, clock, random, logger });
    const { relay } = this;
    this.jobs = new Jobs({ config: config.relay.jobs, flows, store, reader, relay, clock, logger });
    this.repairs = new Repairs({ store, reader, relay });
    this.moving = new MovingOut({ gateway: "sim", version: VERSION, store, reader, relay, clock });
    this.broker = new Broker({
      config: { ...config.broker, listeners: [] },
      access: config.access,
      intake: this.#accepting,
      sessions: store,
      clock,
      random,
      logger,
      steadyMs: () => store.steadyMs(),
    });
    store.onArrivals = (arrivals) => this.relay.arrived(arrivals);
    store.onState = (state) => {
      if (state.kind === "failed" && !this.dead) options.onFailed(errorText(state.error));
    };
    this.broker.onFatal((error) => {
      if (!this.dead) options.onFailed(errorText(error));
    });
  }

  async start(): Promise<void> {
    await this.#startOne(this.store);
    await this.#intake.prepare();
    await Promise.all(this.#targets.map((target) => this.#startOne(target)));
    await this.#startOne(this.relay);
    await this.#startOne(this.jobs);
    await this.#startOne(this.broker);
    if (this.dead) return;
    this.#options.network.host("gateway").accept = (stream: Duplex, from) =>
      this.broker.take(stream, { listener: "tcp", address: from, certificate: null });
  }

  async stop(): Promise<void> {
    this.#options.network.host("gateway").accept = null;
    for (const service of this.#started.toReversed()) await service.stop();
  }

  /** What the HTTP door does with a request; resolves where it answers that it is taken. */
  async handIn(draft: Draft): Promise<void> {
    const { store, reader } = this;
    const storeIsFull = () => store.state.kind === "full";
    const taken = this.#handing.take(draft, {
      intake: this.#accepting,
      clock: this.#clock,
      reader,
      storeIsFull,
    });
    await (this.#options.saboteur?.handing?.(taken) ?? taken);
  }

  stats(): BrokerStats {
    return this.broker.stats();
  }

  async #startOne(service: Service): Promise<void> {
    this.#started.push(service);
    await service.start();
  }
}

/** The clocks of the box, as one process sees them; nothing comes due for a process that is dead. */
class ProcessClock implements Clock {
  readonly #time: VirtualTime;
  readonly #skewMs: () => number;
  readonly #process: { readonly dead: boolean };
  readonly #startedMs: number;

  constructor(time: VirtualTime, skewMs: () => number, process: { readonly dead: boolean }) {
    this.#time = time;
    this.#skewMs = skewMs;
    this.#process = process;
    this.#startedMs = time.monoMs();
  }

  readonly wallMs = (): number => this.#time.wallMs() + this.#skewMs();

  monoMs(): number {
    return this.#time.monoMs() - this.#startedMs;
  }

  after(delayMs: number, fn: () => void): Timer {
    return this.#time.after(delayMs, () => {
      if (!this.#process.dead) fn();
    });
  }
}
