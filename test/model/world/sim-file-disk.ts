/**
 * The simulated disk as the `file` target sees it. What the disk throws as a crash kills the gateway, and what is
 * asked of it by one that is dead is never answered.
 */
import type { Disk, DiskFile } from "../../../src/targets/file-disk.ts";
import { DiskFault, isCrash, type SimDisk } from "./sim-disk.ts";
import type { SimFile } from "./sim-file.ts";

export interface FileDiskParts {
  readonly disk: SimDisk;
  /** The gateway that uses it. */
  readonly process: { readonly dead: boolean };
  /** The disk killed the process. */
  readonly onDeath: () => void;
}

export function simFileDisk({ disk, process, onDeath }: FileDiskParts): Disk {
  const access = <T>(work: () => T): Promise<T> =>
    new Promise((resolve, reject) => {
      if (process.dead) return;
      try {
        resolve(work());
      } catch (error) {
        if (isCrash(error)) onDeath();
        else reject(error instanceof DiskFault ? systemError(error) : error);
      }
    });
  const opened = (path: string, file: SimFile): DiskFile => ({
    // The disk knows no times: its files do not grow old.
    stat: () => access(() => ({ bytes: file.size, bornMs: 0 })),
    read: (into, position) => access(() => disk.read(path, file, into, position)),
    write: (bytes, position) => access(() => disk.write(path, file, bytes, position)),
    sync: () => access(() => disk.sync(path, file)),
    truncate: (bytes) => access(() => disk.truncate(path, file, bytes)),
    close: () => access(() => {}),
  });
  return {
    list: (folder) =>
      access(() => {
        const prefix = `${folder}/`;
        return disk.files().flatMap((path) => (path.startsWith(prefix) ? [path.slice(prefix.length)] : []));
      }),
    open: (path, how) =>
      access(() => {
        const found = disk.find(path);
        if (how === "create" && found) throw systemFailure("EEXIST", path);
        if (how === "existing" && !found) throw systemFailure("ENOENT", path);
        return opened(path, found ?? disk.create(path));
      }),
    remove: (path) => access(() => disk.delete(path, false)),
    syncFolder: () => access(() => disk.syncFolder()),
  };
}

function systemError(fault: DiskFault): Error {
  return systemFailure(fault.kind === "full" ? "ENOSPC" : "EIO", fault.message);
}

function systemFailure(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}
