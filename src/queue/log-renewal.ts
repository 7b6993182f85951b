/**
 * Writes the log that a dead gateway has left over itself, and syncs it, before anything is added to it.
 *
 * After a sync that failed, Linux takes what it should have saved for saved: it is read as if it were there, later
 * syncs say OK, and the disk does not have it. The gateway that met the failure stops at once, but the next one reads
 * the log from that same memory and would go on behind commits that are not on the disk; a power cut then takes them
 * and, since a log is read up to its first hole, all that was acknowledged after them. Bytes that are written again are
 * synced again. Where that fails too, the disk is nothing to start on.
 *
 * Whoever reads the log meanwhile sees the same bytes all the time. After a clean stop there is no log.
 */
import { closeSync, fsyncSync, openSync, readSync, writeSync } from "node:fs";

const STEP_BYTES = 2 ** 20;

/** Throws what the file system says; a log that cannot be renewed for want of room is left as it is. */
export function renewLog(log: string): void {
  let fd: number;
  try {
    fd = openSync(log, "r+");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  try {
    const step = Buffer.allocUnsafe(STEP_BYTES);
    for (let at = 0; ; ) {
      const found = readSync(fd, step, 0, STEP_BYTES, at);
      if (found === 0) break;
      at += writeSync(fd, step, 0, found, at);
    }
    fsyncSync(fd);
  } catch (error) {
    // On a file system that writes to a new place each time. New messages are refused then anyway.
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  } finally {
    closeSync(fd);
  }
}
