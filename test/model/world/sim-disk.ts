/**
 * A disk in memory that breaks on demand, for SQLite to run on (sim-sqlite.ts).
 *
 * A write is in the page cache at once and on the disk after a sync of its file. A crash keeps the page cache; a
 * power cut keeps what was synced and an arbitrary part of the rest (sim-file.ts). Either way whoever had the
 * disk open is dead: nothing of theirs reaches it any more. All chance is passed in, and nothing here knows the
 * time, so that the same seed gives the same bytes.
 *
 * Names of files are paths, in one folder that is synced with the first sync of a new file: only then is its name on
 * the disk, and are those that were deleted gone for certain.
 */
import { createHash } from "node:crypto";
import type { Random } from "../../../src/core/random.ts";
import { SimFile } from "./sim-file.ts";

export interface SimDiskOptions {
  /** For SQLite's own use (the salts of its log); chance of a power cut is given to cut(). */
  readonly random: Random;
  /** What SQLite takes for the wall clock, epoch ms; stands still at 0 unless told. */
  readonly wallMs?: () => number;
  /** What a power cut keeps or loses as a whole. */
  readonly sectorBytes?: 512 | 4096;
}

export type AccessKind = "read" | "write" | "sync" | "truncate" | "create" | "delete";

export interface Access {
  readonly kind: AccessKind;
  readonly file: string;
  /** Where it reads or writes; the size to be of a truncation. */
  readonly offset: number;
  readonly bytes: number;
}

/** Dies at exactly this point, where the hook `before` throws it; what calls on a dead store throw. */
export class CrashError extends Error {}

/** Whether this is a crash, or what someone who met one on the way made of it. */
export function isCrash(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof CrashError) return true;
  return false;
}

/** The disk's answer to one access; SQLite hears the code that the system call would have had. */
export class DiskFault extends Error {
  readonly kind: "full" | "io";

  constructor(kind: "full" | "io") {
    super(kind === "full" ? "no room left on the disk" : "input/output error");
    this.kind = kind;
  }
}

/** Who has the disk open, and is told that it is dead. */
export interface DiskUser {
  lost(reason: Error): void;
}

type FailingKind = "read" | "write" | "sync" | "truncate";

export interface Fault {
  readonly kind: FailingKind;
  readonly file: string;
}

const PLURAL = { read: "reads", write: "writes", sync: "syncs", truncate: "truncates" } as const;

export class SimDisk {
  readonly random: Random;
  readonly wallMs: () => number;
  readonly sectorBytes: number;
  /** What all files together may have; a write past it takes what there is room for, and fails. */
  roomBytes = Number.POSITIVE_INFINITY;
  /** Says that a sync is done, and makes nothing durable. */
  liesAboutSync = false;
  /** Called before each access but reads. What it throws is the death of whoever has the disk open. */
  before: ((access: Access) => void) | null = null;
  readonly counts = { reads: 0, writes: 0, syncs: 0, truncates: 0 };
  /** The access that failed last; null again for whoever sets it so. */
  lastFault: Fault | null = null;
  /** Goes up whenever all users die: who opened in an earlier one is not let in any more. */
  epoch = 0;
  readonly #files = new Map<string, SimFile>();
  /** Deleted, but not for certain yet: a power cut may bring them back. */
  readonly #deleted = new Map<string, SimFile>();
  readonly #users = new Set<DiskUser>();
  readonly #failing: Record<FailingKind, number[]> = { read: [], write: [], sync: [], truncate: [] };
  #usedBytes = 0;

  constructor(options: SimDiskOptions) {
    this.random = options.random;
    this.wallMs = options.wallMs ?? (() => 0);
    this.sectorBytes = options.sectorBytes ?? 512;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** The n-th such access from now on fails, once. A failed sync leaves in doubt, for good, what it was to save. */
  fail(kind: FailingKind, nth = 1): void {
    this.#failing[kind].push(this.counts[PLURAL[kind]] + nth);
  }

  /** Takes back the failures that have not come yet. */
  mend(): void {
    for (const kind of Object.values(this.#failing)) kind.length = 0;
  }

  /** The process is killed: all that was written stays. */
  crash(): void {
    this.die(new CrashError("the process was killed"));
  }

  /** The power goes: what was synced stays, and of the rest an arbitrary part. */
  cut(random: Random): void {
    this.die(new CrashError("the power was cut"));
    for (const name of [...new Set([...this.#files.keys(), ...this.#deleted.keys()])].sort()) {
      const file = this.#files.get(name);
      const deleted = this.#deleted.get(name);
      const stays = file !== undefined && (file.linked || random.below(2) === 1);
      const returns = !stays && deleted !== undefined && random.below(2) === 1;
      const left = stays ? file : returns ? deleted : undefined;
      left?.cut(random, this.sectorBytes);
      for (const gone of [file, deleted]) if (gone !== left) gone?.release();
      if (left) this.#files.set(name, left);
      else this.#files.delete(name);
    }
    this.#deleted.clear();
    this.#settle();
  }

  /** A disk of its own with the same content, all of it durable; nobody has it open, and it has no faults. */
  clone(options: SimDiskOptions): SimDisk {
    const copy = new SimDisk(options);
    for (const [name, file] of this.#files) copy.#files.set(name, file.copy());
    copy.#settle();
    return copy;
  }

  /** The world is over: nobody asks this disk anything any more. */
  release(): void {
    this.die(new CrashError("the disk is gone"));
    for (const file of [...this.#files.values(), ...this.#deleted.values()]) file.release();
    this.#files.clear();
    this.#deleted.clear();
  }

  files(): string[] {
    return [...this.#files.keys()].sort();
  }

  /** As programs read it; null where there is no such file. */
  content(name: string): Uint8Array | null {
    return this.#files.get(name)?.content.slice() ?? null;
  }

  /** Of all names and bytes: equal for disks that are equal. */
  digest(): string {
    const hash = createHash("sha256");
    for (const name of this.files()) {
      const { content } = this.#files.get(name)!;
      hash.update(`${name}\n${content.length}\n`).update(content);
    }
    return hash.digest("hex");
  }

  /** Writes a file over itself and syncs it, as the product does with a log that it finds (log-renewal.ts). */
  renew(name: string): void {
    const file = this.#files.get(name);
    if (!file) return;
    this.write(name, file, file.content, 0);
    this.sync(name, file);
  }

  // What follows is for the file layer of SQLite (sim-vfs.ts).

  join(user: DiskUser): void {
    this.#users.add(user);
  }

  leave(user: DiskUser): void {
    this.#users.delete(user);
  }

  /** Nobody who has it open may touch it any more. */
  die(reason: Error): void {
    this.epoch += 1;
    const users = [...this.#users];
    this.#users.clear();
    for (const user of users) user.lost(reason);
  }

  find(name: string): SimFile | null {
    return this.#files.get(name) ?? null;
  }

  create(name: string): SimFile {
    if (this.before) this.#announce({ kind: "create", file: name, offset: 0, bytes: 0 });
    const file = new SimFile();
    this.#files.set(name, file);
    return file;
  }

  /** `forCertain`: its folder is synced too. */
  delete(name: string, forCertain: boolean): void {
    const file = this.#files.get(name);
    if (!file) return;
    if (this.before) this.#announce({ kind: "delete", file: name, offset: 0, bytes: 0 });
    this.#files.delete(name);
    this.#usedBytes -= file.size;
    if (file.linked) this.#deleted.set(name, file);
    if (forCertain) this.syncFolder();
  }

  read(name: string, file: SimFile, target: Uint8Array, offset: number): number {
    this.counts.reads += 1;
    if (this.#fails("read", name)) throw new DiskFault("io");
    return file.read(target, offset);
  }

  write(name: string, file: SimFile, bytes: Uint8Array, offset: number): void {
    if (this.before) this.#announce({ kind: "write", file: name, offset, bytes: bytes.length });
    this.counts.writes += 1;
    if (this.#fails("write", name)) throw new DiskFault("io");
    const grows = Math.max(0, offset + bytes.length - file.size);
    const lacking = this.#usedBytes + grows - this.roomBytes;
    if (grows === 0 || lacking <= 0) {
      file.write(bytes, offset);
      this.#usedBytes += grows;
      return;
    }
    const fits = bytes.length - Math.ceil(lacking);
    if (fits > 0) {
      const sizeBefore = file.size;
      file.write(bytes.subarray(0, fits), offset);
      this.#usedBytes += file.size - sizeBefore;
    }
    throw new DiskFault("full");
  }

  truncate(name: string, file: SimFile, size: number): void {
    if (this.before) this.#announce({ kind: "truncate", file: name, offset: size, bytes: 0 });
    this.counts.truncates += 1;
    if (this.#fails("truncate", name)) throw new DiskFault("io");
    this.#usedBytes -= Math.max(0, file.size - size);
    file.truncate(size);
  }

  sync(name: string, file: SimFile): void {
    if (this.before) this.#announce({ kind: "sync", file: name, offset: 0, bytes: 0 });
    this.counts.syncs += 1;
    if (this.#fails("sync", name)) {
      file.failSync();
      throw new DiskFault("io");
    }
    if (this.liesAboutSync) return;
    // SQLite syncs the folder with the first sync of a log or journal that it has made.
    if (!file.linked) this.syncFolder();
    file.sync();
  }

  #announce(access: Access): void {
    const { epoch } = this;
    this.before?.(access);
    if (epoch !== this.epoch) throw new CrashError("the disk was taken away in the middle of an access");
  }

  #fails(kind: FailingKind, file: string): boolean {
    const failing = this.#failing[kind];
    if (failing.length === 0) return false;
    const at = failing.indexOf(this.counts[PLURAL[kind]]);
    if (at < 0) return false;
    failing.splice(at, 1);
    this.lastFault = { kind, file };
    return true;
  }

  /** Its names are on the disk from here on, and those that were deleted gone for certain. */
  syncFolder(): void {
    if (this.liesAboutSync) return;
    for (const file of this.#deleted.values()) file.release();
    this.#deleted.clear();
    for (const file of this.#files.values()) file.linked = true;
  }

  /** After a cut, or in a copy: what there is, is durable. */
  #settle(): void {
    this.#usedBytes = 0;
    for (const file of this.#files.values()) {
      file.linked = true;
      this.#usedBytes += file.size;
    }
  }
}
