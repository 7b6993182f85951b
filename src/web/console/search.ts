/** A search for messages: pages as they are read, and where the gateway's budget ended one. */
import { signal } from "@preact/signals";
import type { MessageBrief } from "../../queue/queries-search.ts";
import { api, said } from "./api.ts";

const PAGE = 100;

export const FILTERS = ["id", "device", "flow", "state", "topic", "text", "from", "to"] as const;
export type Filter = Partial<Record<(typeof FILTERS)[number], string>>;

export interface SearchState {
  readonly messages: readonly MessageBrief[];
  readonly error: string | null;
  readonly reading: boolean;
  /** Cursor of what was not looked at yet; null where there is nothing older. */
  readonly next: string | null;
  /** False where the last page ended because looking had taken long enough. */
  readonly complete: boolean;
  readonly examinedToMs: number | null;
}

const NOTHING: SearchState = {
  messages: [],
  error: null,
  reading: false,
  next: null,
  complete: true,
  examinedToMs: null,
};

export class MessageSearch {
  readonly #filter: Filter;
  readonly state = signal<SearchState>({ ...NOTHING, reading: true });
  #begun = false;
  #busy = false;

  constructor(filter: Filter) {
    this.#filter = filter;
  }

  async readAnew(): Promise<void> {
    this.#begun = false;
    await this.readOn();
  }

  async readOn(): Promise<void> {
    const before = this.#begun ? this.state.value : NOTHING;
    if (this.#busy || (this.#begun && before.next === null)) return;
    this.#busy = true;
    this.state.value = { ...this.state.value, reading: true };
    try {
      const page = await api.messages({
        ...this.#filter,
        from: timeOf(this.#filter.from),
        to: timeOf(this.#filter.to),
        after: before.next ?? undefined,
        limit: PAGE,
      });
      const { messages, next, complete, examinedToMs } = page;
      const all = [...before.messages, ...messages];
      this.state.value = { messages: all, error: null, reading: false, next, complete, examinedToMs };
      this.#begun = true;
    } catch (error) {
      this.state.value = { ...this.state.value, reading: false, error: said(error) };
    } finally {
      this.#busy = false;
    }
  }
}

/** What a field for a time holds is local; the gateway is asked in epoch ms. */
function timeOf(local: string | undefined): number | undefined {
  if (!local) return undefined;
  const ms = Date.parse(local);
  return Number.isNaN(ms) ? undefined : ms;
}
