/**
 * A folder as the `file` target's backend, with a disk that misbehaves on request. What a reader of the files
 * finds is what arrived; a line found twice took effect twice.
 *
 * - failing: no space is left. A part of each write goes through, as it does on a real full disk.
 * - drop: everything is written and then fsync fails.
 * - commit-then-drop: the same, and what was written cannot be taken back.
 */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Arrival, Backend, BackendMode } from "../../simulators/backends/backend.ts";
import { type Disk, type DiskFile, realDisk } from "../../src/targets/file-disk.ts";

export class FolderBackend implements Backend {
  mode: BackendMode = "ok";
  onArrival: ((arrival: Arrival) => void) | null = null;
  readonly #folder: string;
  #away = false;
  /** True once the disk would not cut a file back: from then on a line may stand twice without the target's fault. */
  linesStuck = false;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  async start() {
    return { url: `file://${this.#folder}` };
  }

  async stop() {}

  setMode(mode: BackendMode): void {
    this.mode = mode;
  }

  async goAway() {
    this.#away = true;
  }

  async comeBack() {
    this.#away = false;
  }

  arrivals(): readonly Arrival[] {
    const seen = new Set<string>();
    return linesIn(this.#folder).map((line) => {
      const envelope = JSON.parse(line);
      const effect = !(this.linesStuck && seen.has(envelope.id));
      seen.add(envelope.id);
      const { id, device, topic } = envelope;
      return { id, device, topic, payload: Buffer.from(line), at: 0, taken: true, effect };
    });
  }

  readonly disk: Disk = {
    list: async (folder) => {
      this.#orFail();
      return realDisk.list(folder);
    },
    open: async (path, how) => {
      this.#orFail();
      return new SabotagedFile(await realDisk.open(path, how), this);
    },
    remove: (path) => realDisk.remove(path),
    syncFolder: (folder) => realDisk.syncFolder(folder),
  };

  #orFail(): void {
    if (this.#away) throw systemError("EIO", "i/o error");
  }

  /** For the files it has given out. */
  get away(): boolean {
    return this.#away;
  }
}

/** Whole lines of all files, in order. */
export function linesIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".ndjson"))
    .sort()
    .flatMap((name) => readFileSync(join(folder, name), "utf8").split("\n").slice(0, -1));
}

export function systemError(code: string, text: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${text}`), { code });
}

class SabotagedFile implements DiskFile {
  readonly #file: DiskFile;
  readonly #backend: FolderBackend;

  constructor(file: DiskFile, backend: FolderBackend) {
    this.#file = file;
    this.#backend = backend;
  }

  async stat() {
    this.#orFail();
    return this.#file.stat();
  }

  async read(into: Buffer, position: number) {
    this.#orFail();
    return this.#file.read(into, position);
  }

  async write(bytes: Buffer, position: number) {
    this.#orFail();
    if (this.#backend.mode !== "failing") return this.#file.write(bytes, position);
    await this.#file.write(bytes.subarray(0, Math.floor(bytes.length / 2)), position);
    throw systemError("ENOSPC", "no space left on device, write");
  }

  async sync() {
    this.#orFail();
    if (["drop", "commit-then-drop"].includes(this.#backend.mode))
      throw systemError("EIO", "i/o error, fsync");
    await this.#file.sync();
  }

  async truncate(bytes: number) {
    this.#orFail();
    if (this.#backend.mode === "commit-then-drop") {
      this.#backend.linesStuck = true;
      throw systemError("EIO", "i/o error, ftruncate");
    }
    await this.#file.truncate(bytes);
  }

  close() {
    return this.#file.close();
  }

  #orFail(): void {
    if (this.#backend.away) throw systemError("EIO", "i/o error");
  }
}
