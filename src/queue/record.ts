/**
 * SQLite's b-tree pages and records, read defensively: what makes no sense is left out, never guessed at.
 * (https://www.sqlite.org/fileformat2.html, "B-tree Pages" and "Record Format")
 */
import { PAGE_BYTES } from "./database.ts";
import type { Page } from "./page-file.ts";

export type Value = number | string | Buffer | null;

/** A row as it is stored: `key` is the rowid, null where the table has none. */
export interface StoredRow {
  readonly key: number | null;
  readonly values: readonly Value[];
  readonly stale: boolean;
}

export const TABLE_LEAF = 0x0d;
export const TABLE_INTERIOR = 0x05;
export const INDEX_LEAF = 0x0a;
export const INDEX_INTERIOR = 0x02;
const KINDS: readonly number[] = [TABLE_LEAF, TABLE_INTERIOR, INDEX_LEAF, INDEX_INTERIOR];

const DATABASE_HEADER_BYTES = 100;
/** More than any payload that is taken, by far: a longer one is a length gone wrong. */
const RECORD_BYTES_MAX = 2 ** 28;

export type ReadPage = (number: number) => Page | null;

/** What kind of b-tree page it is; null where it is none. */
export function kindOf(number: number, { bytes }: Page): number | null {
  const kind = bytes[headerAt(number)]!;
  return KINDS.includes(kind) ? kind : null;
}

/** Pages below an interior page, as far as it can be read. */
export function childrenOf(number: number, page: Page): number[] {
  const { bytes } = page;
  const children = cellsOf(number, page).map((at) => bytes.readUInt32BE(at));
  return [...children, bytes.readUInt32BE(headerAt(number) + 8)];
}

/** Rows on one page, and how many of its cells made no sense. */
export function rowsOf(
  number: number,
  page: Page,
  read: ReadPage,
): { rows: StoredRow[]; unreadable: number } {
  const kind = kindOf(number, page);
  const rows: StoredRow[] = [];
  let unreadable = 0;
  if (kind === null || kind === TABLE_INTERIOR) return { rows, unreadable };
  for (const at of cellsOf(number, page)) {
    const row = rowAt(page, kind, at, read);
    if (row) rows.push(row);
    else unreadable += 1;
  }
  return { rows, unreadable };
}

function headerAt(number: number): number {
  return number === 1 ? DATABASE_HEADER_BYTES : 0;
}

function cellsOf(number: number, page: Page): number[] {
  const { bytes } = page;
  const header = headerAt(number);
  const interior = bytes[header] === TABLE_INTERIOR || bytes[header] === INDEX_INTERIOR;
  const pointers = header + (interior ? 12 : 8);
  const room = Math.floor((PAGE_BYTES - pointers) / 2);
  const count = Math.min(bytes.readUInt16BE(header + 3), room);
  const cells: number[] = [];
  for (let index = 0; index < count; index++) {
    const at = bytes.readUInt16BE(pointers + index * 2);
    // Pointers beyond the last true one, where the count is wrong, lie among the cells' own bytes.
    if (at >= pointers && at <= PAGE_BYTES - 4) cells.push(at);
  }
  return cells;
}

function rowAt(page: Page, kind: number, at: number, read: ReadPage): StoredRow | null {
  try {
    const cursor = new Cursor(page.bytes, kind === INDEX_INTERIOR ? at + 4 : at);
    const length = cursor.varint();
    const key = kind === TABLE_LEAF ? cursor.varint() : null;
    const record = recordBytes(page, kind, cursor.at, length, read);
    return record && { key, values: valuesOf(record.bytes), stale: page.stale || record.stale };
  } catch {
    return null; // It led outside of its page.
  }
}

/** A record of its own page, with the rest of it from the pages that it runs over to. */
function recordBytes(
  page: Page,
  kind: number,
  at: number,
  length: number,
  read: ReadPage,
): { bytes: Buffer; stale: boolean } | null {
  if (length < 1 || length > RECORD_BYTES_MAX) return null;
  const localMax = kind === TABLE_LEAF ? PAGE_BYTES - 35 : Math.floor(((PAGE_BYTES - 12) * 64) / 255) - 23;
  if (length <= localMax) {
    return at + length > PAGE_BYTES ? null : { bytes: page.bytes.subarray(at, at + length), stale: false };
  }
  const localMin = Math.floor(((PAGE_BYTES - 12) * 32) / 255) - 23;
  const wanted = localMin + ((length - localMin) % (PAGE_BYTES - 4));
  const local = wanted <= localMax ? wanted : localMin;
  if (at + local + 4 > PAGE_BYTES) return null;
  const parts = [page.bytes.subarray(at, at + local)];
  let left = length - local;
  let stale = false;
  let next = page.bytes.readUInt32BE(at + local);
  const seen = new Set<number>();
  while (left > 0) {
    const more = seen.has(next) ? null : read(next);
    if (!more) return null;
    seen.add(next);
    stale ||= more.stale;
    parts.push(more.bytes.subarray(4, 4 + Math.min(left, PAGE_BYTES - 4)));
    left -= PAGE_BYTES - 4;
    next = more.bytes.readUInt32BE(0);
  }
  // The chain's last page names none after it.
  return next === 0 ? { bytes: Buffer.concat(parts), stale } : null;
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function valuesOf(record: Buffer): Value[] {
  const head = new Cursor(record, 0);
  const headBytes = head.varint();
  if (headBytes > record.length) throw new RangeError("the head is longer than the record");
  const body = new Cursor(record, headBytes);
  const values: Value[] = [];
  while (head.at < headBytes) values.push(readValue(head.varint(), body));
  if (head.at !== headBytes || body.at !== record.length)
    throw new RangeError("the record has another length");
  return values;
}

/** Bytes of the integer types 1 to 6. */
const INTEGER_BYTES = [0, 1, 2, 3, 4, 6, 8];

function readValue(type: number, body: Cursor): Value {
  if (type === 0) return null;
  if (type <= 6) return body.integer(INTEGER_BYTES[type]!);
  if (type === 7) return body.take(8).readDoubleBE(0);
  if (type === 8 || type === 9) return type - 8;
  if (type < 12) throw new RangeError("no such type");
  if (type % 2 === 0) return body.take((type - 12) / 2);
  return UTF8.decode(body.take((type - 13) / 2));
}

class Cursor {
  readonly #bytes: Buffer;
  at: number;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  take(length: number): Buffer {
    const end = this.at + length;
    if (end > this.#bytes.length) throw new RangeError("beyond the end");
    const taken = this.#bytes.subarray(this.at, end);
    this.at = end;
    return taken;
  }

  integer(length: number): number {
    if (length < 8) return this.take(length).readIntBE(0, length);
    return safe(this.take(8).readBigInt64BE(0));
  }

  varint(): number {
    const bytes = this.#bytes;
    let value = 0;
    for (let index = 0; index < 7; index++) {
      const byte = bytes[this.at++];
      if (byte === undefined) throw new RangeError("beyond the end");
      value = value * 128 + (byte & 0x7f);
      if (byte < 0x80) return value;
    }
    return this.#longVarint(BigInt(value));
  }

  /** The eighth byte and, of all its bits, the ninth. */
  #longVarint(begun: bigint): number {
    const eighth = this.take(1)[0]!;
    const value = (begun << 7n) | BigInt(eighth & 0x7f);
    if (eighth < 0x80) return safe(value);
    return safe(BigInt.asIntN(64, (value << 8n) | BigInt(this.take(1)[0]!)));
  }
}

/** No number of ours is larger than a double holds exactly. */
function safe(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new RangeError("no number of ours");
  return number;
}
