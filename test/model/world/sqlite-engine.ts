/**
 * SQLite as compiled by its authors to WebAssembly, one instance a process: its C functions, and its memory.
 *
 * The functions are called as they are, with pointers into that memory: the wrappers that come with it cost more
 * than the statements of a short commit do. It is the release that the product's own binding has, built without
 * threads, so all of it happens inside the call.
 */
import sqlite3InitModule from "@sqlite.org/sqlite-wasm";

/** A place in the engine's memory; 0 for none. */
export type Pointer = number;

export interface EngineCalls {
  sqlite3_malloc(bytes: number): Pointer;
  sqlite3_free(at: Pointer): void;
  sqlite3_libversion(): Pointer;
  sqlite3_errstr(code: number): Pointer;
  sqlite3_randomness(bytes: number, at: Pointer): void;
  sqlite3_vfs_find(name: Pointer): Pointer;
  sqlite3_vfs_register(vfs: Pointer, makeDefault: number): number;
  sqlite3_open_v2(file: Pointer, db: Pointer, flags: number, vfs: Pointer): number;
  sqlite3_close_v2(db: Pointer): number;
  sqlite3_extended_result_codes(db: Pointer, on: number): number;
  sqlite3_busy_timeout(db: Pointer, ms: number): number;
  sqlite3__wasm_db_config_ip(db: Pointer, option: number, value: number, out: Pointer): number;
  sqlite3_extended_errcode(db: Pointer): number;
  sqlite3_errmsg(db: Pointer): Pointer;
  sqlite3_get_autocommit(db: Pointer): number;
  sqlite3_changes(db: Pointer): number;
  sqlite3_total_changes(db: Pointer): number;
  sqlite3_last_insert_rowid(db: Pointer): bigint;
  sqlite3_next_stmt(db: Pointer, after: Pointer): Pointer;
  sqlite3_prepare_v3(
    db: Pointer,
    sql: Pointer,
    bytes: number,
    flags: number,
    statement: Pointer,
    tail: Pointer,
  ): number;
  sqlite3_step(statement: Pointer): number;
  sqlite3_reset(statement: Pointer): number;
  sqlite3_finalize(statement: Pointer): number;
  sqlite3_bind_parameter_count(statement: Pointer): number;
  sqlite3_bind_parameter_name(statement: Pointer, index: number): Pointer;
  sqlite3_bind_null(statement: Pointer, index: number): number;
  sqlite3_bind_double(statement: Pointer, index: number, value: number): number;
  sqlite3_bind_int64(statement: Pointer, index: number, value: bigint): number;
  sqlite3_bind_text(statement: Pointer, index: number, at: Pointer, bytes: number, free: number): number;
  sqlite3_bind_blob(statement: Pointer, index: number, at: Pointer, bytes: number, free: number): number;
  sqlite3_column_count(statement: Pointer): number;
  sqlite3_column_name(statement: Pointer, column: number): Pointer;
  sqlite3_column_type(statement: Pointer, column: number): number;
  sqlite3_column_double(statement: Pointer, column: number): number;
  sqlite3_column_text(statement: Pointer, column: number): Pointer;
  sqlite3_column_blob(statement: Pointer, column: number): Pointer;
  sqlite3_column_bytes(statement: Pointer, column: number): number;
}

const sqlite3 = await sqlite3InitModule();
const { memory } = sqlite3.wasm as unknown as { memory: { readonly buffer: ArrayBuffer } };

export const engine = sqlite3.wasm.exports as unknown as EngineCalls;

/** Makes a function of ours callable from SQLite; `signature` as in "i(ppij)": i int, j int64, p pointer, v nothing. */
export function callable(signature: string, fn: (...args: never[]) => unknown): Pointer {
  return Number(sqlite3.wasm.installFunction(signature, fn as () => unknown));
}

/** The name of a result code, as in "SQLITE_IOERR_FSYNC". */
export function codeName(code: number): string {
  return sqlite3.capi.sqlite3_js_rc_str(code) ?? `UNKNOWN_SQLITE_ERROR_${code}`;
}

/** Fields of a C struct and their places in it. */
export function layoutOf(name: "sqlite3_vfs" | "sqlite3_io_methods"): {
  readonly bytes: number;
  readonly fields: ReadonlyMap<string, { readonly offset: number; readonly signature: string }>;
} {
  const { sizeof, members } = (sqlite3.capi as unknown as Record<string, { structInfo: StructInfo }>)[name]!
    .structInfo;
  return { bytes: sizeof, fields: new Map(Object.values(members).map((field) => [field.name, field])) };
}

interface StructInfo {
  readonly sizeof: number;
  readonly members: Record<
    string,
    { readonly name: string; readonly offset: number; readonly signature: string }
  >;
}

let bytesNow = Buffer.from(memory.buffer);
let wordsNow = new Int32Array(memory.buffer);
let longsNow = new BigInt64Array(memory.buffer);

/** The engine's memory; valid until the next call into it, which may make it larger and move it. */
export function heap(): Buffer {
  // Where it has moved, nothing is left of the views of it. To ask for its buffer takes longer than most uses.
  if (bytesNow.length === 0) {
    bytesNow = Buffer.from(memory.buffer);
    wordsNow = new Int32Array(memory.buffer);
    longsNow = new BigInt64Array(memory.buffer);
  }
  return bytesNow;
}

export function readWord(at: Pointer): number {
  heap();
  return wordsNow[at >> 2]!;
}

export function writeWord(at: Pointer, value: number): void {
  heap();
  wordsNow[at >> 2] = value;
}

export function writeLong(at: Pointer, value: bigint): void {
  heap();
  longsNow[at >> 3] = value;
}

/** A C string. */
export function readText(at: Pointer): string {
  const bytes = heap();
  return bytes.toString("utf8", at, bytes.indexOf(0, at));
}

export function allocate(bytes: number): Pointer {
  const at = engine.sqlite3_malloc(bytes);
  if (at === 0) throw new Error(`the engine has no ${bytes} bytes left`);
  return at;
}

/** A C string that is the caller's to free. */
export function allocateText(text: string): Pointer {
  const bytes = Buffer.from(text);
  const at = allocate(bytes.length + 1);
  const memoryNow = heap();
  memoryNow.set(bytes, at);
  memoryNow[at + bytes.length] = 0;
  return at;
}

export const SQLITE_VERSION = readText(engine.sqlite3_libversion());

/** How large the engine's memory has become; it never shrinks, and a leak makes it grow. */
export function engineBytes(): number {
  return memory.buffer.byteLength;
}
