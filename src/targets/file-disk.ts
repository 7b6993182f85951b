/** The disk as the `file` target sees it, passed in so that its failures can be had in a test. */
import { type FileHandle, mkdir, open, readdir, unlink } from "node:fs/promises";

export interface Disk {
  /** Makes the folder where it is missing; resolves to the names in it. */
  list(folder: string): Promise<string[]>;
  /** Opens for reading and writing. `create`: the file must not exist yet. */
  open(path: string, how: "create" | "existing"): Promise<DiskFile>;
  remove(path: string): Promise<void>;
  /** Makes the folder's entries (new and removed names) durable. */
  syncFolder(folder: string): Promise<void>;
}

export interface DiskFile {
  stat(): Promise<{ readonly bytes: number; readonly bornMs: number }>;
  /** Fills as much of `into` as there is from `position`; resolves to the bytes read. */
  read(into: Buffer, position: number): Promise<number>;
  /** Writes all of `bytes` at `position`, or rejects. */
  write(bytes: Buffer, position: number): Promise<void>;
  /** Resolves when everything written is on the disk (fdatasync). */
  sync(): Promise<void>;
  truncate(bytes: number): Promise<void>;
  close(): Promise<void>;
}

export const realDisk: Disk = {
  async list(folder) {
    await mkdir(folder, { recursive: true });
    return readdir(folder);
  },
  async open(path, how) {
    return new RealFile(await open(path, how === "create" ? "wx+" : "r+", 0o640));
  },
  remove: unlink,
  async syncFolder(folder) {
    const handle = await open(folder, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

class RealFile implements DiskFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async stat() {
    const { size, birthtimeMs } = await this.#handle.stat();
    return { bytes: size, bornMs: birthtimeMs };
  }

  async read(into: Buffer, position: number) {
    return (await this.#handle.read(into, 0, into.length, position)).bytesRead;
  }

  async write(bytes: Buffer, position: number) {
    let done = 0;
    while (done < bytes.length) {
      // A write may take less than it was given, a nearly full disk being the usual reason.
      done += (await this.#handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
    }
  }

  sync() {
    return this.#handle.datasync();
  }

  truncate(bytes: number) {
    return this.#handle.truncate(bytes);
  }

  close() {
    return this.#handle.close();
  }
}
