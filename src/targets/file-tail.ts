/**
 * What the files of a `file` target hold at start: where the last whole line ends, and which messages the
 * last lines are.
 */
import { deliveryKey } from "./batch.ts";
import type { DiskFile } from "./file-disk.ts";

const CHUNK_BYTES = 64 * 2 ** 10;
const LF = 10;

/** The key of a line that we wrote (renderEnvelope puts id and flow first), or null for any other line. */
export function keyOfLine(line: string): string | null {
  const match = /^\{"id":("(?:[^"\\]|\\.)*"),"flow":("(?:[^"\\]|\\.)*")[,}]/.exec(line);
  if (!match) return null;
  try {
    return deliveryKey(JSON.parse(match[2]!) as string, JSON.parse(match[1]!) as string);
  } catch {
    return null;
  }
}

/**
 * Where the last whole line ends, in bytes from the start of the file. What stands behind it was being
 * written when the power went: it was never fsynced, so nobody was told that it is there.
 */
export async function wholeLinesEnd(file: DiskFile, bytes: number): Promise<number> {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (let end = bytes; end > 0; ) {
    const start = Math.max(0, end - CHUNK_BYTES);
    const part = chunk.subarray(0, await file.read(chunk.subarray(0, end - start), start));
    const at = part.lastIndexOf(LF);
    if (at >= 0) return start + at + 1;
    end = start;
  }
  return 0;
}

/**
 * Where, of the last `windowBytes` before `end`, the first line begins that has a hole in it, or `end` for none. A
 * power cut can leave the later blocks of a write that was not fsynced without the earlier ones, which then read as
 * zeros; no line that we write has any.
 */
export async function holesBegin(file: DiskFile, end: number, windowBytes: number): Promise<number> {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (let at = Math.max(0, end - windowBytes); at < end; ) {
    const read = await file.read(chunk.subarray(0, Math.min(CHUNK_BYTES, end - at)), at);
    if (read === 0) break;
    const hole = chunk.subarray(0, read).indexOf(0);
    if (hole >= 0) return wholeLinesEnd(file, at + hole);
    at += read;
  }
  return end;
}

/** Keys of the last lines before `end`, newest first, at most `max` of them. Reads backwards, a chunk at a time. */
export async function* keysBackwards(file: DiskFile, end: number, max: number): AsyncGenerator<string> {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  /** Pieces of a line whose beginning has not been read yet, last piece first. */
  let open: Buffer[] = [];
  let given = 0;
  for (let at = end; at > 0 && given < max; ) {
    const start = Math.max(0, at - CHUNK_BYTES);
    const read = await file.read(chunk.subarray(0, at - start), start);
    const part = Buffer.from(chunk.subarray(0, read));
    let lineEnd = part.length;
    for (let nl = part.lastIndexOf(LF); nl >= 0; nl = nl > 0 ? part.lastIndexOf(LF, nl - 1) : -1) {
      open.push(part.subarray(nl + 1, lineEnd));
      const key = keyOfLine(Buffer.concat(open.reverse()).toString("utf8"));
      open = [];
      lineEnd = nl;
      if (key !== null) {
        yield key;
        if (++given >= max) return;
      }
    }
    open.push(part.subarray(0, lineEnd));
    at = start;
  }
  const key =
    given < max && open.length > 0 ? keyOfLine(Buffer.concat(open.reverse()).toString("utf8")) : null;
  if (key !== null) yield key;
}
