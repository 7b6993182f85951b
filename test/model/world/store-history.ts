/**
 * A seeded run of what a gateway asks of its store, on any writer, and a record of what the store has said yes
 * to: that must be there ever after, whatever happens to the disk.
 */
import type { Random } from "../../../src/core/random.ts";
import type { Db } from "../../../src/queue/database.ts";
import { type BareWriter, NoRoom } from "../../support/bare-writer.ts";

const FLOWS = ["ordered", "loose"] as const;
const KEYS = ["a", "b", "c"] as const;
const FATES = ["delivered", "delivered", "delivered", "dead", "waiting", "unknown"] as const;
/** More than a page, so that some messages take several. */
const PAYLOAD_BYTES_MAX = 9000;

interface InTheAir {
  readonly lane: number;
  readonly seq: number;
  readonly attempts: number;
}

export class StoreHistory {
  readonly #random: Random;
  /** Finished messages are removed now and then: what was stored need not be there any more. */
  readonly #prunes: boolean;
  #writer!: BareWriter;
  /** By flow. */
  readonly #lanes = new Map<number, string>();
  #inTheAir: InTheAir[] = [];
  #nowMs = 1000;
  #count = 0;
  /** Ids that the store has taken. */
  readonly stored = new Set<string>();
  /** Ids that it was given, taken or not. */
  readonly offered = new Set<string>();
  /** Final states that it has recorded, by lane and sequence. */
  readonly settled = new Map<string, string>();
  /** Everything it has answered. */
  readonly replies: unknown[] = [];

  constructor(random: Random, options: { readonly prunes?: boolean } = {}) {
    this.#random = random;
    this.#prunes = options.prunes ?? false;
  }

  /** A gateway starts with this writer; whatever was in the air is not any more. */
  begin(writer: BareWriter): void {
    this.#writer = writer;
    this.#inTheAir = [];
    writer.registerFlows(FLOWS);
  }

  step(): void {
    this.#writer.steadyMs = this.#nowMs += this.#random.below(20);
    try {
      this.#do(this.#random.below(100));
    } catch (error) {
      if (!(error instanceof NoRoom)) throw error;
      this.replies.push("no room");
    }
  }

  #do(chance: number): void {
    if (chance < 50) this.#append();
    else if (chance < 70) this.#claim();
    else if (chance < 92 || !this.#prunes) this.#settle();
    else if (chance < 96) this.#prune();
    else if (chance < 98) this.#redrive();
    else this.#expire();
  }

  steps(count: number): void {
    for (let done = 0; done < count; done++) this.step();
  }

  /** What a store lacks of that to which it has said yes, or has and never was given; nothing in a good one. */
  complaints(db: Db): string[] {
    const ids = db.prepare("SELECT id FROM messages").pluck().all() as string[];
    const there = new Set(ids);
    const state = db.prepare("SELECT state FROM deliveries WHERE lane = ? AND seq = ?").pluck();
    const lost = [...this.stored].filter((id) => !there.has(id)).map((id) => `${id} is lost`);
    const made = ids.filter((id) => !this.offered.has(id)).map((id) => `${id} came from nowhere`);
    const forgotten = [...this.settled].filter(([delivery, was]) => state.get(delivery.split("/")) !== was);
    return [...lost, ...made, ...forgotten.map(([delivery, was]) => `${delivery} is not ${was} any more`)];
  }

  #pick<T>(of: readonly T[]): T {
    return of[this.#random.below(of.length)]!;
  }

  #append(): void {
    const identity = this.#random.below(5) === 0 ? `own-${this.#random.below(6)}` : null;
    const id = identity ?? `m${++this.#count}`;
    const both = this.#random.below(3) === 0;
    const flows = both ? FLOWS : [this.#pick(FLOWS)];
    const payload = new Uint8Array(this.#random.below(2) === 0 ? 40 : this.#random.below(PAYLOAD_BYTES_MAX));
    this.#random.fill(payload);
    this.offered.add(id);
    const key = this.#pick(KEYS);
    const reply = this.#writer.appendTo({ id, flows, key, identity, steadyAtMs: this.#nowMs, payload });
    this.replies.push(reply);
    this.stored.add(id);
    if (reply.kind !== "stored") return;
    for (const [at, lane] of reply.lanes.entries()) this.#lanes.set(lane!, flows[at]!);
  }

  #claim(): void {
    if (this.#lanes.size === 0) return;
    const [lane, flow] = this.#pick([...this.#lanes]);
    // As the relay does: what has no order is asked for again when the last call is settled.
    if (flow === "loose" && this.#inTheAir.some((delivery) => delivery.lane === lane)) return;
    const reply = this.#writer.claim(lane, 1 + this.#random.below(4), this.#nowMs, flow === "loose");
    this.replies.push(reply);
    for (const { message, attempts } of reply.deliveries) {
      this.#inTheAir.push({ lane, seq: message.seq, attempts });
    }
  }

  #settle(): void {
    if (this.#inTheAir.length === 0) return;
    const delivery = this.#pick(this.#inTheAir);
    const { lane, seq, attempts } = delivery;
    const state = this.#pick(FATES);
    const waits = state === "waiting" || state === "unknown";
    const dueAtMs = waits && this.#random.below(2) === 0 ? this.#nowMs + this.#random.below(50) : null;
    const resend = state === "unknown";
    this.#writer.settle([
      { lane, seq, state, attempts: attempts + 1, resend, dueAtMs, reason: state, note: state },
    ]);
    this.#inTheAir = this.#inTheAir.filter((other) => other !== delivery);
    if (!waits) this.settled.set(`${lane}/${seq}`, state);
  }

  #prune(): void {
    this.replies.push(
      this.#writer.call("prune", { nowMs: this.#nowMs, sweep: true, forRoom: this.#random.below(2) === 0 }),
    );
  }

  #redrive(): void {
    this.replies.push(this.#writer.call("redrive", { limit: 2 }));
  }

  #expire(): void {
    const expiry = { flow: this.#pick(FLOWS), beforeMs: this.#nowMs - 400, limit: 3 };
    this.replies.push(this.#writer.call("expire", expiry));
  }
}

/** Every row of every table. */
export function contentOf(db: Db): Record<string, unknown[]> {
  const tables = db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name")
    .pluck()
    .all() as string[];
  return Object.fromEntries(
    tables.map((name) => [name, db.prepare(`SELECT * FROM ${name} ORDER BY 1, 2`).all()]),
  );
}
