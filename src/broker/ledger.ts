/**
 * What the broker has seen: figures for the whole, and the state of each device. Counts go up only; what is
 * there now (connections, waiting) is asked of those who have it, see Broker.stats().
 */
import type { Clock } from "../core/clock.ts";
import type { QoS } from "../core/message.ts";
import type { Receipt } from "../intake/draft.ts";

export interface DeviceState {
  readonly device: string;
  /** Connections of this device that are up. */
  connections: number;
  /** Epoch ms of the last change between up and down, and of the last message; null for never. */
  changedAtMs: number | null;
  lastMessageAtMs: number | null;
  /** Mono ms of the last message, for ages within this run. */
  lastMessageMonoMs: number | null;
  accepted: number;
  duplicates: number;
  late: number;
  refused: number;
}

export interface Figures {
  /** Connections ever taken, and those that got through CONNECT. */
  connections: number;
  logins: number;
  /** PUBLISH packets by QoS, wills not among them. */
  published: [number, number, number];
  publishedBytes: number;
  stored: number;
  duplicates: number;
  /** Matched no flow, by `unrouted: drop`. */
  dropped: number;
  wills: number;
  /** Messages acknowledged by subscribers (QoS 1 and 2). */
  delivered: number;
  /** Of QoS 0, for subscribers whose buffer was full. */
  droppedForSlow: number;
  /** Waiting messages dropped over a bound. */
  droppedOffline: number;
  /** Messages that were not retained for lack of room. */
  notRetained: number;
  frozenClosed: number;
  takeovers: number;
  sessionsExpired: number;
  /** Whatever was not let through, by reason. */
  refused: Record<string, number>;
}

/** Devices come and go; those longest silent are forgotten above this. */
const DEVICES_MAX = 10_000;
const REASONS_MAX = 100;

export class Ledger {
  readonly #clock: Clock;
  readonly #devices = new Map<string, DeviceState>();
  readonly figures: Figures = {
    connections: 0,
    logins: 0,
    published: [0, 0, 0],
    publishedBytes: 0,
    stored: 0,
    duplicates: 0,
    dropped: 0,
    wills: 0,
    delivered: 0,
    droppedForSlow: 0,
    droppedOffline: 0,
    notRetained: 0,
    frozenClosed: 0,
    takeovers: 0,
    sessionsExpired: 0,
    refused: {},
  };

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  devices(): DeviceState[] {
    return [...this.#devices.values()];
  }

  device(name: string): DeviceState {
    let state = this.#devices.get(name);
    if (!state) {
      if (this.#devices.size >= DEVICES_MAX) this.#forgetOne();
      state = {
        device: name,
        connections: 0,
        changedAtMs: null,
        lastMessageAtMs: null,
        lastMessageMonoMs: null,
        accepted: 0,
        duplicates: 0,
        late: 0,
        refused: 0,
      };
      this.#devices.set(name, state);
    }
    return state;
  }

  connected(state: DeviceState): void {
    this.figures.logins++;
    state.connections++;
    state.changedAtMs = this.#clock.wallMs();
  }

  disconnected(state: DeviceState): void {
    state.connections--;
    state.changedAtMs = this.#clock.wallMs();
  }

  published(qos: QoS, bytes: number): void {
    this.figures.published[qos]++;
    this.figures.publishedBytes += bytes;
  }

  accepted(state: DeviceState, receipt: Exclude<Receipt, { kind: "refused" }>): void {
    if (receipt.kind === "stored") this.figures.stored++;
    else if (receipt.kind === "duplicate") this.figures.duplicates++;
    else this.figures.dropped++;
    if (receipt.kind === "duplicate") state.duplicates++;
    else state.accepted++;
    if (receipt.kind === "stored" && receipt.late) state.late++;
    state.lastMessageAtMs = this.#clock.wallMs();
    state.lastMessageMonoMs = this.#clock.monoMs();
  }

  refused(reason: string, state?: DeviceState): void {
    const { refused } = this.figures;
    const known = Object.hasOwn(refused, reason) || Object.keys(refused).length < REASONS_MAX;
    const name = known ? reason : "other";
    refused[name] = (refused[name] ?? 0) + 1;
    if (state) state.refused++;
  }

  #forgetOne(): void {
    for (const [name, state] of this.#devices) {
      if (state.connections > 0) continue;
      this.#devices.delete(name);
      return;
    }
  }
}
