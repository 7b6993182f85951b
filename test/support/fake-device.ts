/**
 * A device that can be commanded and misbehaves on request, with a ledger of what it did: what the `device` target
 * says of a command can be held against it. Each command it is given twice it does once, by its id, unless `forgetful`.
 *
 *   silent, drop                         the command is sent and lost on the way: nothing is done, and nothing answered
 *   commit-then-silent, commit-then-drop it is done, and the answer lost
 *   reject-one                           a value of "poison" is answered with a no
 */
import type { Arrival, Backend, BackendMode } from "../../simulators/backends/backend.ts";
import { Ledger } from "../../simulators/backends/backend.ts";
import { sleep, systemClock } from "../../src/core/clock.ts";
import type {
  Command,
  CommandableSignal,
  Commanded,
  CommandOutcome,
  ProbeOutcome,
} from "../../src/core/command.ts";

const PATIENCE_MS = 200;

export interface FakeDeviceOptions {
  readonly signals?: readonly Partial<CommandableSignal>[];
  readonly forgetful?: boolean;
  /** How long it is waited for an answer. */
  readonly patienceMs?: number;
}

export class FakeDevice implements Commanded, Backend {
  mode: BackendMode = "ok";
  away = false;
  /** Answers in place of its mode. */
  script: ((command: Command, onSent: () => void, signal: AbortSignal) => Promise<CommandOutcome>) | null =
    null;
  probing: ((command: Command) => ProbeOutcome) | null = null;
  readonly #ledger: Ledger;
  readonly #options: FakeDeviceOptions;
  readonly #signals: readonly CommandableSignal[];

  constructor(options: FakeDeviceOptions = {}) {
    const { signals = [{}], forgetful = false } = options;
    this.#ledger = new Ledger({ dedupe: !forgetful });
    this.#options = options;
    this.#signals = signals.map((changes) => {
      return { signal: "speed", type: "float32", idempotent: true, verifiable: true, ...changes };
    });
  }

  commandable(): ReadonlyMap<string, readonly CommandableSignal[]> {
    return new Map([["press-7", this.#signals]]);
  }

  refusal({ value }: Command): ReturnType<Commanded["refusal"]> {
    const tooMuch = typeof value === "number" && value > 1000;
    return tooMuch ? { rule: "devices.press-7.write.speed.max", reason: `${value} is above 1000` } : null;
  }

  async execute(command: Command, onSent: () => void, signal: AbortSignal): Promise<CommandOutcome> {
    if (this.script) return this.script(command, onSent, signal);
    if (this.away) return { kind: "unreachable", reason: "ECONNREFUSED 10.0.0.5:502" };
    onSent();
    const { mode } = this;
    const takes = mode !== "silent" && mode !== "drop";
    const isPoison = mode === "reject-one" && command.value === "poison";
    this.#ledger.record(arrivalOf(command), takes && !isPoison);
    if (isPoison) return { kind: "failed", reason: "illegal data value" };
    if (mode === "slow") await sleep(systemClock, 20);
    if (mode === "ok" || mode === "slow" || mode === "reject-one") {
      return { kind: "verified", evidence: "read back", value: command.value };
    }
    if (mode.endsWith("silent")) await sleep(systemClock, this.#options.patienceMs ?? PATIENCE_MS, signal);
    return { kind: "unknown", reason: "no answer in time" };
  }

  async probe(command: Command): Promise<ProbeOutcome> {
    if (this.probing) return this.probing(command);
    if (this.away) return { kind: "cannot say", reason: "ECONNREFUSED 10.0.0.5:502" };
    const done = this.#ledger.arrivals().some(({ id, taken }) => id === command.id && taken);
    return done ? { kind: "done", evidence: "read back" } : { kind: "not done", evidence: "read back" };
  }

  async start() {
    return { url: "device://press-7" };
  }

  async stop() {}

  setMode(mode: BackendMode): void {
    this.mode = mode;
  }

  arrivals(): readonly Arrival[] {
    return this.#ledger.arrivals();
  }

  get onArrival() {
    return this.#ledger.onArrival;
  }

  set onArrival(listener: ((arrival: Arrival) => void) | null) {
    this.#ledger.onArrival = listener;
  }

  async goAway() {
    this.away = true;
  }

  async comeBack() {
    this.away = false;
  }
}

function arrivalOf({ id, device, signal, value }: Command) {
  return { id, device, topic: signal, payload: Buffer.from(JSON.stringify({ n: value, value })) };
}
