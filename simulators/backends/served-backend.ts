/** What every backend has that is a server: a door that opens and closes, a ledger, a mode. */
import type { Server } from "node:net";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { type Arrival, type Backend, type BackendMode, type BackendOptions, Ledger } from "./backend.ts";
import { Door } from "./door.ts";

export abstract class ServedBackend implements Backend {
  mode: BackendMode;
  protected readonly ledger: Ledger;
  protected readonly door: Door;
  protected readonly clock: Clock;
  readonly #protocol: string;

  constructor(protocol: "http" | "mqtt", options: BackendOptions) {
    this.#protocol = protocol;
    this.ledger = new Ledger(options);
    this.clock = options.clock ?? systemClock;
    this.door = new Door(options, () => this.makeServer());
    this.mode = options.mode ?? "ok";
  }

  /** A new one each time the door opens. */
  protected abstract makeServer(): Server;

  get onArrival() {
    return this.ledger.onArrival;
  }

  set onArrival(listener: ((arrival: Arrival) => void) | null) {
    this.ledger.onArrival = listener;
  }

  arrivals(): readonly Arrival[] {
    return this.ledger.arrivals();
  }

  setMode(mode: BackendMode): void {
    this.mode = mode;
  }

  get url(): string {
    return `${this.#protocol}://${this.door.host}:${this.door.port}`;
  }

  async start(): Promise<{ readonly url: string }> {
    await this.door.open();
    return { url: this.url };
  }

  goAway(): Promise<void> {
    return this.door.close();
  }

  comeBack(): Promise<void> {
    return this.door.open();
  }

  stop(): Promise<void> {
    return this.door.close();
  }
}
