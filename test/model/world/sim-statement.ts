/**
 * A prepared statement on the engine, with the manners of better-sqlite3: the same arguments, the same values
 * back, the same errors for wrong ones.
 *
 * Statements of the same text share one compiled program, which is free again when run, get or all return. So
 * asking for the same text again and again costs a look-up, and nothing has to be thrown away.
 */
import { bindAll, Parameters, releaseArena } from "./sim-binding.ts";
import { engine, heap, type Pointer, readText } from "./sqlite-engine.ts";

const ROW = 100;
const DONE = 101;
const TYPE = { integer: 1, float: 2, text: 3, blob: 4 } as const;

/** What a statement needs of its connection. */
export interface StatementHost {
  readonly db: Pointer;
  readonly open: boolean;
  /** Before the engine is called; throws where the connection is closed or dead. */
  enter(): void;
  /** After it, whatever came of it; throws where the connection has died meanwhile. */
  leave(): void;
  /** The engine's last error. */
  error(): Error;
  /** Compiles a text, or has done so before where those are `kept`. */
  program(source: string, kept: boolean): Program;
}

/** A compiled statement. */
export class Program {
  readonly at: Pointer;
  readonly parameters: Parameters;
  #columns: readonly string[] = [];

  constructor(at: Pointer) {
    this.at = at;
    this.parameters = new Parameters(at);
  }

  /** Names of its columns; a change of schema can give it others. */
  get columns(): readonly string[] {
    const count = engine.sqlite3_column_count(this.at);
    if (count !== this.#columns.length) {
      this.#columns = Array.from({ length: count }, (_, column) =>
        readText(engine.sqlite3_column_name(this.at, column)),
      );
    }
    return this.#columns;
  }
}

type Shape = "object" | "array" | "first";

export class SimStatement {
  readonly source: string;
  readonly #host: StatementHost;
  /** Null until it is first used. */
  #program: Program | null;
  /** Its connection keeps the program. */
  readonly #kept: boolean;
  /** Whether it yields rows. */
  readonly reader: boolean;
  #shape: Shape = "object";

  constructor(host: StatementHost, source: string, program: Program | null, kept: boolean, reader: boolean) {
    this.#host = host;
    this.source = source;
    this.#program = program;
    this.#kept = kept;
    this.reader = reader;
  }

  /** Frees its program, unless its connection has done so or keeps it for the next of the same text. */
  discard(): void {
    if (!this.#kept && this.#program && this.#host.open) engine.sqlite3_finalize(this.#program.at);
  }

  pluck(on = true): this {
    return this.#shaped("first", on);
  }

  raw(on = true): this {
    return this.#shaped("array", on);
  }

  run(...given: unknown[]): { changes: number; lastInsertRowid: number } {
    return this.#execute(given, ({ at }) => {
      const { db } = this.#host;
      const before = engine.sqlite3_total_changes(db);
      engine.sqlite3_step(at);
      if (engine.sqlite3_reset(at) !== 0) throw this.#host.error();
      const changed = engine.sqlite3_total_changes(db) !== before;
      return {
        changes: changed ? engine.sqlite3_changes(db) : 0,
        lastInsertRowid: Number(engine.sqlite3_last_insert_rowid(db)),
      };
    });
  }

  get(...given: unknown[]): unknown {
    this.#requireRows();
    return this.#execute(given, (program) => {
      const { at } = program;
      const code = engine.sqlite3_step(at);
      if (code !== ROW && code !== DONE) throw this.#failed(at);
      const row = code === ROW ? this.#row(at, program.columns) : undefined;
      engine.sqlite3_reset(at);
      return row;
    });
  }

  all(...given: unknown[]): unknown[] {
    this.#requireRows();
    return this.#execute(given, (program) => {
      const { at } = program;
      const rows: unknown[] = [];
      if (engine.sqlite3_step(at) === ROW) {
        const { columns } = program;
        do rows.push(this.#row(at, columns));
        while (engine.sqlite3_step(at) === ROW);
      }
      if (engine.sqlite3_reset(at) !== 0) throw this.#host.error();
      return rows;
    });
  }

  /** All rows at once: nothing of ours writes between two rows, so nobody can tell. */
  *iterate(...given: unknown[]): IterableIterator<unknown> {
    yield* this.all(...given);
  }

  #shaped(shape: Shape, on: boolean): this {
    if (!this.reader) {
      const name = shape === "first" ? "pluck" : "raw";
      throw new TypeError(`The ${name}() method is only for statements that return data`);
    }
    if (on) this.#shape = shape;
    else if (this.#shape === shape) this.#shape = "object";
    return this;
  }

  #requireRows(): void {
    if (!this.reader) throw new TypeError("This statement does not return data. Use run() instead");
  }

  #execute<T>(given: readonly unknown[], work: (program: Program) => T): T {
    this.#host.enter();
    try {
      this.#program ??= this.#host.program(this.source, this.#kept);
      bindAll(this.#program.parameters, given);
      return work(this.#program);
    } finally {
      releaseArena();
      this.#host.leave();
    }
  }

  #failed(at: Pointer): Error {
    engine.sqlite3_reset(at);
    return this.#host.error();
  }

  #row(at: Pointer, columns: readonly string[]): unknown {
    if (this.#shape === "first") return value(at, 0);
    if (this.#shape === "array") return columns.map((_, column) => value(at, column));
    const row: Record<string, unknown> = {};
    for (let column = 0; column < columns.length; column++) row[columns[column]!] = value(at, column);
    return row;
  }
}

function value(at: Pointer, column: number): unknown {
  switch (engine.sqlite3_column_type(at, column)) {
    case TYPE.integer:
    case TYPE.float:
      // A 64-bit integer becomes the nearest double, as in better-sqlite3.
      return engine.sqlite3_column_double(at, column);
    case TYPE.text: {
      const text = engine.sqlite3_column_text(at, column);
      return heap().toString("utf8", text, text + engine.sqlite3_column_bytes(at, column));
    }
    case TYPE.blob: {
      const blob = engine.sqlite3_column_blob(at, column);
      const bytes = engine.sqlite3_column_bytes(at, column);
      return Buffer.from(heap().subarray(blob, blob + bytes));
    }
    default:
      return null;
  }
}
