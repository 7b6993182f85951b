/** Small text files that a person wrote, read whole: bounded, UTF-8, and with a sentence where it fails. */
import { isUtf8 } from "node:buffer";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

export type TextFile =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "problem"; readonly problem: string; readonly missing: boolean };

const CHUNK_BYTES = 64 * 2 ** 10;

/** Reads `file`, at most `bytesMax` bytes of it, also from a pipe. Never throws. A byte order mark is left out. */
export function readTextFile(file: string, bytesMax: number): TextFile {
  let fd: number | undefined;
  try {
    fd = openSync(file, "r");
    if (fstatSync(fd).isDirectory()) return problem(`${file} is a folder, not a file`);
    const bytes = readUpTo(fd, bytesMax + 1);
    if (bytes.length > bytesMax) return problem(`${file} is larger than ${bytesMax} bytes`);
    if (!isUtf8(bytes)) return problem(`${file} is not UTF-8 text`);
    return { kind: "text", text: bytes.toString("utf8").replace(/^\ufeff/, "") };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return problem(fileSentence(file, error), code === "ENOENT" || code === "ENOTDIR");
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

const problem = (text: string, missing = false): TextFile => ({ kind: "problem", problem: text, missing });

function readUpTo(fd: number, bytesMax: number): Buffer {
  const chunks: Buffer[] = [];
  for (let left = bytesMax; left > 0; ) {
    const chunk = Buffer.allocUnsafe(Math.min(left, CHUNK_BYTES));
    const count = readSync(fd, chunk);
    if (count === 0) break;
    chunks.push(chunk.subarray(0, count));
    left -= count;
  }
  return Buffer.concat(chunks);
}

/** Why a file could not be read, for an operator. */
function fileSentence(file: string, error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOENT":
      return `there is no file ${file}`;
    case "ENOTDIR":
      return `there is no file ${file}: a part of its path is not a folder`;
    case "EACCES":
    case "EPERM":
      return `${file} may not be read by this user`;
    case "EISDIR":
      return `${file} is a folder, not a file`;
    case "ELOOP":
      return `${file} is a circle of symbolic links`;
    default:
      return `${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`;
  }
}
