/**
 * One file of the simulated disk: what programs read, and beside it the log of what a sync has not made durable
 * yet, from which a power cut draws what is left.
 *
 * A cut decides in two steps, as a journalling file system does. Sizes belong to the metadata and come back as
 * of one moment; content belongs to the sectors, and each sector comes back as of a moment of its own, perhaps
 * with half of the next write in it. Bytes outside of a write are never touched by it (SQLite calls that
 * powersafe overwrite, and takes it for granted on Linux).
 */
import type { Random } from "../../../src/core/random.ts";
import { giveBytes, takeBytes } from "./byte-pool.ts";

type Fate = "open" | "doubtful" | "settled";

interface Change {
  readonly truncates: boolean;
  readonly offset: number;
  /** Bytes written, or taken away by a truncation. */
  readonly length: number;
  /** Where the file's past has what they were before, as far as the file went. */
  readonly pastFrom: number;
  readonly pastTo: number;
  readonly sizeBefore: number;
  readonly sizeAfter: number;
  /** Doubtful after a failed sync: no later sync brings it to the disk, as on Linux. */
  fate: Fate;
}

/** How a cut treats what is open: worst cases are worth more than a fair mixture. */
type Mood = "lost" | "kept" | "in order" | "scattered";
const MOODS: readonly Mood[] = ["lost", "kept", "in order", "scattered", "scattered", "scattered"];

/** Of sectors that were allocated and never written, how many hold junk in the moods that have any: 1 in … */
const JUNK_ONE_IN = 4;
/** Of sectors that are not at their last version, how many have a torn write in them: 1 in … */
const TORN_ONE_IN = 3;

const NOTHING: Uint8Array = new Uint8Array(0);

export class SimFile {
  /** Beyond the size there can be anything. */
  #bytes: Uint8Array;
  #size: number;
  /** Another file has the same bytes: to be copied before they are changed. */
  #borrowed: boolean;
  #log: Change[] = [];
  #doubts = false;
  /** What the changes in the log have overwritten, one after the other. */
  #past = NOTHING;
  #pastUsed = 0;
  /** Its name is on the disk: a cut cannot take the file away. */
  linked = false;

  constructor(content: Uint8Array = NOTHING) {
    this.#bytes = content;
    this.#size = content.length;
    this.#borrowed = true;
  }

  /** With the same content, all of it durable. Costs nothing until one of the two is written to. */
  copy(): SimFile {
    this.#borrowed = true;
    return new SimFile(this.content);
  }

  get size(): number {
    return this.#size;
  }

  /** What programs read; valid until the next write. */
  get content(): Uint8Array {
    return this.#bytes.subarray(0, this.#size);
  }

  /** Returns how many bytes there were to read. */
  read(target: Uint8Array, offset: number): number {
    const length = Math.max(0, Math.min(target.length, this.#size - offset));
    if (length > 0) target.set(this.#bytes.subarray(offset, offset + length));
    return length;
  }

  write(bytes: Uint8Array, offset: number): void {
    const end = offset + bytes.length;
    this.#note(false, offset, bytes.length, Math.max(this.#size, end));
    if (this.#borrowed || end > this.#bytes.length) this.#grow(end);
    if (offset > this.#size) this.#bytes.fill(0, this.#size, offset);
    this.#bytes.set(bytes, offset);
    this.#size = Math.max(this.#size, end);
  }

  truncate(size: number): void {
    if (size >= this.#size) return;
    this.#note(true, size, this.#size - size, size);
    if (this.#borrowed) this.#grow(this.#size);
    this.#size = size;
  }

  sync(): void {
    this.linked = true;
    if (this.#doubts) this.#settle("settled");
    else this.#forget();
  }

  failSync(): void {
    if (this.#log.length === 0) return;
    this.#doubts = true;
    this.#settle("doubtful");
  }

  cut(random: Random, sectorBytes: number): void {
    if (this.#log.length === 0) return;
    if (this.#borrowed) this.#grow(this.#bytes.length);
    new Cut(this.#log, random, sectorBytes).decide((log) => this.#undo(log));
    this.#doubts = false;
    this.#forget();
  }

  /** It is empty from here on, and its memory another one's. */
  release(): void {
    if (!this.#borrowed) giveBytes(this.#bytes);
    giveBytes(this.#past);
    this.#bytes = NOTHING;
    this.#past = NOTHING;
    this.#size = 0;
    this.#borrowed = true;
    this.#forget();
  }

  #forget(): void {
    if (this.#log.length > 0) this.#log = [];
    this.#pastUsed = 0;
  }

  #note(truncates: boolean, offset: number, length: number, sizeAfter: number): void {
    const known = Math.max(0, Math.min(length, this.#size - offset));
    const pastFrom = this.#pastUsed;
    const pastTo = pastFrom + known;
    if (pastTo > this.#past.length) {
      const past = enlarged(this.#past, pastFrom, pastTo);
      giveBytes(this.#past);
      this.#past = past;
    }
    if (known > 0) this.#past.set(this.#bytes.subarray(offset, offset + known), pastFrom);
    this.#pastUsed = pastTo;
    this.#log.push({
      truncates,
      offset,
      length,
      pastFrom,
      pastTo,
      sizeBefore: this.#size,
      sizeAfter,
      fate: "open",
    });
  }

  #settle(fate: Fate): void {
    for (const change of this.#log) if (change.fate === "open") change.fate = fate;
  }

  #grow(size: number): void {
    const bytes = enlarged(this.#bytes, this.#size, size);
    if (!this.#borrowed) giveBytes(this.#bytes);
    this.#bytes = bytes;
    this.#borrowed = false;
  }

  /** Goes back to what is durable for certain or was before it; returns what each change had written. */
  #undo(log: readonly Change[]): Undone {
    const written: Uint8Array[] = [];
    for (let at = log.length - 1; at >= 0; at--) {
      const { offset, length, pastFrom, pastTo, truncates } = log[at]!;
      written[at] = truncates ? NOTHING : this.#bytes.slice(offset, offset + length);
      this.#bytes.set(this.#past.subarray(pastFrom, pastTo), offset);
      this.#bytes.fill(0, offset + pastTo - pastFrom, offset + length);
    }
    return {
      bytes: this.#bytes,
      written,
      resize: (size) => {
        this.#size = size;
      },
    };
  }
}

function enlarged(bytes: Uint8Array, used: number, needed: number): Uint8Array {
  const larger = takeBytes(Math.max(needed, used));
  larger.set(bytes.subarray(0, used));
  return larger;
}

interface Undone {
  readonly bytes: Uint8Array;
  readonly written: readonly Uint8Array[];
  readonly resize: (size: number) => void;
}

/** What a power cut makes of a log. */
class Cut {
  readonly #log: readonly Change[];
  readonly #random: Random;
  readonly #sectorBytes: number;
  readonly #mood: Mood;
  readonly #junk: boolean;
  /** Changes before this one have reached the disk's sizes; in the mood "in order", also its content. */
  readonly #reached: number;
  /** In the mood "in order", how much of the next write has. */
  readonly #tornBytes: number;

  constructor(log: readonly Change[], random: Random, sectorBytes: number) {
    this.#log = log;
    this.#random = random;
    this.#sectorBytes = sectorBytes;
    this.#mood = MOODS[random.below(MOODS.length)]!;
    this.#junk = random.below(2) === 1;
    const settled = log.findLastIndex(({ fate }) => fate === "settled") + 1;
    if (this.#mood === "lost") this.#reached = settled;
    else if (this.#mood === "kept") this.#reached = log.length;
    else this.#reached = settled + random.below(log.length - settled + 1);
    this.#tornBytes = this.#reached < log.length ? random.below(log[this.#reached]!.length + 1) : 0;
  }

  decide(undo: (log: readonly Change[]) => Undone): void {
    const { bytes, written, resize } = undo(this.#log);
    const sizeOnce = this.#log[0]!.sizeBefore;
    const size = this.#reached === 0 ? sizeOnce : this.#log[this.#reached - 1]!.sizeAfter;
    const bySector = this.#changesBySector();
    for (const sector of [...bySector.keys()].sort((a, b) => a - b)) {
      const changes = bySector.get(sector)!;
      const start = sector * this.#sectorBytes;
      const kept = this.#versionOf(changes);
      for (const at of changes.slice(0, kept)) this.#apply(bytes, start, at, written[at]!);
      if (kept === 0 && start >= sizeOnce) this.#soil(bytes, start, size);
      const next = changes[kept];
      if (next !== undefined) this.#tear(bytes, start, next, written[next]!);
    }
    resize(size);
  }

  #changesBySector(): Map<number, number[]> {
    const bySector = new Map<number, number[]>();
    for (const [at, { offset, length }] of this.#log.entries()) {
      const last = Math.floor((offset + length - 1) / this.#sectorBytes);
      for (let sector = Math.floor(offset / this.#sectorBytes); sector <= last; sector++) {
        const changes = bySector.get(sector);
        if (changes) changes.push(at);
        else bySector.set(sector, [at]);
      }
    }
    return bySector;
  }

  /** How many of the changes to a sector are on the disk. */
  #versionOf(changes: readonly number[]): number {
    let least = 0;
    let most = changes.length;
    for (const [position, at] of changes.entries()) {
      const { fate, truncates } = this.#log[at]!;
      if (fate === "settled") least = position + 1;
      if (!truncates) continue;
      // A truncation belongs to the metadata: what is written after one that is lost is lost with it.
      if (at < this.#reached) least = position + 1;
      else most = Math.min(most, position);
    }
    if (this.#mood === "lost") return least;
    if (this.#mood === "kept") return most;
    if (this.#mood === "in order") {
      const inOrder = changes.filter((at) => at < this.#reached).length;
      return Math.max(least, Math.min(most, inOrder));
    }
    return least + this.#random.below(most - least + 1);
  }

  #apply(bytes: Uint8Array, start: number, at: number, written: Uint8Array, bytesMax = Infinity): void {
    const { offset, length, truncates } = this.#log[at]!;
    const from = Math.max(start, offset);
    const to = Math.min(start + this.#sectorBytes, offset + Math.min(length, bytesMax));
    if (to <= from) return;
    if (truncates) bytes.fill(0, from, to);
    else bytes.set(written.subarray(from - offset, to - offset), from);
  }

  #tear(bytes: Uint8Array, start: number, at: number, written: Uint8Array): void {
    const { offset, truncates } = this.#log[at]!;
    if (truncates) return;
    if (this.#mood === "in order") {
      if (at === this.#reached) this.#apply(bytes, start, at, written, this.#tornBytes);
    } else if (this.#mood === "scattered" && this.#random.below(TORN_ONE_IN) === 0) {
      const here = Math.max(start, offset) - offset;
      this.#apply(bytes, start, at, written, here + this.#random.below(this.#sectorBytes));
    }
  }

  /** A sector that belongs to the file since the metadata say so, and holds what was there before. */
  #soil(bytes: Uint8Array, start: number, size: number): void {
    const end = Math.min(start + this.#sectorBytes, size);
    if (this.#junk && end > start && this.#random.below(JUNK_ONE_IN) === 0) {
      this.#random.fill(bytes.subarray(start, end));
    }
  }
}
