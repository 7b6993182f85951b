/**
 * The lives of the gateway in a simulated world: it is started, dies, is started again, as by a service manager.
 *
 * States: down ──boot──▶ starting ──▶ up ──stop──▶ stopping ──▶ down; from any of them ──die──▶ down.
 */
import type { Random } from "../../../src/core/random.ts";
import type { Db } from "../../../src/queue/database.ts";
import type { Plan } from "./plan.ts";
import type { Saboteur } from "./saboteurs.ts";
import type { SimDisk } from "./sim-disk.ts";
import { simFileDisk } from "./sim-file-disk.ts";
import { SimGateway } from "./sim-gateway.ts";
import type { SimNetwork } from "./sim-network.ts";
import { SimStoreThread } from "./sim-store-thread.ts";
import type { VirtualTime } from "./virtual-time.ts";

const RESTART_AFTER_FAILURE_MS = 1000;
/** A box without a battery clock hears from a time server after this. */
const TIME_SERVER_AFTER_MS = 3000;
/** What a box loses its power within this after its wall clock was set, it could not note down before. */
const CLOCK_GRACE_MS = 3000;

export interface LivesOptions {
  readonly plan: Plan;
  readonly time: VirtualTime;
  readonly random: Random;
  readonly network: SimNetwork;
  readonly disk: SimDisk;
  readonly saboteur: Saboteur | undefined;
  readonly trace: (line: string) => void;
  readonly find: (sentence: string) => void;
  readonly onUp: () => void;
  readonly onDeath: () => void;
}

export class Lives {
  gateway: SimGateway | null = null;
  /** The store's connection of the gateway that lives. */
  db: Db | null = null;
  phase: "down" | "starting" | "up" | "stopping" = "down";
  starts = 0;
  deaths = 0;
  /** Which of the plan's configs the next life has. */
  config = 0;
  commitMs: number;
  /** While the disk has faults, a gateway that stops for them is right to do so. */
  mayFail = false;
  /** Dies after so many commits, before anybody hears of the last one. */
  dieAtCommit: { left: number; readonly power: boolean } | null = null;
  /** Whether the next death at the disk takes the power with it. */
  dieByPower = false;
  readonly #o: LivesOptions;
  #skewMs = 0;
  #clockSetAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: LivesOptions) {
    this.#o = options;
    this.commitMs = options.plan.commitMs;
  }

  get isUp(): boolean {
    return this.phase === "up";
  }

  /** A death now would find the wall clock set and nothing noted down since. */
  get isClockFresh(): boolean {
    return this.#o.time.monoMs() - this.#clockSetAtMs < CLOCK_GRACE_MS;
  }

  /** Sets what the box's wall clock is off by. */
  setClock(skewMs: number): void {
    this.#skewMs = skewMs;
    this.#clockSetAtMs = this.#o.time.monoMs();
  }

  boot(): void {
    if (this.phase !== "down") return;
    const { time, plan, random, network, disk, saboteur, trace, find } = this.#o;
    this.phase = "starting";
    this.starts++;
    if (plan.startsIn1970) {
      this.#skewMs = -time.wallMs();
      time.after(TIME_SERVER_AFTER_MS, () => this.setClock(0));
    }
    trace(`the gateway starts, life ${this.starts}, config ${this.config}`);
    // Asked of it only when the gateway is there.
    const life = {
      get dead() {
        return gateway.dead;
      },
    };
    const fileDisk = simFileDisk({ disk, process: life, onDeath: () => this.#diedAtDisk(gateway) });
    const gateway: SimGateway = new SimGateway({
      config: plan.configs[this.config]!(),
      life: this.starts,
      time,
      random,
      network,
      skewMs: () => this.#skewMs,
      saboteur,
      startThread: (options) => this.#thread(gateway, options),
      db: () => this.db!,
      fileDisk: saboteur?.fileDisk?.(fileDisk) ?? fileDisk,
      onDeath: () => this.#diedAtDisk(gateway),
      onFailed: (why) => {
        trace(`the gateway cannot go on: ${why}`);
        if (!this.mayFail) find(`the gateway ended by itself: ${why}`);
        this.die(gateway, false, RESTART_AFTER_FAILURE_MS);
      },
    });
    this.gateway = gateway;
    time.owner = gateway;
    gateway.start().then(
      () => {
        if (gateway.dead) return;
        this.phase = "up";
        trace("the gateway is up");
        this.#o.onUp();
      },
      (error) => {
        if (gateway.dead) return;
        trace(`the gateway does not start: ${error}`);
        if (!this.mayFail) find(`the gateway does not start: ${error.stack}`);
        this.die(gateway, false, RESTART_AFTER_FAILURE_MS);
      },
    );
  }

  #thread(gateway: SimGateway, options: ConstructorParameters<typeof SimStoreThread>[0]): SimStoreThread {
    const { time, disk, saboteur, find } = this.#o;
    return new SimStoreThread(options, {
      time,
      disk,
      process: gateway,
      commitMs: () => this.commitMs,
      onCommitted: () => this.#diesAtCommit(),
      onDeath: () => this.#diedAtDisk(gateway),
      onDb: (db) => {
        this.db = db;
        saboteur?.db?.(db);
      },
      find,
      synchronous: saboteur?.synchronous,
    });
  }

  #diedAtDisk(gateway: SimGateway): void {
    this.die(gateway, this.dieByPower, RESTART_AFTER_FAILURE_MS);
  }

  #diesAtCommit(): boolean {
    const death = this.dieAtCommit;
    if (!death || --death.left > 0 || this.isClockFresh) return false;
    this.dieByPower = death.power;
    return true;
  }

  /** kill -9, or with `power` the plug is pulled; a start after `downMs`. */
  die(gateway: SimGateway, power: boolean, downMs: number): void {
    if (gateway.dead) return;
    const { network, disk, random, trace, onDeath } = this.#o;
    gateway.dead = true;
    this.deaths++;
    trace(`the gateway dies${power ? " with its power cut" : ""}`);
    network.kill("gateway", !power);
    if (power) disk.cut(random);
    else disk.crash();
    disk.before = null;
    disk.mend();
    this.dieAtCommit = null;
    onDeath();
    this.#gone(downMs);
  }

  /** SIGTERM, and a start after `downMs`; null for none. */
  stop(downMs: number | null): void {
    const { gateway } = this;
    if (!gateway || this.phase !== "up") return;
    const { network, trace, find } = this.#o;
    trace("the gateway is told to stop");
    this.phase = "stopping";
    gateway.stop().then(
      () => {
        if (gateway.dead) return;
        gateway.dead = true;
        trace("the gateway has stopped");
        network.kill("gateway", true);
        this.#gone(downMs);
      },
      (error) => {
        if (!gateway.dead) find(`the gateway does not stop: ${error.stack}`);
      },
    );
  }

  #gone(downMs: number | null): void {
    this.gateway = null;
    this.db = null;
    this.phase = "down";
    this.#o.time.owner = null;
    if (downMs !== null) this.#o.time.after(downMs, () => this.boot());
  }
}
