/**
 * Backends that misbehave on request: servers to run by hand, and the doubles that tests and scenarios use.
 *
 * Promise: the ledger tells the truth. Whatever a backend answers, or does not answer, `arrivals()` says
 * what came, what it took (`taken`) and what took effect (`effect`), so that a gateway's claims can be held
 * against it.
 */
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
  onArrival: ((arrival: Arrival) => void) | null = null;

  constructor(options: BackendOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#dedupe = options.dedupe ?? true;
  }

  record(what: Pick<Arrival, "id" | "device" | "topic" | "payload">, taken: boolean): Arrival {
    const known = this.#dedupe && what.id !== "" && this.#ids.has(what.id);
    const arrival = { ...what, at: this.#clock.wallMs(), taken, effect: taken && !known };
    if (taken && what.id !== "") this.#ids.add(what.id);
    this.#arrivals.push(arrival);
    this.onArrival?.(arrival);
    return arrival;
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  arrivals(): readonly Arrival[] {
    return this.#arrivals;
  }
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
