/**
 * A simulated network: streams between named hosts that carry bytes in order, some time later, as TCP does, and
 * break as TCP does. What was sent on a connection that breaks arrives up to some byte, or not at all.
 *
 * What can happen to a link between two hosts:
 * - stalled: bytes wait and arrive when the link is back (the kernel sends again);
 * - forgotten (half-open): what is sent disappears and nobody is told, on connections of that time, for good;
 * - closed: new connections are refused.
 * To a host: it is killed. Its kernel closes its connections (FIN or RST), or, with the power cut, nobody does.
 */
import { Duplex } from "node:stream";
import type { Random } from "../../../src/core/random.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** Bytes on their way in one direction, above which a writer has to wait. */
const WINDOW_BYTES = 64 * 1024;
/** How long a SYN that nobody answers is tried. */
const CONNECT_GIVE_UP_MS = 20_000;

export interface Host {
  readonly name: string;
  /** Takes a connection; absent where nobody listens. */
  accept: ((stream: Duplex, from: string) => void) | null;
}

interface Parcel {
  readonly dueMs: number;
  /** Null for the end of the stream; an error for a reset. */
  readonly what: Buffer | null | Error;
}

type Link = "up" | "stalled" | "closed";

export class SimNetwork {
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #hosts = new Map<string, Host>();
  readonly #links = new Map<string, Link>();
  readonly #wires = new Set<Wire>();

  constructor(time: VirtualTime, random: Random) {
    this.#time = time;
    this.#random = random;
  }

  /** Connections that a host holds open. */
  connectionsOf(host: string): number {
    return [...this.#wires].filter((wire) => wire.touches(host) && wire.isHeldBy(host)).length;
  }

  host(name: string): Host {
    let host = this.#hosts.get(name);
    if (!host) {
      host = { name, accept: null };
      this.#hosts.set(name, host);
    }
    return host;
  }

  /** Emits `connect` or `error` later. */
  connect(from: string, to: string): Duplex {
    const wire = new Wire(this.#time, this.#random, from, to, () => this.#wires.delete(wire));
    this.#wires.add(wire);
    const attempt = (leftMs: number) => {
      const stepMs = this.#latencyMs();
      this.#time.after(stepMs, () => {
        if (wire.a.destroyed) {
          wire.forget();
          return;
        }
        const link = this.link(from, to);
        const { accept } = this.host(to);
        if (link === "stalled") {
          if (leftMs > 0) return attempt(leftMs - CONNECT_GIVE_UP_MS / 8);
          return wire.fail(new Error("ETIMEDOUT"));
        }
        if (link === "closed" || !accept) return wire.fail(new Error(`ECONNREFUSED ${to}`));
        wire.open();
        accept(wire.b, from);
      });
    };
    attempt(CONNECT_GIVE_UP_MS);
    return wire.a;
  }

  link(a: string, b: string): Link {
    return this.#links.get(linkName(a, b)) ?? "up";
  }

  setLink(a: string, b: string, link: Link): void {
    this.#links.set(linkName(a, b), link);
    for (const wire of this.#between(a, b)) wire.setStalled(link === "stalled");
  }

  /** Connections between the two that carry nothing any more, and close nothing. */
  forget(a: string, b: string): void {
    for (const wire of this.#between(a, b)) wire.loseBoth();
  }

  /** What `from` sends to `to` from now on, on connections that are open, is lost. */
  loseAnswers(from: string, to: string): void {
    for (const wire of this.#between(from, to)) wire.loseFrom(from);
  }

  /** Breaks what is open between the two: some of what was on its way still arrives. */
  cut(a: string, b: string): void {
    for (const wire of this.#between(a, b)) wire.cut();
  }

  /**
   * The host's process is gone. Its own ends fall silent at once, whatever its code still does; the others hear of
   * it (`heard`), or do not, as where its power is cut.
   */
  kill(host: string, heard: boolean): void {
    this.host(host).accept = null;
    for (const wire of this.#wires) if (wire.touches(host)) wire.kill(host, heard);
  }

  mendAll(): void {
    for (const name of this.#links.keys()) this.#links.set(name, "up");
    for (const wire of this.#wires) wire.setStalled(false);
  }

  #between(a: string, b: string): Wire[] {
    return [...this.#wires].filter((wire) => wire.touches(a) && wire.touches(b));
  }

  #latencyMs(): number {
    return 1 + this.#random.below(3);
  }
}

const linkName = (a: string, b: string) => (a < b ? `${a}|${b}` : `${b}|${a}`);

/** One connection. */
class Wire {
  readonly a: End;
  readonly b: End;
  readonly #from: string;
  readonly #to: string;
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #onGone: () => void;
  readonly #latencyMs: number;
  #stalled = false;

  constructor(time: VirtualTime, random: Random, from: string, to: string, onGone: () => void) {
    this.#time = time;
    this.#random = random;
    this.#from = from;
    this.#to = to;
    this.#onGone = onGone;
    this.#latencyMs = 1 + random.below(4);
    this.a = new End(this);
    this.b = new End(this);
  }

  touches(host: string): boolean {
    return this.#from === host || this.#to === host;
  }

  isHeldBy(host: string): boolean {
    const { destroyed, silenced } = this.#endOf(host);
    return !destroyed && !silenced;
  }

  open(): void {
    this.a.opened = true;
    this.b.opened = true;
    this.a.emit("connect");
  }

  fail(error: Error): void {
    this.a.destroy(error);
    this.forget();
  }

  forget(): void {
    this.#onGone();
  }

  peer(end: End): End {
    return end === this.a ? this.b : this.a;
  }

  /** Puts something on its way; now and then a packet is torn, and its rest comes later. */
  send(from: End, what: Buffer | null | Error): void {
    if (from.lost || from.silenced) return;
    const to = this.peer(from);
    if (what instanceof Buffer && what.length > 1 && this.#random.below(20) === 0) {
      const at = 1 + this.#random.below(what.length - 1);
      this.#queue(to, what.subarray(0, at), 0);
      this.#queue(to, what.subarray(at), 1 + this.#random.below(3));
    } else this.#queue(to, what, 0);
  }

  #queue(to: End, what: Parcel["what"], extraMs: number): void {
    const last = to.parcels.at(-1);
    const dueMs = Math.max(this.#time.monoMs() + this.#latencyMs + extraMs, last?.dueMs ?? 0);
    to.parcels.push({ dueMs, what });
    if (what instanceof Buffer) to.onTheWay += what.length;
    if (!last || last.dueMs < dueMs) this.#time.after(dueMs - this.#time.monoMs(), () => this.deliver(to));
  }

  deliver(to: End): void {
    if (this.#stalled || to.full) return;
    const nowMs = this.#time.monoMs();
    while (to.parcels.length > 0 && to.parcels[0]!.dueMs <= nowMs && !to.full)
      this.#hand(to, to.parcels.shift()!.what);
    this.peer(to).mayWrite(to.onTheWay < WINDOW_BYTES);
  }

  #hand(to: End, what: Parcel["what"]): void {
    if (what instanceof Buffer) to.onTheWay -= what.length;
    if (to.silenced) return;
    if (to.destroyed) {
      // Nobody is there any more: its kernel says so.
      if (what instanceof Buffer) this.send(to, new Error("ECONNRESET"));
    } else if (what instanceof Error) to.destroy(what);
    else to.receive(what);
  }

  setStalled(stalled: boolean): void {
    if (this.#stalled === stalled) return;
    this.#stalled = stalled;
    if (stalled) return;
    this.deliver(this.a);
    this.deliver(this.b);
  }

  loseBoth(): void {
    this.a.lost = true;
    this.b.lost = true;
  }

  loseFrom(host: string): void {
    this.#endOf(host).lost = true;
  }

  cut(): void {
    for (const end of [this.a, this.b]) {
      this.#tear(end);
      this.#queue(end, new Error("ECONNRESET"), 0);
      end.lost = true;
    }
  }

  /** Of what is on its way to `end`, some bytes still arrive. */
  #tear(end: End): void {
    let left = this.#random.below(end.onTheWay + 1);
    const kept: Parcel[] = [];
    for (const parcel of end.parcels) {
      if (!(parcel.what instanceof Buffer) || left <= 0) break;
      const what = parcel.what.subarray(0, left);
      kept.push({ ...parcel, what });
      left -= what.length;
    }
    end.parcels = kept;
    end.onTheWay = kept.reduce((sum, { what }) => sum + (what as Buffer).length, 0);
  }

  kill(host: string, heard: boolean): void {
    const own = this.#endOf(host);
    if (heard) {
      this.send(own, this.#random.below(2) === 0 ? new Error("ECONNRESET") : null);
    } else this.#tear(this.peer(own));
    own.silenced = true;
    own.lost = true;
    own.parcels = [];
    own.onTheWay = 0;
  }

  #endOf(host: string): End {
    return this.#from === host ? this.a : this.b;
  }

  closed(end: End, error: Error | null): void {
    if (!end.ended) this.send(end, error ? new Error("ECONNRESET") : null);
    const other = this.peer(end);
    if (other.destroyed || other.silenced || !end.opened) this.#onGone();
  }
}

class End extends Duplex {
  readonly #wire: Wire;
  parcels: Parcel[] = [];
  /** Bytes of them. */
  onTheWay = 0;
  opened = false;
  /** What it sends disappears. */
  lost = false;
  /** Its host is dead: nothing reaches it and nothing comes from it. */
  silenced = false;
  /** It has said that no more comes from it. */
  ended = false;
  /** Its reader has enough for now. */
  full = false;
  #waiting: (() => void) | null = null;

  constructor(wire: Wire) {
    super({ allowHalfOpen: true });
    this.#wire = wire;
    // A connection that breaks is nobody's mistake.
    this.on("error", () => {});
  }

  receive(what: Buffer | null): void {
    if (!this.push(what)) this.full = true;
  }

  mayWrite(yes: boolean): void {
    const waiting = this.#waiting;
    if (!yes || !waiting) return;
    this.#waiting = null;
    waiting();
  }

  override _read(): void {
    if (!this.full) return;
    this.full = false;
    this.#wire.deliver(this);
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#wire.send(this, Buffer.from(chunk));
    if (this.#wire.peer(this).onTheWay < WINDOW_BYTES || this.lost) done();
    else this.#waiting = done;
  }

  override _final(done: () => void): void {
    this.ended = true;
    this.#wire.send(this, null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#wire.closed(this, error);
    done(error);
  }

  // What a socket can do beside, asked by libraries.
  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  setTimeout(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}
