/**
 * The file layer under SQLite: every read, write, sync and lock of the engine comes here and goes to the
 * simulated disk that is in use at the moment.
 *
 * Nothing is thrown through the engine's frames, which could not clean up: what a hook of the disk throws kills
 * the connection (SimDisk.die), the engine sees I/O errors from then on and gives up by its own ways, and
 * sim-sqlite.ts throws when the call has come back.
 */
import { DiskFault, SimDisk } from "./sim-disk.ts";
import { SimFile } from "./sim-file.ts";
import { type Holder, SharedFile } from "./sim-locks.ts";
import {
  allocate,
  allocateText,
  callable,
  engine,
  heap,
  layoutOf,
  type Pointer,
  readText,
  writeLong,
  writeWord,
} from "./sqlite-engine.ts";

const OK = 0;
const BUSY = 5;
const NOT_FOUND = 12;
const FULL = 13;
const CANNOT_OPEN = 14;
const IO = {
  error: 10,
  read: 266,
  shortRead: 522,
  write: 778,
  sync: 1034,
  truncate: 1546,
  delete: 2570,
} as const;

const OPEN_CREATE = 0x4;
const OPEN_MAIN = 0x100;
const SHM_UNLOCK = 1;
const SHM_EXCLUSIVE = 8;
/** What SQLite takes for granted of a disk under Linux: powersafe overwrite, and reads of parts of a page. */
const CHARACTERISTICS = 0x1000 | 0x8000;
const SECTOR_BYTES = 4096;
const PATH_BYTES_MAX = 512;
/** Milliseconds from the day from which SQLite counts to 1970. */
const JULIAN_MS = 210_866_760_000_000n;

interface OpenFile {
  readonly disk: SimDisk;
  readonly epoch: number;
  /** Empty for a temporary file, which no disk needs to know. */
  readonly name: string;
  readonly file: SimFile;
  /** Of the database itself; null for its log and journal. */
  readonly shared: SharedFile | null;
  readonly holder: Holder | null;
  mapped: boolean;
}

/** Where names lead for whoever is dead: nowhere. */
const grave = new SimDisk({ random: { below: () => 0, unit: () => 0, fill: () => {} } });
let disk = grave;
const openFiles = new Map<Pointer, OpenFile>();
/** By disk, epoch and name: a new process shares nothing with a dead one. */
const sharedFiles = new WeakMap<SimDisk, { epoch: number; byName: Map<string, SharedFile> }>();

/** To be called before each call into the engine; from then on it works on this disk. */
export function useDisk(next: SimDisk): void {
  if (next === disk) return;
  disk = next;
  forgetRandomness();
}

/** What the engine does from here on, it does for someone dead. */
export function useNoDisk(): void {
  disk = grave;
}

/** The engine draws its randomness anew, from the disk's. */
export function forgetRandomness(): void {
  engine.sqlite3_randomness(0, 0);
}

function shared(on: SimDisk, name: string): SharedFile {
  let known = sharedFiles.get(on);
  if (!known || known.epoch !== on.epoch) {
    known = { epoch: on.epoch, byName: new Map() };
    sharedFiles.set(on, known);
  }
  let file = known.byName.get(name);
  if (!file) {
    file = new SharedFile();
    known.byName.set(name, file);
  }
  return file;
}

/** Runs an access of a file that is open, and says its outcome in the engine's codes. */
function access(at: Pointer, failed: number, work: (open: OpenFile) => number): number {
  const open = openFiles.get(at)!;
  if (open.epoch !== open.disk.epoch) return failed;
  return guarded(open.disk, failed, () => work(open));
}

function guarded(on: SimDisk, failed: number, work: () => number): number {
  try {
    return work();
  } catch (error) {
    if (error instanceof DiskFault) return error.kind === "full" ? FULL : failed;
    on.die(error instanceof Error ? error : new Error(String(error)));
    useNoDisk();
    return failed;
  }
}

const fileMethods = {
  xClose(at: Pointer): number {
    const open = openFiles.get(at)!;
    openFiles.delete(at);
    if (open.holder) open.shared?.leave(open.holder);
    return OK;
  },

  xRead(at: Pointer, target: Pointer, bytes: number, offset: bigint): number {
    return access(at, IO.read, (open) => {
      const memory = heap();
      const into = memory.subarray(target, target + bytes);
      const from = Number(offset);
      const found = open.name ? open.disk.read(open.name, open.file, into, from) : open.file.read(into, from);
      if (found === bytes) return OK;
      into.fill(0, found);
      return IO.shortRead;
    });
  },

  xWrite(at: Pointer, source: Pointer, bytes: number, offset: bigint): number {
    return access(at, IO.write, (open) => {
      const data = heap().subarray(source, source + bytes);
      if (open.name) open.disk.write(open.name, open.file, data, Number(offset));
      else open.file.write(data, Number(offset));
      return OK;
    });
  },

  xTruncate(at: Pointer, size: bigint): number {
    return access(at, IO.truncate, (open) => {
      if (open.name) open.disk.truncate(open.name, open.file, Number(size));
      else open.file.truncate(Number(size));
      return OK;
    });
  },

  xSync(at: Pointer, _flags: number): number {
    return access(at, IO.sync, (open) => {
      if (open.name) open.disk.sync(open.name, open.file);
      return OK;
    });
  },

  xFileSize(at: Pointer, size: Pointer): number {
    writeLong(size, BigInt(openFiles.get(at)!.file.size));
    return OK;
  },

  xLock(at: Pointer, level: number): number {
    const { shared, holder } = openFiles.get(at)!;
    return !shared || shared.lock(holder!, level) ? OK : BUSY;
  },

  xUnlock(at: Pointer, level: number): number {
    const { shared, holder } = openFiles.get(at)!;
    shared?.unlock(holder!, level);
    return OK;
  },

  xCheckReservedLock(at: Pointer, answer: Pointer): number {
    writeWord(answer, openFiles.get(at)!.shared?.isReserved() ? 1 : 0);
    return OK;
  },

  xFileControl: (_at: Pointer, _op: number, _arg: Pointer): number => NOT_FOUND,
  xSectorSize: (_at: Pointer): number => SECTOR_BYTES,
  xDeviceCharacteristics: (_at: Pointer): number => CHARACTERISTICS,

  xShmMap(at: Pointer, region: number, bytes: number, extend: number, place: Pointer): number {
    const open = openFiles.get(at)!;
    if (!open.shared) return IO.error;
    if (!open.mapped) {
      open.mapped = true;
      open.shared.mapped();
    }
    writeWord(place, open.shared.map(region, bytes, extend !== 0));
    return OK;
  },

  xShmLock(at: Pointer, first: number, count: number, flags: number): number {
    const { shared, holder } = openFiles.get(at)!;
    if (!shared) return IO.error;
    if ((flags & SHM_UNLOCK) !== 0) {
      shared.unlockSlots(holder!, first, count);
      return OK;
    }
    return shared.lockSlots(holder!, first, count, (flags & SHM_EXCLUSIVE) !== 0) ? OK : BUSY;
  },

  xShmBarrier(_at: Pointer): void {},

  xShmUnmap(at: Pointer, _remove: number): number {
    const open = openFiles.get(at)!;
    if (open.mapped) open.shared!.unmapped();
    open.mapped = false;
    return OK;
  },
};

const diskMethods = {
  xOpen(_vfs: Pointer, path: Pointer, at: Pointer, flags: number, flagsOut: Pointer): number {
    writeWord(at, 0); // Until it is open there is nothing to close.
    const on = disk;
    return guarded(on, CANNOT_OPEN, () => {
      const name = path === 0 ? "" : readText(path);
      const file = name === "" ? new SimFile() : (on.find(name) ?? create(on, name, flags));
      if (!file) return CANNOT_OPEN;
      const isMain = name !== "" && (flags & OPEN_MAIN) !== 0;
      const sharedFile = isMain ? shared(on, name) : null;
      const holder = sharedFile?.join() ?? null;
      openFiles.set(at, { disk: on, epoch: on.epoch, name, file, shared: sharedFile, holder, mapped: false });
      writeWord(at, methodsAt);
      if (flagsOut !== 0) writeWord(flagsOut, flags);
      return OK;
    });
  },

  xDelete(_vfs: Pointer, path: Pointer, syncFolder: number): number {
    const on = disk;
    return guarded(on, IO.delete, () => {
      on.delete(readText(path), syncFolder !== 0);
      return OK;
    });
  },

  xAccess(_vfs: Pointer, path: Pointer, _what: number, answer: Pointer): number {
    // An empty file is none, as SQLite has it on a real disk.
    writeWord(answer, (disk.find(readText(path))?.size ?? 0) > 0 ? 1 : 0);
    return OK;
  },

  xFullPathname(_vfs: Pointer, path: Pointer, bytes: number, target: Pointer): number {
    const name = Buffer.from(`${readText(path)}\0`);
    if (name.length > bytes) return CANNOT_OPEN;
    heap().set(name, target);
    return OK;
  },

  xRandomness(_vfs: Pointer, bytes: number, target: Pointer): number {
    disk.random.fill(heap().subarray(target, target + bytes));
    return bytes;
  },

  /** Time stands still while the engine works: whoever waits in it has waited. */
  xSleep: (_vfs: Pointer, micros: number): number => micros,

  xCurrentTime(_vfs: Pointer, target: Pointer): number {
    heap().writeDoubleLE(Number(julianMs()) / 86_400_000, target);
    return OK;
  },

  xCurrentTimeInt64(_vfs: Pointer, target: Pointer): number {
    writeLong(target, julianMs());
    return OK;
  },

  xGetLastError: (_vfs: Pointer, _bytes: number, _target: Pointer): number => 0,
};

function create(on: SimDisk, name: string, flags: number): SimFile | null {
  return (flags & OPEN_CREATE) === 0 ? null : on.create(name);
}

function julianMs(): bigint {
  return JULIAN_MS + BigInt(Math.floor(disk.wallMs()));
}

/** Makes the struct of that name, its functions filled in. */
function table(
  name: "sqlite3_vfs" | "sqlite3_io_methods",
  functions: Record<string, (...args: never[]) => unknown>,
  values: Record<string, number>,
): Pointer {
  const { bytes, fields } = layoutOf(name);
  const at = allocate(bytes);
  heap().fill(0, at, at + bytes);
  for (const [field, fn] of Object.entries(functions)) {
    const { offset, signature } = fields.get(field)!;
    writeWord(at + offset, callable(signature, fn));
  }
  for (const [field, value] of Object.entries(values)) writeWord(at + fields.get(field)!.offset, value);
  return at;
}

const methodsAt = table("sqlite3_io_methods", fileMethods, { iVersion: 2 });

const vfsAt = table("sqlite3_vfs", diskMethods, {
  iVersion: 2,
  szOsFile: 8,
  mxPathname: PATH_BYTES_MAX,
  zName: allocateText("simulated-disk"),
});

// The default, since the engine's randomness comes from the default one alone.
engine.sqlite3_vfs_register(vfsAt, 1);
