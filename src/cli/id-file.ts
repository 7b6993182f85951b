/**
 * Ids in a backend's file, a line each: JSON (`"id"`, or `{"id": …}`), or CSV with the ids in the first column or in one
 * that its first line names.
 */
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { HoldfastError } from "../core/errors.ts";
import { MESSAGE_ID_BYTES_MAX } from "../core/limits.ts";

const BATCH = 5000;

/** Yields them in batches. Throws HF_USAGE, with the line, for one without an id. */
export async function* idsIn(input: Readable, column: string): AsyncGenerator<string[]> {
  let batch: string[] = [];
  let at = 0;
  let line = 0;
  for await (const raw of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    line += 1;
    const text = raw.replace(/^\ufeff/, "").trim();
    if (text === "") continue;
    if (line === 1 && !text.startsWith("{")) {
      const head = fieldsOf(text).indexOf(column);
      if (head !== -1) {
        at = head;
        continue;
      }
    }
    const id = text.startsWith("{") ? fieldOf(text, column) : fieldsOf(text)[at];
    if (!id || Buffer.byteLength(id) > MESSAGE_ID_BYTES_MAX) {
      throw new HoldfastError("HF_USAGE", `line ${line} has no id in \`${column}\`: ${text.slice(0, 80)}`);
    }
    batch.push(id);
    if (batch.length < BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

function fieldOf(text: string, column: string): string | undefined {
  try {
    const value = (JSON.parse(text) as Record<string, unknown>)[column];
    return typeof value === "string" ? value : typeof value === "number" ? String(value) : undefined;
  } catch {
    return undefined;
  }
}

/** RFC 4180, one line: fields with `,` or `;` between, in quotes where they hold one. */
function fieldsOf(text: string): string[] {
  const fields = text.matchAll(/(?:^|[,;\t])\s*(?:"((?:[^"]|"")*)"|([^,;\t]*))/g);
  return Array.from(fields, ([, quoted, plain = ""]) => quoted?.replaceAll('""', '"') ?? plain.trim());
}
