/** Dead letters as they are read page by page, of one flow or reason or all. */
import { signal } from "@preact/signals";
import type { DeadLetter } from "../../queue/queries-failures.ts";
import type { Failures } from "../../queue/queries-reasons.ts";
import { api, said } from "./api.ts";

const PAGE = 500;

export interface DeadFilter {
  readonly flow?: string;
  readonly reason?: string;
}

export class DeadList {
  readonly filter: DeadFilter;
  readonly letters = signal<readonly DeadLetter[]>([]);
  /** Of the flow, whatever the reason; null before the first answer. */
  readonly reasons = signal<Failures | null>(null);
  readonly error = signal<string | null>(null);
  #next: string | null | undefined;
  #reading = false;

  constructor(filter: DeadFilter) {
    this.filter = filter;
  }

  get exhausted(): boolean {
    return this.#next === null;
  }

  /** How many this list has, read or not. */
  get total(): number {
    const reasons = this.reasons.value;
    if (!reasons || this.filter.reason === undefined) return reasons?.count ?? 0;
    return (
      reasons.groups.find(({ reason }) => reason === this.filter.reason)?.count ?? this.letters.value.length
    );
  }

  /** From the beginning; what is shown stays until the answer is there. */
  async readAnew(): Promise<void> {
    this.#next = undefined;
    await this.readOn();
  }

  async readOn(): Promise<void> {
    if (this.#reading || this.exhausted) return;
    this.#reading = true;
    const from = this.#next;
    try {
      const page = await api.dead({ ...this.filter, after: from ?? undefined, limit: PAGE });
      this.letters.value = from === undefined ? page.letters : [...this.letters.value, ...page.letters];
      this.reasons.value = page.reasons;
      this.#next = page.next;
      this.error.value = null;
    } catch (error) {
      this.error.value = said(error);
    } finally {
      this.#reading = false;
    }
  }
}
