/**
 * What connections to one file share while a process lives: the locks on the file, and the log's index in shared
 * memory with locks of its own. SQLite's contract for both, and nothing beside it.
 */
import { allocate, engine, heap, type Pointer } from "./sqlite-engine.ts";

export const LOCK = { none: 0, shared: 1, reserved: 2, pending: 3, exclusive: 4 } as const;

const SHM_SLOTS = 8;

/** One connection's part in it. */
export interface Holder {
  level: number;
  /** Slots of the index that it holds, a bit each. */
  sharedSlots: number;
  exclusiveSlots: number;
}

export class SharedFile {
  readonly #holders = new Set<Holder>();
  readonly #regions: Pointer[] = [];
  #mapped = 0;

  join(): Holder {
    const holder = { level: LOCK.none, sharedSlots: 0, exclusiveSlots: 0 };
    this.#holders.add(holder);
    return holder;
  }

  leave(holder: Holder): void {
    this.#holders.delete(holder);
  }

  /** False where another holds what stands against it. */
  lock(holder: Holder, level: number): boolean {
    if (holder.level >= level) return true;
    if (level === LOCK.shared) {
      if (this.#others(holder, (other) => other.level >= LOCK.pending)) return false;
    } else {
      if (this.#others(holder, (other) => other.level >= LOCK.reserved)) return false;
      if (level === LOCK.exclusive && this.#others(holder, (other) => other.level >= LOCK.shared)) {
        // Keeps new readers out while the present ones finish.
        holder.level = LOCK.pending;
        return false;
      }
    }
    holder.level = level;
    return true;
  }

  unlock(holder: Holder, level: number): void {
    holder.level = Math.min(holder.level, level);
  }

  isReserved(): boolean {
    for (const { level } of this.#holders) if (level >= LOCK.reserved) return true;
    return false;
  }

  /** The place of one region of the index, all zeros where it is new; 0 where there is none and none is wanted. */
  map(region: number, bytes: number, extend: boolean): Pointer {
    while (extend && this.#regions.length <= region) {
      const at = allocate(bytes);
      heap().fill(0, at, at + bytes);
      this.#regions.push(at);
    }
    return this.#regions[region] ?? 0;
  }

  mapped(): void {
    this.#mapped += 1;
  }

  /** The last one out takes the index with it, as closing does; after a crash all are out. */
  unmapped(): void {
    this.#mapped -= 1;
    if (this.#mapped > 0) return;
    for (const at of this.#regions) engine.sqlite3_free(at);
    this.#regions.length = 0;
  }

  lockSlots(holder: Holder, first: number, count: number, exclusive: boolean): boolean {
    const wanted = slots(first, count);
    const inTheWay = this.#others(
      holder,
      (other) => ((exclusive ? other.sharedSlots : 0) | other.exclusiveSlots) & wanted,
    );
    if (inTheWay) return false;
    if (exclusive) holder.exclusiveSlots |= wanted;
    else holder.sharedSlots |= wanted;
    return true;
  }

  unlockSlots(holder: Holder, first: number, count: number): void {
    const given = slots(first, count);
    holder.sharedSlots &= ~given;
    holder.exclusiveSlots &= ~given;
  }

  #others(holder: Holder, test: (other: Holder) => unknown): boolean {
    for (const other of this.#holders) if (other !== holder && test(other)) return true;
    return false;
  }
}

function slots(first: number, count: number): number {
  return (((1 << count) - 1) << first) & ((1 << SHM_SLOTS) - 1);
}
