/**
 * What happened to the gateway, as a list that people read from its end: circuits, the store, problems that came and
 * went, devices on and off, what a person did.
 *
 * Kept in memory alone, the newest of each sort, since this run's start: what must outlast it is in the store (a
 * message's history, the acts of people). Devices have a bound of their own, so that a flapping one does not push
 * out what else happened.
 */
import type { Clock } from "../core/clock.ts";
import type { HealthReport } from "./health.ts";
import type { DeviceFacts } from "./sources.ts";

const OTHERS_KEPT_MAX = 1000;
const DEVICES_KEPT_MAX = 1000;

export const EVENT_KINDS = [
  "started",
  "store",
  "circuit",
  "problem",
  "over",
  "online",
  "offline",
  "act",
  "notification",
  "job",
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

export interface GatewayEvent {
  /** Grows with each event; `<boot>-<number>`, so that an id of another run is told as such. */
  readonly id: string;
  /** Wall clock, epoch ms. */
  readonly atMs: number;
  readonly kind: EventKind;
  readonly severity: "info" | "attention" | "alarm";
  /** The target, device, problem or person it is about. */
  readonly subject: string | null;
  readonly sentence: string;
}

type Told = Pick<GatewayEvent, "kind" | "severity" | "subject" | "sentence">;

export class Events {
  readonly #clock: Clock;
  readonly #prefix: string;
  readonly #others: GatewayEvent[] = [];
  readonly #devices: GatewayEvent[] = [];
  readonly #online = new Map<string, boolean>();
  #number = 0;
  #report: Pick<HealthReport, "problems" | "targets" | "store"> | undefined;
  readonly sinceMs: number;
  /** Called with each event as it is told. */
  onEvent: (event: GatewayEvent) => void = () => {};

  constructor(clock: Clock, boot: string) {
    this.#clock = clock;
    this.#prefix = boot.slice(0, 8);
    this.sinceMs = clock.wallMs();
  }

  tell(told: Told): void {
    const id = `${this.#prefix}-${++this.#number}`;
    const event = { id, atMs: this.#clock.wallMs(), ...told };
    const isDevice = told.kind === "online" || told.kind === "offline";
    const ring = isDevice ? this.#devices : this.#others;
    ring.push(event);
    if (ring.length > (isDevice ? DEVICES_KEPT_MAX : OTHERS_KEPT_MAX)) ring.shift();
    this.onEvent(event);
  }

  /** What is kept, oldest first. */
  all(): GatewayEvent[] {
    return [...this.#others, ...this.#devices].sort((a, b) => numberOf(a.id) - numberOf(b.id));
  }

  /** What came after the event of that id; null where that is not known: of another run, or no longer kept. */
  after(id: string): GatewayEvent[] | null {
    const number = numberOf(id);
    const ofThisRun = id === `${this.#prefix}-${number}` && number <= this.#number;
    if (!ofThisRun) return null;
    const later = this.all().filter((event) => numberOf(event.id) > number);
    // Numbers have no holes, so one that is missing was pushed out.
    return later.length === this.#number - number ? later : null;
  }

  get lastId(): string {
    return `${this.#prefix}-${this.#number}`;
  }

  /** Once a look, with what is so now: tells what differs from the look before. */
  compare(report: HealthReport, devices: Iterable<DeviceFacts>): void {
    const before = this.#report;
    this.#report = report;
    if (before) this.#compareReports(before, report);
    else for (const problem of report.problems) this.#problem(problem);
    const seen = new Set<string>();
    for (const { device, online } of devices) {
      seen.add(device);
      this.#device(device, online);
    }
    if (this.#online.size <= seen.size) return;
    for (const device of this.#online.keys()) if (!seen.has(device)) this.#online.delete(device);
  }

  #compareReports(before: Pick<HealthReport, "problems" | "targets" | "store">, now: HealthReport): void {
    if (before.store.state !== now.store.state) {
      const severity = now.store.state === "ok" ? "info" : "alarm";
      const sentence = STORE_SENTENCES[now.store.state];
      this.tell({ kind: "store", severity, subject: null, sentence });
    }
    for (const { target, circuit, lastError } of now.targets) {
      const known = before.targets.find((each) => each.target === target);
      if (!known || known.circuit === circuit) continue;
      const why = circuit === "open" ? `: ${lastError}` : "";
      const sentence = `${CIRCUIT_SENTENCES[circuit](target)}${why}`;
      this.tell({
        kind: "circuit",
        severity: circuit === "open" ? "attention" : "info",
        subject: target,
        sentence,
      });
    }
    for (const problem of now.problems) {
      if (!before.problems.some(({ key }) => key === problem.key)) this.#problem(problem);
    }
    for (const { key, sentence } of before.problems) {
      if (now.problems.some((problem) => problem.key === key)) continue;
      this.tell({ kind: "over", severity: "info", subject: key, sentence: `over: ${sentence}` });
    }
  }

  #problem({ key, severity, sentence }: HealthReport["problems"][number]): void {
    this.tell({ kind: "problem", severity, subject: key, sentence });
  }

  #device(device: string, online: boolean): void {
    const known = this.#online.get(device);
    if (known === online) return;
    this.#online.set(device, online);
    if (known === undefined && !online) return;
    const kind = online ? "online" : "offline";
    this.tell({ kind, severity: "info", subject: device, sentence: `device ${device} is ${kind}` });
  }
}

const STORE_SENTENCES = {
  ok: "the store has room again: messages are taken",
  full: "the store has no room: senders wait for their acknowledgement",
  failed: "the store has failed: nothing is acknowledged",
} as const;

const CIRCUIT_SENTENCES = {
  open: (target: string) => `target ${target} is away`,
  "half-open": (target: string) => `target ${target} answers a probe: one message is tried`,
  closed: (target: string) => `target ${target} takes messages again`,
} as const;

function numberOf(id: string): number {
  return Number(id.slice(id.lastIndexOf("-") + 1));
}
