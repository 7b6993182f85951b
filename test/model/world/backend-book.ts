/** What took effect at a simulated backend, which is a database: what it has committed it never forgets. */
import type { Reading, WorldLedger } from "./ledger.ts";

export interface Effect {
  readonly reading: Reading;
  readonly atMs: number;
}

/** How a backend treats a message that it is given. */
export type BackendMode =
  | "well"
  /** Closes the connection without having done anything… */
  | "drops"
  /** …after having committed it… */
  | "commits-then-drops"
  /** …or commits it and never answers. */
  | "commits-then-silent"
  | "commits-then-garbage"
  /** Says that it failed, though it has committed it. */
  | "commits-then-lies"
  | "busy"
  | "fails"
  | "slow";

export class BackendBook {
  readonly effects: Effect[] = [];
  /** Copies recognised by their id. */
  copies = 0;
  /** Messages that no machine sent, and readings doubled: in sentences. */
  readonly findings: string[] = [];
  /** Readings that took effect after a later one of their lane, which is right for what a person has put back. */
  readonly disorders: { readonly reading: Reading; readonly after: number }[] = [];
  /** Called after a message was committed and before it is answered. */
  onCommit: (id: string) => void = () => {};
  readonly #name: string;
  readonly #ledger: WorldLedger;
  readonly #known = new Set<string>();
  readonly #last = new Map<string, number>();
  readonly #done = new Set<string>();

  constructor(name: string, ledger: WorldLedger) {
    this.#name = name;
    this.#ledger = ledger;
  }

  /** True for a message that the backend refuses for good. */
  refuses(payload: string): boolean {
    return this.#ledger.isPoison(payload);
  }

  has(reading: Reading): boolean {
    return this.#done.has(reading.id);
  }

  /** Makes it take effect, once under one id. */
  commit(id: string, payload: string, atMs: number): void {
    if (this.#known.has(id)) {
      this.copies++;
      return;
    }
    this.#known.add(id);
    const reading = this.#ledger.find(payload);
    if (!reading) {
      this.findings.push(`${this.#name} got a message that no machine sent: ${payload}`);
      return;
    }
    this.effects.push({ reading, atMs });
    if (this.#done.has(reading.id)) {
      this.findings.push(`${reading.id} took effect twice at ${this.#name}, the second time as ${id}`);
    }
    this.#done.add(reading.id);
    const last = this.#last.get(reading.device) ?? 0;
    if (reading.n < last) this.disorders.push({ reading, after: last });
    this.#last.set(reading.device, Math.max(last, reading.n));
    this.onCommit(reading.id);
  }
}
