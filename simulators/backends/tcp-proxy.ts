/**
 * A network link that misbehaves on request: a TCP proxy to put before any backend.
 *
 * - pass: carries both ways.
 * - delay: carries both ways, later.
 * - half-open: carries nothing any more and closes nothing, as when a firewall forgets a connection.
 * - drop-answers: carries what the client sends; what the backend answers is lost.
 * - cut: connections are closed, new ones are closed at once.
 * - reset: the same with RST instead of FIN.
 */
import { connect, createServer, type Socket } from "node:net";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { Door } from "./door.ts";

export const LINK_MODES = ["pass", "delay", "half-open", "drop-answers", "cut", "reset"] as const;
export type LinkMode = (typeof LINK_MODES)[number];

export interface TcpProxyOptions {
  /** Where to, as host and port. */
  readonly to: { readonly host: string; readonly port: number };
  readonly host?: string;
  readonly port?: number;
  readonly mode?: LinkMode;
  readonly delayMs?: number;
  readonly clock?: Clock;
}

interface Pair {
  readonly client: Socket;
  readonly backend: Socket;
  /** Bytes were lost on it: it cannot be carried on. */
  lossy: boolean;
}

export class TcpProxy {
  mode: LinkMode;
  readonly #options: TcpProxyOptions;
  readonly #clock: Clock;
  readonly #pairs = new Set<Pair>();
  readonly #door: Door;

  constructor(options: TcpProxyOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.mode = options.mode ?? "pass";
    this.#door = new Door(options, () =>
      createServer({ allowHalfOpen: true }, (client) => this.#accept(client)),
    );
  }

  get host(): string {
    return this.#door.host;
  }

  get port(): number {
    return this.#door.port;
  }

  /** Connections carried at the moment. */
  get connections(): number {
    return this.#pairs.size;
  }

  async start(): Promise<{ readonly url: string }> {
    await this.#door.open();
    return { url: `tcp://${this.host}:${this.port}` };
  }

  async stop(): Promise<void> {
    for (const pair of this.#pairs) end(pair);
    await this.#door.close();
  }

  setMode(mode: LinkMode): void {
    this.mode = mode;
    if (mode === "cut") for (const pair of this.#pairs) end(pair);
    if (mode === "reset") for (const pair of this.#pairs) reset(pair);
    if (mode === "pass" || mode === "delay") for (const pair of this.#pairs) if (pair.lossy) end(pair);
  }

  #accept(client: Socket): void {
    if (this.mode === "cut") return void client.destroy();
    if (this.mode === "reset") return void client.resetAndDestroy();
    const backend = connect({ ...this.#options.to, allowHalfOpen: true });
    const pair: Pair = { client, backend, lossy: false };
    this.#pairs.add(pair);
    client.setNoDelay(true);
    backend.setNoDelay(true);
    backend.on("error", () => {});
    this.#carry(pair, client, backend);
    this.#carry(pair, backend, client);
  }

  #carry(pair: Pair, from: Socket, to: Socket): void {
    const later = (fn: () => void) => {
      if (this.mode === "delay") this.#clock.after(this.#options.delayMs ?? 100, fn);
      else fn();
    };
    const blocked = () =>
      this.mode === "half-open" || (this.mode === "drop-answers" && from === pair.backend);
    from.on("data", (bytes) => {
      if (blocked()) pair.lossy = true;
      else later(() => to.writable && to.write(bytes));
    });
    from.on("end", () => {
      if (blocked()) pair.lossy = true;
      else later(() => to.end());
    });
    from.on("close", () => {
      if (!blocked()) later(() => to.destroy());
      if (pair.client.destroyed && pair.backend.destroyed) this.#pairs.delete(pair);
    });
  }
}

function end({ client, backend }: Pair): void {
  client.destroy();
  backend.destroy();
}

function reset({ client, backend }: Pair): void {
  client.resetAndDestroy();
  backend.destroy();
}
