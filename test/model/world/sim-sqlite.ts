/**
 * The real SQLite on a simulated disk, with the part of better-sqlite3's interface that the queue uses.
 *
 * A connection dies with its disk (SimDisk.crash, cut, or a hook that throws): what runs at that moment and
 * every later call throw what it died of, its memory is freed, and close() does nothing.
 */
import Database from "better-sqlite3";
import type { Db } from "../../../src/queue/database.ts";
import type { DiskUser, SimDisk } from "./sim-disk.ts";
import { Program, SimStatement, type StatementHost } from "./sim-statement.ts";
import { forgetRandomness, useDisk, useNoDisk } from "./sim-vfs.ts";
import {
  allocate,
  allocateText,
  codeName,
  engine,
  type Pointer,
  readText,
  readWord,
} from "./sqlite-engine.ts";

export { SQLITE_VERSION } from "./sqlite-engine.ts";

const OPEN_READONLY = 1;
const OPEN_READWRITE_CREATE = 2 | 4;
const PREPARE_PERSISTENT = 1;
const ROW = 100;
const CONFIG_FOREIGN_KEYS = 1002;
const CONFIG_DEFENSIVE = 1010;
const BUSY_TIMEOUT_MS = 5000;

/** Many take effect while they are compiled, or know their answer from then: they are compiled each time. */
const PRAGMA = /^\s*PRAGMA\b/i;
/** Texts that come again with every commit, and may be compiled once. */
const OFTEN = /^(BEGIN|COMMIT|ROLLBACK|PRAGMA (page_count|freelist_count|page_size))\b[^=(;]*$/;

/**
 * Of the texts that some connection has compiled, whether they return rows: the next connection compiles them when
 * they are first used, and most lives of a gateway use a part of them.
 */
const knownReaders = new Map<string, boolean>();

const slot = allocate(8);

export interface OpenDiskOptions {
  readonly readonly?: boolean;
}

/** Opens a file of the disk, making it unless `readonly`. What it returns has what src/queue uses, and no more. */
export function openOnDisk(disk: SimDisk, file: string, options: OpenDiskOptions = {}): Db {
  return new SimDatabase(disk, file, options.readonly ?? false) as unknown as Db;
}

class SimDatabase implements StatementHost, DiskUser {
  readonly name: string;
  readonly readonly: boolean;
  readonly memory = false;
  readonly #disk: SimDisk;
  readonly #programs = new Map<string, Program>();
  #at: Pointer;
  #open = true;
  #busy = false;
  #died: Error | null = null;

  constructor(disk: SimDisk, file: string, readonly: boolean) {
    this.#disk = disk;
    this.name = file;
    this.readonly = readonly;
    useDisk(disk);
    forgetRandomness();
    disk.join(this);
    this.#busy = true;
    const path = allocateText(file);
    const code = engine.sqlite3_open_v2(path, slot, readonly ? OPEN_READONLY : OPEN_READWRITE_CREATE, 0);
    engine.sqlite3_free(path);
    this.#at = readWord(slot);
    this.leave();
    try {
      if (code !== 0) throw this.error();
      this.#configure();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get db(): Pointer {
    return this.#at;
  }

  get open(): boolean {
    return this.#open;
  }

  get inTransaction(): boolean {
    return this.#open && engine.sqlite3_get_autocommit(this.#at) === 0;
  }

  prepare(sql: string): SimStatement {
    return this.#statement(sql, false);
  }

  exec(sql: string): this {
    if (OFTEN.test(sql)) {
      this.prepare(sql).run();
      return this;
    }
    this.enter();
    const text = allocateText(sql);
    try {
      const end = text + Buffer.byteLength(sql);
      for (let at = text; at < end; ) at = this.#execOne(at, end);
    } finally {
      engine.sqlite3_free(text);
      this.leave();
    }
    return this;
  }

  pragma(source: string, options: { simple?: boolean } = {}): unknown {
    const statement = this.#statement(`PRAGMA ${source}`, true);
    try {
      return options.simple ? statement.pluck().get() : statement.all();
    } finally {
      statement.discard();
    }
  }

  transaction<A extends unknown[], R>(work: (...given: A) => R) {
    const within =
      (begin: string) =>
      (...given: A): R => {
        const [first, last, undo] = this.inTransaction
          ? ["SAVEPOINT nested", "RELEASE nested", "ROLLBACK TO nested"]
          : [begin, "COMMIT", "ROLLBACK"];
        this.exec(first!);
        try {
          const result = work(...given);
          this.exec(last!);
          return result;
        } catch (error) {
          if (this.inTransaction) {
            this.exec(undo!);
            if (undo !== "ROLLBACK") this.exec(last!);
          }
          throw error;
        }
      };
    return Object.assign(within("BEGIN"), {
      default: within("BEGIN"),
      deferred: within("BEGIN DEFERRED"),
      immediate: within("BEGIN IMMEDIATE"),
      exclusive: within("BEGIN EXCLUSIVE"),
    });
  }

  close(): this {
    if (!this.#open) return this;
    useDisk(this.#disk);
    this.#busy = true;
    this.#free();
    this.#disk.leave(this);
    this.#busy = false;
    if (this.#died) throw this.#died;
    return this;
  }

  // For its statements and its disk.

  enter(): void {
    if (this.#died) throw this.#died;
    if (!this.#open) throw new TypeError("The database connection is not open");
    useDisk(this.#disk);
    this.#busy = true;
  }

  leave(): void {
    this.#busy = false;
    if (!this.#died) return;
    this.#free();
    throw this.#died;
  }

  lost(reason: Error): void {
    this.#died = reason;
    if (!this.#busy) this.#free();
  }

  error(): Error {
    const code = engine.sqlite3_extended_errcode(this.#at);
    return new Database.SqliteError(readText(engine.sqlite3_errmsg(this.#at)), codeName(code));
  }

  #statement(sql: string, isPragma: boolean): SimStatement {
    this.enter();
    try {
      const kept = !PRAGMA.test(sql) || OFTEN.test(sql);
      const program = kept && knownReaders.has(sql) ? null : this.program(sql, kept);
      if (program) knownReaders.set(sql, program.columns.length > 0);
      return new SimStatement(this, sql, program, kept, isPragma || knownReaders.get(sql)!);
    } finally {
      this.leave();
    }
  }

  program(sql: string, kept: boolean): Program {
    let program = kept ? this.#programs.get(sql) : undefined;
    if (!program) {
      program = this.#compile(sql);
      if (kept) this.#programs.set(sql, program);
    }
    return program;
  }

  #compile(sql: string): Program {
    const text = allocateText(sql);
    try {
      const { statement, tail } = this.#prepare(text, -1, PREPARE_PERSISTENT);
      if (statement === 0) throw new RangeError("The supplied SQL string contains no statements");
      if (readText(tail).trim() !== "") {
        engine.sqlite3_finalize(statement);
        throw new RangeError("The supplied SQL string contains more than one statement");
      }
      return new Program(statement);
    } finally {
      engine.sqlite3_free(text);
    }
  }

  /** As better-sqlite3 is built and opens its connections, where that can be told apart. */
  #configure(): void {
    engine.sqlite3_extended_result_codes(this.#at, 1);
    engine.sqlite3_busy_timeout(this.#at, BUSY_TIMEOUT_MS);
    engine.sqlite3__wasm_db_config_ip(this.#at, CONFIG_FOREIGN_KEYS, 1, 0);
    engine.sqlite3__wasm_db_config_ip(this.#at, CONFIG_DEFENSIVE, 1, 0);
    // This build takes FULL for a log by itself, the product's takes NORMAL: whoever forgets FULL is to be found.
    this.pragma("synchronous = NORMAL");
  }

  #prepare(text: Pointer, bytes: number, flags: number): { statement: Pointer; tail: Pointer } {
    const code = engine.sqlite3_prepare_v3(this.#at, text, bytes, flags, slot, slot + 4);
    if (code !== 0) throw this.error();
    return { statement: readWord(slot), tail: readWord(slot + 4) };
  }

  /** Runs the first statement of a text; returns where the next begins. */
  #execOne(at: Pointer, end: Pointer): Pointer {
    const { statement, tail } = this.#prepare(at, end - at, 0);
    if (statement === 0) return end;
    while (engine.sqlite3_step(statement) === ROW);
    if (engine.sqlite3_finalize(statement) !== 0) throw this.error();
    return tail;
  }

  #free(): void {
    if (!this.#open) return;
    if (this.#died) useNoDisk();
    for (
      let at = engine.sqlite3_next_stmt(this.#at, 0);
      at !== 0;
      at = engine.sqlite3_next_stmt(this.#at, 0)
    ) {
      engine.sqlite3_finalize(at);
    }
    this.#programs.clear();
    this.#open = false;
    engine.sqlite3_close_v2(this.#at);
    this.#at = 0;
  }
}
