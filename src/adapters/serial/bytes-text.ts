/**
 * Bytes as people write and read them: one character is one byte (latin1), and what cannot be seen is written
 * `\r`, `\n`, `\t`, `\0` or `\x02`. Pure.
 */
import { z } from "zod";

/** Text of the config that stands for bytes. YAML's double quotes know the escapes: "\r\n", "\x02". */
export const bytesText = (lengthMax: number) =>
  z
    .string()
    .min(1)
    .max(lengthMax)
    .refine((text) => [...text].every((character) => character.charCodeAt(0) <= 0xff), {
      message: "expected characters of one byte each; beyond ASCII write them as \\xe9 in double quotes",
    });

export const bytesOf = (text: string): Buffer => Buffer.from(text, "latin1");

const NAMED: Readonly<Record<string, string>> = { "\r": "\\r", "\n": "\\n", "\t": "\\t", "\0": "\\0" };
const FROM_NAME: Readonly<Record<string, string>> = { r: "\r", n: "\n", t: "\t", 0: "\0", "\\": "\\" };

/** `12.3 kg\r\n`, `\x02A\x03` */
export function shownBytes(bytes: Buffer): string {
  return bytes
    .toString("latin1")
    .replaceAll("\\", "\\\\")
    .replaceAll(/[^\x20-\x7e]/g, (each) => NAMED[each] ?? `\\x${hex(each.charCodeAt(0))}`);
}

/** The way back, for what is typed into a shell; null where a backslash stands before what it does not know. */
export function readEscapes(text: string): string | null {
  let wrong = false;
  const read = text.replaceAll(/\\(x[0-9a-fA-F]{2}|.|$)/gs, (_, what: string) => {
    if (what.length === 3) return String.fromCharCode(Number.parseInt(what.slice(1), 16));
    wrong ||= FROM_NAME[what] === undefined;
    return FROM_NAME[what] ?? "";
  });
  return wrong ? null : read;
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
