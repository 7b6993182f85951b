/**
 * Backends that misbehave on request: servers to run by hand, and the doubles that tests and scenarios use.
 *
 * Promise: the ledger tells the truth. Whatever a backend answers, or does not answer, `arrivals()` says
 * what came, what it took (`taken`) and what took effect (`effect`), so that a gateway's claims can be held
 * against it.
 */
import { appendFileSync, existsSync, readFileSync, truncateSync } from "node:fs";
import { type Clock, systemClock } from "../../src/core/clock.ts";

/**
 * - ok: takes and says so.
 * - slow: as ok, after a delay.
 * - silent: reads everything, takes nothing, never answers (a half-open backend).
 * - drop: takes nothing and closes the connection.
 * - commit-then-silent: takes, never answers.
 * - commit-then-drop: takes, and closes the connection instead of answering.
 * - failing: takes nothing and says that it failed (HTTP 500; MQTT: refuses to connect).
 * - busy: takes nothing and asks to come later (HTTP 429 with Retry-After; MQTT 5: quota exceeded; 3.1.1: closes).
 * - reject-one: takes all but poison, which it refuses for good (HTTP 422; MQTT 5: payload format invalid; 3.1.1: closes).
 */
export const BACKEND_MODES = [
  "ok",
  "slow",
  "silent",
  "drop",
  "commit-then-silent",
  "commit-then-drop",
  "failing",
  "busy",
  "reject-one",
] as const;
export type BackendMode = (typeof BACKEND_MODES)[number];

export interface Arrival {
  /** What the backend tells messages apart by; empty where the message carried nothing of the kind. */
  readonly id: string;
  readonly device: string;
  readonly topic: string;
  readonly payload: Buffer;
  /** Epoch ms. */
  readonly at: number;
  /** The backend took it, whether or not it said so. */
  readonly taken: boolean;
  /** The first taken under its id. */
  readonly effect: boolean;
  /** The gateway's flow that brought it, where the message says so. */
  readonly flow?: string;
}

export interface Backend {
  /** Listens; port 0 picks a free one. */
  start(): Promise<{ readonly url: string }>;
  stop(): Promise<void>;
  readonly mode: BackendMode;
  setMode(mode: BackendMode): void;
  /** Every arrival, in order. */
  arrivals(): readonly Arrival[];
  onArrival: ((arrival: Arrival) => void) | null;
  /** Stops listening and cuts every connection, as when the machine is switched off. */
  goAway(): Promise<void>;
  /** Listens again on the same port, with its ledger and what it remembers. */
  comeBack(): Promise<void>;
}

export interface BackendOptions {
  readonly host?: string;
  /** 0: a free one. */
  readonly port?: number;
  readonly mode?: BackendMode;
  /** How long `slow` takes. */
  readonly slowMs?: number;
  /** What `busy` asks for. */
  readonly retryAfterS?: number;
  /** What `reject-one` refuses; default: a payload or topic with "poison" in it. */
  readonly isPoison?: (arrival: Pick<Arrival, "id" | "device" | "topic" | "payload">) => boolean;
  /** False for a backend that makes every arrival take effect, also one that it had before. */
  readonly dedupe?: boolean;
  /** For runs of hours: only about this many of the newest arrivals and ids are remembered. Default: all. */
  readonly kept?: number;
  /** A file for the ledger, read at the start: a backend that is killed remembers what it took, as a database does. */
  readonly ledger?: string;
  readonly clock?: Clock;
}

export function carriesPoison({ topic, payload }: Pick<Arrival, "topic" | "payload">): boolean {
  return topic.includes("poison") || payload.includes("poison");
}

/** What came, and what of it took effect. */
export class Ledger {
  readonly #arrivals: Arrival[] = [];
  readonly #ids = new Set<string>();
  readonly #clock: Clock;
  readonly #dedupe: boolean;
  readonly #kept: number;
  readonly #file: string | undefined;
  onArrival: ((arrival: Arrival) => void) | null = null;

  constructor(options: BackendOptions) {
    this.#kept = options.kept ?? Number.POSITIVE_INFINITY;
    this.#clock = options.clock ?? systemClock;
    this.#dedupe = options.dedupe ?? true;
    this.#file = options.ledger;
    if (this.#file === undefined || !existsSync(this.#file)) return;
    const { arrivals, bytes } = readLedger(readFileSync(this.#file));
    // What a kill has cut short was never answered.
    truncateSync(this.#file, bytes);
    for (const arrival of arrivals) this.#keep(arrival);
  }

  record(what: Pick<Arrival, "id" | "device" | "topic" | "payload">, taken: boolean): Arrival {
    const known = this.#dedupe && what.id !== "" && this.#ids.has(what.id);
    const arrival = { ...what, at: this.#clock.wallMs(), taken, effect: taken && !known };
    if (this.#file !== undefined) appendFileSync(this.#file, ledgerLine(arrival));
    this.#keep(arrival);
    this.onArrival?.(arrival);
    return arrival;
  }

  #keep(arrival: Arrival): void {
    if (arrival.taken && arrival.id !== "") this.#ids.add(arrival.id);
    this.#arrivals.push(arrival);
    if (this.#arrivals.length > 2 * this.#kept) this.#forget();
  }

  /** A set keeps its members in the order in which they came. */
  #forget(): void {
    this.#arrivals.splice(0, this.#arrivals.length - this.#kept);
    for (const id of this.#ids) {
      if (this.#ids.size <= this.#kept) break;
      this.#ids.delete(id);
    }
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  arrivals(): readonly Arrival[] {
    return this.#arrivals;
  }
}

function ledgerLine(arrival: Arrival): string {
  return `${JSON.stringify({ ...arrival, payload: arrival.payload.toString("base64") })}\n`;
}

/** The arrivals in a ledger's file, or in a part of it that begins with a line, and where its last whole line ends. */
export function readLedger(file: Buffer): { readonly arrivals: Arrival[]; readonly bytes: number } {
  const bytes = file.lastIndexOf("\n") + 1;
  const lines = file.toString("utf8", 0, bytes).split("\n").slice(0, -1);
  const arrivals = lines.map((line) => {
    const { payload, ...rest } = JSON.parse(line);
    return { ...rest, payload: Buffer.from(payload, "base64") } as Arrival;
  });
  return { arrivals, bytes };
}

/** The id, device and topic in a JSON body: our envelope, a CloudEvent, or anything with an `id`. */
export function identifyJson(payload: Buffer): { id?: string; device?: string; topic?: string } {
  if (payload[0] !== 0x7b) return {};
  try {
    return identifyObject(JSON.parse(payload.toString("utf8")));
  } catch {
    return {};
  }
}

export function identifyObject(object: unknown): { id?: string; device?: string; topic?: string } {
  const fields = (object ?? {}) as Record<string, unknown>;
  const text = (value: unknown) =>
    typeof value === "string" ? value : typeof value === "number" ? String(value) : undefined;
  return {
    id: text(fields.id),
    device: text(fields.device),
    topic: text(fields.topic) ?? text(fields.subject),
  };
}
