/**
 * Values into a statement, by the rules of better-sqlite3: any mixture of values, arrays of them, and one plain
 * object with names; each parameter exactly once.
 *
 * Texts and blobs lie in an arena while the statement runs and are not copied by the engine: it has done with
 * them when run, get or all return, and binds anew before it looks again.
 */
import { allocate, engine, heap, type Pointer, readText } from "./sqlite-engine.ts";

const ARENA_BYTES = 65_536;
/** The engine neither frees nor copies what it is given. */
const STAYS = 0;

const arena = allocate(ARENA_BYTES);
let used = 0;
/** What did not fit, to be freed. */
const spills: Pointer[] = [];

/** What a statement's parameters are called. */
export class Parameters {
  readonly at: Pointer;
  readonly count: number;
  /** By name, without its sign. */
  readonly named = new Map<string, number>();
  /** Those without a name, in order. */
  readonly positional: number[] = [];

  constructor(at: Pointer) {
    this.at = at;
    this.count = engine.sqlite3_bind_parameter_count(at);
    for (let index = 1; index <= this.count; index++) {
      const name = engine.sqlite3_bind_parameter_name(at, index);
      if (name === 0) this.positional.push(index);
      else this.named.set(readText(name).slice(1), index);
    }
  }
}

export function bindAll(parameters: Parameters, given: readonly unknown[]): void {
  let bound = 0;
  let next = 0;
  let object = false;
  const bindNext = (value: unknown) => {
    // Past the last it goes on counting, and the engine would refuse.
    const index = parameters.positional[next++];
    if (index === undefined) throw new RangeError("Too many parameter values were provided");
    bindValue(parameters.at, index, value);
    bound += 1;
  };
  for (const argument of given) {
    if (Array.isArray(argument)) for (const value of argument) bindNext(value);
    else if (isPlainObject(argument)) {
      if (object) throw new TypeError("You cannot specify named parameters in two different objects");
      object = true;
      for (const [name, index] of parameters.named) {
        if (!Object.hasOwn(argument, name)) throw new RangeError(`Missing named parameter "${name}"`);
        bindValue(parameters.at, index, argument[name]);
        bound += 1;
      }
    } else bindNext(argument);
  }
  if (bound < parameters.count) {
    if (!object && parameters.named.size > 0) throw new TypeError("Missing named parameters");
    throw new RangeError("Too few parameter values were provided");
  }
}

export function releaseArena(): void {
  used = 0;
  if (spills.length === 0) return;
  for (const at of spills) engine.sqlite3_free(at);
  spills.length = 0;
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function bindValue(at: Pointer, index: number, value: unknown): void {
  let code: number;
  // Every number is a double, as in better-sqlite3; columns of integers make integers of them.
  if (typeof value === "number") code = engine.sqlite3_bind_double(at, index, value);
  else if (typeof value === "string") {
    const length = value.length;
    const place = room(length * 3 + 1);
    code = engine.sqlite3_bind_text(at, index, place, putText(value, place, length), STAYS);
  } else if (value === null || value === undefined) code = engine.sqlite3_bind_null(at, index);
  else if (value instanceof Uint8Array) {
    const place = room(value.length + 1);
    heap().set(value, place);
    code = engine.sqlite3_bind_blob(at, index, place, value.length, STAYS);
  } else if (typeof value === "bigint") code = engine.sqlite3_bind_int64(at, index, value);
  else throw new TypeError("SQLite3 can only bind numbers, strings, bigints, buffers, and null");
  if (code !== 0) throw new RangeError("The bound string, buffer, or bigint is too big");
}

/** Returns how many bytes it came to. */
function putText(text: string, place: Pointer, length: number): number {
  const memory = heap();
  if (length <= 48) {
    let at = 0;
    for (; at < length; at++) {
      const unit = text.charCodeAt(at);
      if (unit > 127) break;
      memory[place + at] = unit;
    }
    if (at === length) return length;
  }
  return memory.write(text, place, "utf8");
}

function room(bytes: number): Pointer {
  if (used + bytes <= ARENA_BYTES) {
    const place = arena + used;
    used += (bytes + 7) & ~7;
    return place;
  }
  const place = allocate(bytes);
  spills.push(place);
  return place;
}
