/**
 * The store as simply as it can be said: arrays in memory. What the real one does under any sequence of
 * commands is held against this.
 */
import { type DeliveryState, isOpen } from "../../src/core/outcome.ts";

export interface ModelDelivery {
  readonly seq: number;
  readonly id: string;
  readonly flow: string;
  readonly key: string;
  state: DeliveryState;
  attempts: number;
  resend: boolean;
  dueAtMs: number | null;
  readonly steadyAtMs: number;
  /** When a person put it back: it is as old as that. */
  renewedAtMs: number | null;
}

export interface ModelAppend {
  readonly id: string;
  readonly flows: readonly string[];
  readonly key: string;
  readonly identity: string | null;
  readonly steadyAtMs: number;
}

export class StoreModel {
  deliveries: ModelDelivery[] = [];
  /** Messages that are still there, in order. */
  messages: { readonly seq: number; readonly steadyAtMs: number }[] = [];
  readonly #identities = new Map<string, { id: string; seq: number }>();
  accepted = 0;
  duplicates = 0;
  #seq = 0;

  append({ id, flows, key, identity, steadyAtMs }: ModelAppend): { kind: string; seq: number; id?: string } {
    const original = identity === null ? undefined : this.#identities.get(identity);
    if (original) {
      this.duplicates += 1;
      return { kind: "duplicate", ...original };
    }
    const seq = ++this.#seq;
    this.accepted += 1;
    this.messages.push({ seq, steadyAtMs });
    if (identity !== null) this.#identities.set(identity, { id, seq });
    for (const flow of flows) {
      const fresh = {
        state: "waiting",
        attempts: 0,
        resend: false,
        dueAtMs: null,
        renewedAtMs: null,
      } as const;
      this.deliveries.push({ seq, id, flow, key, steadyAtMs, ...fresh });
    }
    return { kind: "stored", seq };
  }

  lane(flow: string, key: string): ModelDelivery[] {
    return this.deliveries.filter((d) => d.flow === flow && d.key === key).sort((a, b) => a.seq - b.seq);
  }

  open(flow: string, key: string): ModelDelivery[] {
    return this.lane(flow, key).filter(({ state }) => isOpen(state));
  }

  inTheAir(flow: string, key: string): ModelDelivery[] {
    return this.lane(flow, key).filter(({ state }) => state === "sending");
  }

  claim(flow: string, key: string, limit: number, nowMs: number, unordered: boolean): ModelDelivery[] {
    const open = this.open(flow, key);
    const mayGo = (d: ModelDelivery) =>
      d.state !== "sending" &&
      !(d.state === "unknown" && d.dueAtMs === null) &&
      (d.dueAtMs === null || d.dueAtMs <= nowMs);
    let taken: ModelDelivery[];
    if (unordered) {
      // Those that had to wait for their time first, by that time; then the fresh ones, by sequence.
      const due = open.filter((d) => d.dueAtMs !== null && mayGo(d));
      due.sort((a, b) => a.dueAtMs! - b.dueAtMs! || a.seq - b.seq);
      taken = [...due, ...open.filter((d) => d.dueAtMs === null && mayGo(d))].slice(0, limit);
    } else {
      const blocked = open.findIndex((d) => !mayGo(d));
      taken = open.slice(0, Math.min(limit, blocked < 0 ? open.length : blocked));
    }
    for (const d of taken) {
      d.state = "sending";
      d.dueAtMs = null;
    }
    return taken;
  }

  redrive(ids: readonly string[], nowMs: number): ModelDelivery[] {
    const redriven = this.deliveries.filter(
      (d) => ids.includes(d.id) && (d.state === "dead" || (d.state === "unknown" && d.dueAtMs === null)),
    );
    for (const d of redriven) {
      d.state = "waiting";
      d.attempts = 0;
      d.dueAtMs = null;
      d.renewedAtMs = nowMs;
    }
    return redriven;
  }

  expire(flow: string, beforeMs: number): number {
    const old = this.deliveries.filter(
      (d) => d.flow === flow && d.state === "waiting" && (d.renewedAtMs ?? d.steadyAtMs) < beforeMs,
    );
    for (const d of old) {
      d.state = "expired";
      d.dueAtMs = null;
    }
    return old.length;
  }

  /** Finished messages that are old enough leave; one that is needed anywhere stays. */
  prune(oldBeforeMs: number): number {
    const gone = new Set(
      this.messages
        .filter(({ seq, steadyAtMs }) => {
          const states = this.deliveries.filter((d) => d.seq === seq).map(({ state }) => state);
          return steadyAtMs <= oldBeforeMs && !states.some((state) => isOpen(state) || state === "dead");
        })
        .map(({ seq }) => seq),
    );
    this.messages = this.messages.filter(({ seq }) => !gone.has(seq));
    this.deliveries = this.deliveries.filter(({ seq }) => !gone.has(seq));
    return gone.size;
  }

  /** The process dies and starts again: nobody knows what became of what was in the air. */
  restart(): void {
    for (const d of this.deliveries) {
      if (d.state !== "sending") continue;
      d.state = "unknown";
      d.resend = true;
      d.dueAtMs = 0;
    }
  }
}
