/**
 * The rig: machines on one side, a backend on the other, a gateway in between, and the oracle over both
 * sides' books. What a scenario and the demo have in common; what happens when is theirs.
 *
 * Order of life: start (backend, gateway) → startMachines → anything → silence → drain → verdict → stop.
 * stop may be called at any time and leaves nothing behind: no process, no port.
 */
import { randomUUID } from "node:crypto";
import { type Clock, sleep } from "../src/core/clock.ts";
import type { Backend, BackendMode } from "./backends/backend.ts";
import { type LinkMode, TcpProxy } from "./backends/tcp-proxy.ts";
import {
  deviceCursors,
  type GatewayFigures,
  gatewayFigures,
  type MessageStory,
  messageStory,
} from "./gateway-figures.ts";
import type { GatewayProcess } from "./gateway-process.ts";
import { Fleet, type FleetOptions, type MachineGroup } from "./machines/fleet.ts";
import type { Sent } from "./machines/ledger.ts";
import type { WiredFleet } from "./machines/wired-fleet.ts";
import { carriedPayload, judge, type OracleArrival, payloadId, type Verdict } from "./oracle.ts";
import { bootKey, judgeReadings, type ReadingsVerdict, readingMessage } from "./readings-oracle.ts";

const POLL_MS = 200;
/** Longer than the gateway waits before it tries a machine again that is off (wired-group.ts). */
const QUIET_MS = 1_500;
/** Acknowledged messages that did not arrive, about which the gateway is asked one by one. */
const ASKED_MAX = 1_000;

/** Where arrivals can be read: a simulated backend, or what the gateway wrote to its outbox. */
export interface Arrivals {
  arrivals(): readonly OracleArrival[];
}

export interface RigOptions {
  readonly machines: readonly MachineGroup[];
  readonly seed: number;
  /** Started already, since the gateway must know its address. */
  readonly backend: Backend | null;
  /** How the backend behaves when it is well; default: ok. */
  readonly backendWell?: BackendMode;
  /** The backend, or what stands for one. */
  readonly arrivals: Arrivals;
  readonly orderBy?: "device" | "topic" | "none";
  readonly gateway:
    | GatewayProcess
    | {
        readonly host: string;
        readonly port: number;
        /** Its HTTP door, for figures and histories; null for none. */
        readonly http: string | null;
      };
  readonly clock: Clock;
  readonly onWire?: (sent: Sent, payload: Buffer) => void;
  readonly onTrace?: FleetOptions["onTrace"];
  /** The machines' book, where it is not the rig's machines that keep it. */
  readonly ledger?: FleetOptions["ledger"];
  /** Each machine can send again this many of the readings that were answered last. */
  readonly keeps?: number;
  /** The line between gateway and backend, where there is one that can be disturbed; the rig stops it. */
  readonly backendLink?: TcpProxy | null;
  /** Whether there is to be one between the machines and the gateway. */
  readonly machinesLink?: boolean;
  /** Machines that the gateway reads; started already, since its config has their ports. The rig stops them. */
  readonly wired?: WiredFleet;
}

/** What the gateway says of the messages that were acknowledged and did not arrive. */
export interface Account {
  /** Machine's id → state. */
  readonly states: ReadonlyMap<string, string>;
  /** The most tries that were charged to one of them. */
  readonly charged: number;
}

export interface RigFigures {
  readonly machines: number;
  readonly machinesUp: number;
  readonly sent: number;
  readonly acked: number;
  readonly repeats: number;
  /** Distinct messages of theirs that took effect at the backend. */
  readonly arrived: number;
  /** Machines on wires. */
  readonly wired: number;
  readonly wiredUp: number;
  /** Messages of their readings that took effect at the backend. */
  readonly readings: number;
  readonly gatewayUp: boolean;
  readonly backend: string;
  /** The last that was heard of it; null before. */
  readonly gateway: GatewayFigures | null;
}

export class Rig {
  readonly fleet: Fleet;
  readonly #o: RigOptions;
  readonly #clock: Clock;
  readonly #arrivedIds = new Set<string>();
  readonly #readingIds = new Set<string>();
  readonly #cursors = new Map<string, number>();
  /** Messages of readings that the gateway made in this boot, and since when it has made no more; mono. */
  #made = 0;
  #madeAtMs = 0;
  #arrivalsSeen = 0;
  #backendState = "there";
  #gateway: GatewayFigures | null = null;
  /** While the gateway is down, machines knock where it was. */
  #door = { host: "127.0.0.1", port: 1 };
  readonly #machinesLink: TcpProxy | null;
  #http: string | null = null;
  readonly #stopping = new AbortController();
  #polling: Promise<void> = Promise.resolve();

  constructor(options: RigOptions) {
    this.#o = options;
    this.#clock = options.clock;
    // Asked at each connection, since a gateway that was started again may listen elsewhere.
    const door = () => this.#door;
    const to = {
      get host() {
        return door().host;
      },
      get port() {
        return door().port;
      },
    };
    this.#machinesLink = options.machinesLink ? new TcpProxy({ to, clock: options.clock }) : null;
    this.fleet = new Fleet({
      groups: options.machines,
      seed: options.seed,
      run: randomUUID().slice(0, 6),
      clock: options.clock,
      address: () => {
        const { host, port } = this.#machinesLink ?? this.#door;
        return { host, port };
      },
      http: () => this.#http,
      onWire: options.onWire,
      onTrace: options.onTrace,
      keeps: options.keeps,
      ledger: options.ledger,
    });
  }

  /** The gateway's HTTP door, where it has one. */
  get http(): string | null {
    return this.#http;
  }

  get door(): { readonly host: string; readonly port: number } {
    return this.#door;
  }

  async start(): Promise<void> {
    await this.#machinesLink?.start();
    await this.startGateway();
    this.#polling = this.#poll();
  }

  async startGateway(): Promise<void> {
    const { gateway } = this.#o;
    if (!("start" in gateway)) {
      this.#door = { host: gateway.host, port: gateway.port };
      this.#http = gateway.http;
      return;
    }
    await gateway.start();
    const mqtt = gateway.address("tcp");
    const http = gateway.address("http");
    if (mqtt) this.#door = { host: mqtt.host, port: mqtt.port };
    this.#http = http ? `http://${http.host}:${http.port}` : null;
  }

  /** kill -9. For a gateway that this rig started. */
  async killGateway(): Promise<void> {
    await this.#own().kill();
  }

  async stopGateway(): Promise<void> {
    await this.#own().stop();
  }

  #own(): GatewayProcess {
    const { gateway } = this.#o;
    if (!("start" in gateway)) throw new Error("this rig did not start the gateway");
    return gateway;
  }

  async backendAway(): Promise<void> {
    this.#backendState = "away";
    await this.#o.backend?.goAway();
  }

  /** There again, and well unless `mode` says otherwise. */
  async backendBack(mode = this.#well): Promise<void> {
    this.#o.backend?.setMode(mode);
    if (this.#backendState === "away") await this.#o.backend?.comeBack();
    this.#backendState = mode === this.#well ? "there" : mode;
  }

  backendMode(mode: BackendMode): void {
    this.#o.backend?.setMode(mode);
    if (this.#backendState !== "away") this.#backendState = mode === this.#well ? "there" : mode;
  }

  /** The line on one side of the gateway; the rig was given, or has, one there. */
  network(of: "backend" | "machines", mode: LinkMode): void {
    const link = of === "backend" ? this.#o.backendLink : this.#machinesLink;
    if (!link) throw new Error(`this rig has no line to disturb before the ${of}`);
    link.setMode(mode);
  }

  /** All lines are well. */
  networkWell(): void {
    this.#o.backendLink?.setMode("pass");
    this.#machinesLink?.setMode("pass");
  }

  get #well(): BackendMode {
    return this.#o.backendWell ?? "ok";
  }

  figures(): RigFigures {
    this.#readArrivals();
    const { gateway } = this.#o;
    const { sent, acked, repeats } = this.fleet.ledger;
    return {
      machines: this.fleet.machines.length,
      machinesUp: this.fleet.up,
      sent,
      acked,
      repeats,
      arrived: this.#arrivedIds.size,
      wired: this.#o.wired?.members.length ?? 0,
      wiredUp: this.#o.wired?.up ?? 0,
      readings: this.#readingIds.size,
      gatewayUp: "start" in gateway ? gateway.up : this.fleet.up > 0,
      backend: this.#backendState,
      gateway: this.#gateway,
    };
  }

  /** Acknowledged and not arrived (yet). */
  outstanding(): Sent[] {
    this.#readArrivals();
    return this.fleet.ledger
      .entries()
      .filter((entry) => entry.ackedAtMs !== null && !this.#arrivedIds.has(entry.id));
  }

  /**
   * Waits until everything that was acknowledged has arrived or been brought to an end, the gateway has nothing open,
   * and it has nothing more to say of machines on wires that are off; at most `timeoutMs`. `tick` is called at each look. True where it came to that.
   */
  async drain(timeoutMs: number, tick: () => void = () => {}): Promise<boolean> {
    const untilMs = this.#clock.monoMs() + timeoutMs;
    for (;;) {
      const own = await this.look();
      tick();
      const missing = this.outstanding().length + this.readings().missing.length;
      const ended = own ? own.dead + own.expired + own.evicted + own.discarded : 0;
      if ((own === null || own.open === 0) && missing <= ended && this.#isQuiet()) return true;
      if (this.#clock.monoMs() >= untilMs || this.#stopping.signal.aborted) return false;
      await sleep(this.#clock, POLL_MS, this.#stopping.signal);
    }
  }

  /** A machine that is off may be told of twice: when it is gone, and when it cannot be reached again. */
  #isQuiet(): boolean {
    return !this.#o.wired || this.#clock.monoMs() - this.#madeAtMs >= QUIET_MS;
  }

  /** Asks the gateway for its figures now; null where it does not answer. */
  async look(): Promise<GatewayFigures | null> {
    const figures = await gatewayFigures(this.#http);
    if (figures) this.#gateway = figures;
    if (this.#o.wired) await this.#readCursors();
    return figures;
  }

  /** The oracle's, after asking the gateway what it says of each acknowledged message that did not arrive. */
  async verdict(): Promise<Verdict> {
    return this.judgeNow((await this.account()).states);
  }

  async account(): Promise<Account> {
    await this.look();
    const states = new Map<string, string>();
    let charged = 0;
    const missing = [...this.outstanding().map(({ id }) => id), ...this.readings().missing];
    for (const id of missing.slice(0, ASKED_MAX)) {
      // One that it calls delivered and that is not there is lost.
      const deliveries = (await this.story(id))?.deliveries ?? [];
      const state = deliveries.find((delivery) => delivery.state !== "delivered")?.state;
      if (state) states.set(id, state);
      charged = Math.max(charged, ...deliveries.map(({ attempts }) => attempts));
    }
    return { states, charged };
  }

  judgeNow(accounted?: ReadonlyMap<string, string>): Verdict {
    const { wired, orderBy } = this.#o;
    const all = this.#o.arrivals.arrivals();
    const arrivals = wired ? all.filter(({ payload }) => readingMessage(payload) === null) : all;
    const verdict = judge({ sent: this.fleet.ledger.entries(), arrivals, orderBy, accounted });
    return wired ? withReadings(verdict, this.readings(accounted)) : verdict;
  }

  /** What the readings of machines on wires tell by themselves. */
  readings(accounted?: ReadonlyMap<string, string>): ReadingsVerdict {
    const { wired, orderBy, arrivals } = this.#o;
    return judgeReadings({
      arrivals: wired ? arrivals.arrivals() : [],
      devices: wired?.devices ?? [],
      cursors: this.#cursors,
      isTrue: (...said) => wired?.isTrue(...said) ?? true,
      orderBy,
      accounted,
    });
  }

  async #readCursors(): Promise<void> {
    const found = await deviceCursors(this.#http);
    if (!found) return;
    for (const device of this.#o.wired?.devices ?? []) {
      this.#cursors.set(bootKey(device, found.boot), found.stored.get(device) ?? 0);
    }
    if (found.made === this.#made) return;
    this.#made = found.made;
    this.#madeAtMs = this.#clock.monoMs();
  }

  story(id: string): Promise<MessageStory | null> {
    return messageStory(this.#http, id);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#polling;
    await this.fleet.stop();
    await this.#o.wired?.silence();
    const { gateway, backend } = this.#o;
    await this.#machinesLink?.stop();
    if ("start" in gateway) await gateway.stop();
    await this.#o.backendLink?.stop();
    await backend?.stop();
  }

  async #poll(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await this.look();
      await sleep(this.#clock, POLL_MS, this.#stopping.signal);
    }
  }

  #readArrivals(): void {
    const arrivals = this.#o.arrivals.arrivals();
    for (; this.#arrivalsSeen < arrivals.length; this.#arrivalsSeen++) {
      const { effect, payload } = arrivals[this.#arrivalsSeen]!;
      if (!effect) continue;
      const id = payloadId(carriedPayload(payload));
      if (id !== null) this.#arrivedIds.add(id);
      const reading = this.#o.wired ? readingMessage(payload) : null;
      if (reading) this.#readingIds.add(`${bootKey(reading.device, reading.boot)}.${reading.sequence}`);
    }
  }
}

/** Both oracles' as one: the figures of what was sent and acknowledged are the machines' alone. */
function withReadings(verdict: Verdict, readings: ReadingsVerdict): Verdict {
  const counts = { ...verdict.counts };
  for (const { kind } of readings.findings) counts[kind] += 1;
  const accounted = { ...verdict.figures.accounted };
  for (const [state, count] of Object.entries(readings.accounted)) {
    accounted[state] = (accounted[state] ?? 0) + count;
  }
  const suppressedByBackend = verdict.figures.suppressedByBackend + readings.suppressed;
  return {
    kept: verdict.kept && readings.findings.length === 0,
    counts,
    findings: [...verdict.findings, ...readings.findings],
    figures: { ...verdict.figures, accounted, suppressedByBackend },
  };
}
