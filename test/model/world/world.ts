/**
 * A whole plant in one process: machines, a gateway made of the product's own rooms, backends, the network between
 * them, the disk below it, and time. One seed is one history, the same every time.
 *
 * A world plays its plan (plan.ts), then mends everything and waits until nothing is left to do, at most
 * QUIET_MS_MAX. What must hold is looked at after every start of the gateway and at the end (checks.ts).
 */
import { createHash } from "node:crypto";
import { seededRandom } from "../../../src/core/random.ts";
import { BackendBook } from "./backend-book.ts";
import { checkEarlyExpiry, checkEnd, checkStart, leftToDo } from "./checks.ts";
import { WorldLedger } from "./ledger.ts";
import { Lives } from "./lives.ts";
import { Mishaps } from "./mishaps.ts";
import { BACKENDS, type BackendName, FAULTS_MS, type Plan, planOf } from "./plan.ts";
import type { Saboteur } from "./saboteurs.ts";
import type { SimDisk } from "./sim-disk.ts";
import { DATA_DIR } from "./sim-gateway.ts";
import { SimHttpBackend } from "./sim-http-backend.ts";
import { SimHttpClient } from "./sim-http-client.ts";
import { SimMachine } from "./sim-machine.ts";
import { SimMqttBackend } from "./sim-mqtt-backend.ts";
import { SimNetwork } from "./sim-network.ts";
import { SimOperator } from "./sim-operator.ts";
import { SimSubscriber } from "./sim-subscriber.ts";
import { freshStore } from "./store-image.ts";
import { VirtualTime } from "./virtual-time.ts";

/** When everything is mended, all must have come to its end within this. */
const QUIET_MS_MAX = 180_000;
const LOOK_EVERY_MS = 1000;
const DIGEST_STEP_CHARS = 16_384;
const WALL_START_MS = Date.UTC(2026, 5, 1, 12);
/** So that what happens in a run draws from another source than its plan. */
const RUN_SALT = 0x9e3779b9;
const PROGRAM_SALT = 0x7f4a7c15;

export interface WorldResult {
  readonly seed: number;
  /** Broken promises, in sentences; none where all held. */
  readonly findings: readonly string[];
  /** Of all that happened; the same for the same seed. */
  readonly digest: string;
  /** What happened, where it was to be kept. */
  readonly trace: readonly string[];
  readonly figures: WorldFigures;
}

export interface WorldFigures {
  readonly readings: number;
  readonly acked: number;
  /** Copies of readings beyond the first, by machines. */
  readonly repeats: number;
  readonly effects: number;
  readonly starts: number;
  readonly deaths: number;
  readonly virtualMs: number;
}

export interface WorldOptions {
  readonly seed: number;
  readonly saboteur?: Saboteur;
  /** Takes memory; the digest is there anyway. */
  readonly keepTrace?: boolean;
}

/** Takes over the process's timers while it runs: one world at a time. */
export async function runWorld(options: WorldOptions): Promise<WorldResult> {
  const { stackTraceLimit } = Error;
  // Streams that break ask each error for its stack, which costs more than the rest of it.
  if (!options.keepTrace) Error.stackTraceLimit = 0;
  const world = new World(options);
  const giveBack = world.time.takeOverProcess();
  try {
    return await world.run();
  } finally {
    world.disk.release();
    giveBack();
    Error.stackTraceLimit = stackTraceLimit;
  }
}

export class World {
  readonly plan: Plan;
  readonly time = new VirtualTime(WALL_START_MS);
  readonly ledger = new WorldLedger();
  readonly network: SimNetwork;
  readonly disk: SimDisk;
  readonly machines: readonly SimMachine[];
  readonly program: SimHttpClient;
  readonly subscribers: readonly SimSubscriber[];
  readonly backends: Readonly<Record<BackendName, SimHttpBackend | SimMqttBackend>>;
  /** What its files hold at the end. */
  readonly archive: BackendBook;
  readonly lives: Lives;
  readonly operator = new SimOperator(this);
  readonly #mishaps: Mishaps;
  readonly #keepTrace: boolean;
  readonly #digest = createHash("sha256");
  readonly #trace: string[] = [];
  /** What the digest has not had yet. */
  #undigested = "";
  readonly #findings = new Set<string>();
  #mended = false;
  #ended = false;

  constructor({ seed, saboteur, keepTrace = false }: WorldOptions) {
    this.#keepTrace = keepTrace;
    const plan = planOf(seed, seededRandom(seed));
    this.plan = plan;
    const random = seededRandom(seed ^ RUN_SALT);
    const { time, ledger } = this;
    const network = new SimNetwork(time, random);
    this.network = network;
    this.disk = freshStore({ random: seededRandom(seed) }, DATA_DIR);
    this.disk.liesAboutSync = saboteur?.diskLies === true;
    const trace = (line: string) => this.trace(line);
    const parts = { time, network, random, ledger, trace };
    this.machines = plan.machines.map((machine) => new SimMachine(machine, parts));
    this.program = new SimHttpClient("program", {
      ...parts,
      random: seededRandom(seed ^ PROGRAM_SALT),
      gateway: () => (this.lives.isUp ? this.lives.gateway : null),
    });
    this.subscribers = plan.subscribers.map(
      (qos, at) => new SimSubscriber(`screen-${at + 1}`, qos, time, network, random),
    );
    const book = (name: string) => new BackendBook(name, ledger);
    this.backends = {
      web: new SimHttpBackend(book("web"), time, random),
      fresh: new SimHttpBackend(book("fresh"), time, random),
      plant: new SimMqttBackend(book("plant"), time, random),
    };
    this.archive = book("archive");
    this.#mishaps = new Mishaps(this, random);
    this.lives = new Lives({
      plan,
      time,
      random,
      network,
      disk: this.disk,
      saboteur,
      trace,
      find: (sentence) => this.find(sentence),
      onUp: () => this.#check(() => checkStart(this)),
      onDeath: () => this.#mishaps.disarmAll(),
    });
  }

  trace(line: string): void {
    const stamped = `${this.time.monoMs()} ${line}`;
    this.#undigested += `${stamped}\n`;
    if (this.#undigested.length > DIGEST_STEP_CHARS) this.#feedDigest();
    if (this.#keepTrace) this.#trace.push(stamped);
  }

  #feedDigest(): void {
    this.#digest.update(this.#undigested);
    this.#undigested = "";
  }

  find(sentence: string): void {
    this.trace(`FOUND: ${sentence}`);
    this.#findings.add(sentence);
  }

  async run(): Promise<WorldResult> {
    const { time, plan, network, lives } = this;
    for (const name of BACKENDS) {
      network.host(name).accept = (stream) => this.backends[name].accept(stream);
    }
    this.#mishaps.disarmAll();
    lives.boot();
    for (const device of [...this.subscribers, ...this.machines]) device.start();
    for (const { atMs, ...action } of plan.actions) time.after(atMs, () => this.#mishaps.act(action));
    time.after(FAULTS_MS, () => {
      this.#mishaps.mend();
      this.#mended = true;
    });
    this.#look();
    const over = () => this.#ended && lives.phase === "down";
    if (!(await time.run(FAULTS_MS + QUIET_MS_MAX, over))) {
      this.find(`it never came to its end: ${leftToDo(this).join("; ")}`);
    }
    return this.#result();
  }

  /** Now and then: is anything early, is anything left to do? */
  #look(): void {
    this.time.after(LOOK_EVERY_MS, () => {
      this.#check(() => checkEarlyExpiry(this));
      if (this.#mended && this.lives.isUp) this.#endWhereNothingIsLeft();
      if (!this.#ended) this.#look();
    });
  }

  /** A look that meets the fault that was meant for the gateway sees nothing. */
  #check(look: () => void): void {
    try {
      look();
    } catch (error) {
      if (!this.lives.mayFail || !String((error as { code?: unknown }).code).startsWith("SQLITE_IOERR"))
        throw error;
    }
  }

  #endWhereNothingIsLeft(): void {
    const { lives, machines, subscribers } = this;
    if (lives.config !== 0) {
      lives.config = 0;
      lives.stop(0);
      return;
    }
    if (leftToDo(this).length > 0) return;
    this.#ended = true;
    checkEnd(this);
    for (const device of [...machines, ...subscribers]) device.stop();
    lives.stop(null);
  }

  #result(): WorldResult {
    const { plan, ledger, lives, backends, time } = this;
    const all = [...ledger.readings.values()];
    this.#feedDigest();
    return {
      seed: plan.seed,
      findings: [...this.#findings],
      digest: this.#digest.digest("hex"),
      trace: this.#trace,
      figures: {
        readings: all.length,
        acked: all.filter(({ ackedAtMs }) => ackedAtMs !== null).length,
        repeats: all.reduce((sum, { copies }) => sum + Math.max(0, copies - 1), 0),
        effects: BACKENDS.reduce((sum, name) => sum + backends[name].book.effects.length, 0),
        starts: lives.starts,
        deaths: lives.deaths,
        virtualMs: time.monoMs(),
      },
    };
  }
}
