/**
 * A network link that misbehaves on request: a TCP proxy to put before any backend.
 *
 * - pass: carries both ways.
 * - delay: carries both ways, later.
 * - half-open: carries nothing any more and closes nothing, as when a firewall forgets a connection.
 * - drop-answers: carries what the client sends; what the backend answers is lost.
 * - garbled: carries what the client sends; what the backend answers arrives as noise, byte for byte.
 * - cut: connections are closed, new ones are closed at once.
 * - reset: the same with RST instead of FIN.
 *
 * With `tear` a link breaks at a given byte of what it carries, so that a request, an answer or a packet is torn at
 * any of its boundaries, and in the middle of them.
 */
import { connect, createServer, type Socket } from "node:net";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { type Random, seededRandom } from "../../src/core/random.ts";
import { Door } from "./door.ts";

export const LINK_MODES = ["pass", "delay", "half-open", "drop-answers", "garbled", "cut", "reset"] as const;
export type LinkMode = (typeof LINK_MODES)[number];

/** Which way bytes go. */
export type Way = "to-backend" | "to-client";

export interface Tear {
  readonly way: Way;
  /** So many bytes that way still arrive, over all connections together; the next one does not. */
  readonly afterBytes: number;
  /** What the link is from then on. */
  readonly becomes: Extract<LinkMode, "cut" | "reset" | "half-open">;
}

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
  /** It is the one on which the link is being torn: nothing more of it arrives. */
  torn: boolean;
}

interface Armed {
  readonly tear: Tear;
  leftBytes: number;
  readonly done: () => void;
}

export class TcpProxy {
  mode: LinkMode;
  readonly #options: TcpProxyOptions;
  readonly #clock: Clock;
  readonly #random: Random = seededRandom(1);
  readonly #pairs = new Set<Pair>();
  readonly #door: Door;
  #armed: Armed | null = null;

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

  /** Also calls off a tear that has not come yet. */
  setMode(mode: LinkMode): void {
    this.#armed?.done();
    this.#armed = null;
    this.mode = mode;
    if (mode === "cut") for (const pair of this.#pairs) end(pair);
    if (mode === "reset") for (const pair of this.#pairs) reset(pair);
    if (mode === "pass" || mode === "delay") for (const pair of this.#pairs) if (pair.lossy) end(pair);
  }

  /** Bytes that nobody sent, to every client; their connections are not carried on as if nothing had been. */
  noise(bytes: number): void {
    for (const pair of this.#pairs) {
      pair.lossy = true;
      const noise = Buffer.alloc(bytes);
      this.#random.fill(noise);
      pair.client.write(noise);
    }
  }

  /** Breaks the link at a byte to come. Resolves when that has been, or was called off. */
  tear(tear: Tear): Promise<void> {
    this.#armed?.done();
    return new Promise((done) => {
      this.#armed = { tear, leftBytes: tear.afterBytes, done };
    });
  }

  #accept(client: Socket): void {
    if (this.mode === "cut") return void client.destroy();
    if (this.mode === "reset") return void client.resetAndDestroy();
    const backend = connect({ ...this.#options.to, allowHalfOpen: true });
    const pair: Pair = { client, backend, lossy: false, torn: false };
    this.#pairs.add(pair);
    client.setNoDelay(true);
    backend.setNoDelay(true);
    backend.on("error", () => {});
    this.#carry(pair, client, backend);
    this.#carry(pair, backend, client);
  }

  #carry(pair: Pair, from: Socket, to: Socket): void {
    const underWay: (() => void)[] = [];
    /** What is delayed is not overtaken by what comes after the delay is over. */
    const later = (fn: () => void) => {
      if (this.mode !== "delay" && underWay.length === 0) return fn();
      underWay.push(fn);
      this.#clock.after(this.#options.delayMs ?? 100, () => underWay.shift()!());
    };
    const way: Way = from === pair.client ? "to-backend" : "to-client";
    const blocked = () =>
      pair.torn || this.mode === "half-open" || (this.mode === "drop-answers" && way === "to-client");
    from.on("data", (bytes) => {
      if (blocked()) {
        pair.lossy = true;
        return;
      }
      if (this.mode === "garbled" && way === "to-client") {
        pair.lossy = true;
        this.#random.fill(bytes);
      }
      const carried = this.#armed?.tear.way === way ? this.#untilTear(pair, bytes, this.#armed) : bytes;
      const armed = this.#armed;
      const torn = carried === bytes ? undefined : () => this.#tear(armed);
      later(() => {
        if (carried.length > 0 && to.writable) to.write(carried, torn);
        else torn?.();
      });
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

  /** The part of the bytes that still arrives. */
  #untilTear(pair: Pair, bytes: Buffer, armed: Armed): Buffer {
    if (bytes.length <= armed.leftBytes) {
      armed.leftBytes -= bytes.length;
      return bytes;
    }
    pair.torn = true;
    pair.lossy = true;
    return bytes.subarray(0, armed.leftBytes);
  }

  #tear(armed: Armed | null): void {
    // Unless it was called off in the meantime.
    if (armed && armed === this.#armed) this.setMode(armed.tear.becomes);
  }
}

function end({ client, backend }: Pair): void {
  client.destroy();
  backend.destroy();
}

function reset({ client, backend }: Pair): void {
  client.resetAndDestroy();
  backend.resetAndDestroy();
}
