/**
 * A YAML text as values that remember where they were written.
 *
 * Every key and every value keeps its line and column, so that whatever is found wrong with it later, by a
 * schema or by a check across rooms, can be said with its place. `${…}` is put in on the way (interpolate.ts).
 * What a variable stands for is text; where the schema wants a number or true/false, the schema's reader asks
 * for `reading()`.
 *
 * Syntax errors end the reading, since what follows one is guesswork. Everything else is collected.
 */
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Pair, parseDocument, Scalar } from "yaml";
import { interpolate, type Sources } from "./interpolate.ts";
import { nestedTooDeeplyAt } from "./yaml-depth.ts";
import { yamlSentence } from "./yaml-sentence.ts";

export type Path = readonly (string | number)[];

export interface Place {
  /** Both count from 1. */
  readonly line: number;
  readonly column: number;
}

export interface Problem extends Place {
  readonly path: Path;
  /** What was found, and what is allowed. */
  readonly message: string;
}

/** A value that `${…}` stood in. */
export interface Filled {
  /** As the file has it: this may be shown, what it stands for may not. */
  readonly written: string;
  readonly fromFile: boolean;
  /** The number or truth value that the text spells, where it is not in quotes and spells one. */
  readonly reading: number | boolean | undefined;
}

export interface ConfigText {
  /** Plain objects, arrays and scalars; undefined where the text has a syntax error. */
  readonly value: unknown;
  readonly problems: readonly Problem[];
  /** Where the value at `path` begins; for one that is not there, where the part that should hold it is. */
  valuePlace(path: Path): Place;
  /** Where the key of `path` stands, in the same way. */
  keyPlace(path: Path): Place;
  filled(path: Path): Filled | undefined;
  /** Paths of all values that `${…}` stood in. */
  filledPaths(): Path[];
  /** True where a `#` ended the value before it began, as in `from: #`. */
  lostToComment(path: Path): boolean;
}

const DEPTH_MAX = 64;
/** Values after aliases are written out: keeps a few lines of them from becoming gigabytes. */
const VALUES_MAX = 200_000;
const SYNTAX_PROBLEMS_MAX = 3;

export function readConfigText(text: string, sources: Sources): ConfigText {
  const lines = new LineCounter();
  const deepAt = nestedTooDeeplyAt(text, DEPTH_MAX);
  // Only what stands before it is read: the place is found in it, and the parser's time does not explode.
  const document = withoutStacks(() =>
    parseDocument(deepAt === null ? text : text.slice(0, deepAt + 1), {
      lineCounter: lines,
      prettyErrors: false,
      uniqueKeys: false,
    }),
  );
  const place = (offset: number): Place => {
    const { line, col } = lines.linePos(Math.min(offset, text.length));
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const reader = new Reader(text, sources, place, document);
  if (deepAt !== null) {
    reader.problem([], deepAt, `nested more than ${DEPTH_MAX} levels deep`);
    return reader;
  }
  if (document.errors.length > 0) {
    for (const error of document.errors.slice(0, SYNTAX_PROBLEMS_MAX)) {
      reader.problem([], error.pos[0], yamlSentence(error, text));
    }
    return reader;
  }
  for (const warning of document.warnings) reader.problem([], warning.pos[0], yamlSentence(warning, text));
  reader.value = reader.read(document.contents, [], 0);
  return reader;
}

/** A long file may have a hundred thousand faults, and each is an error, whose stack costs more than to find it. */
function withoutStacks<T>(work: () => T): T {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return work();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

interface Noted {
  key?: Place;
  value?: Place;
  filled?: Filled;
  lostToComment?: boolean;
}

class Reader implements ConfigText {
  value: unknown;
  readonly problems: Problem[] = [];
  readonly #text: string;
  readonly #sources: Sources;
  readonly #place: (offset: number) => Place;
  readonly #document: ReturnType<typeof parseDocument>;
  readonly #noted = new Map<string, Noted>();
  readonly #said = new Set<string>();
  #values = 0;

  constructor(
    text: string,
    sources: Sources,
    place: (offset: number) => Place,
    document: ReturnType<typeof parseDocument>,
  ) {
    this.#text = text;
    this.#sources = sources;
    this.#place = place;
    this.#document = document;
  }

  valuePlace(path: Path): Place {
    const noted = this.#noted.get(pathKey(path));
    return noted?.value ?? noted?.key ?? this.#holderPlace(path);
  }

  keyPlace(path: Path): Place {
    const noted = this.#noted.get(pathKey(path));
    return noted?.key ?? noted?.value ?? this.#holderPlace(path);
  }

  /** Something is missing inside `path`'s holder: point at the holder's name rather than into its first value. */
  #holderPlace(path: Path): Place {
    return path.length === 0 ? { line: 1, column: 1 } : this.keyPlace(path.slice(0, -1));
  }

  filled(path: Path): Filled | undefined {
    return this.#noted.get(pathKey(path))?.filled;
  }

  filledPaths(): Path[] {
    return [...this.#noted].filter(([, noted]) => noted.filled).map(([key]) => JSON.parse(key) as string[]);
  }

  lostToComment(path: Path): boolean {
    return this.#noted.get(pathKey(path))?.lostToComment ?? false;
  }

  problem(path: Path, offset: number, message: string): void {
    const place = this.#place(offset);
    // An alias brings its anchor's problems a second time, at the same place.
    const said = `${place.line}:${place.column}: ${message}`;
    if (this.#said.has(said)) return;
    this.#said.add(said);
    this.problems.push({ ...place, path, message });
  }

  read(node: unknown, path: Path, depth: number): unknown {
    if (isAlias(node)) {
      const anchored = node.resolve(this.#document);
      if (anchored) return this.read(anchored, path, depth + 1);
      this.problem(path, offsetOf(node), `there is no anchor &${node.source} above this alias`);
      return undefined;
    }
    const offset = offsetOf(node);
    if (depth > DEPTH_MAX) {
      this.problem(path, offset, `nested more than ${DEPTH_MAX} levels deep`);
      return undefined;
    }
    if (++this.#values > VALUES_MAX) {
      if (this.#values === VALUES_MAX + 1) this.problem(path, offset, `more than ${VALUES_MAX} values`);
      return undefined;
    }
    const note = this.#note(path);
    if (node !== null && offset >= 0) note.value = this.#place(offset);
    if (isMap(node)) return this.#readMap(node.items, path, depth);
    if (isSeq(node)) return node.items.map((item, at) => this.read(item, [...path, at], depth + 1));
    if (isScalar(node)) return this.#readScalar(node, path, note);
    return null;
  }

  #readMap(items: readonly Pair[], path: Path, depth: number): Record<string, unknown> {
    const map: Record<string, unknown> = {};
    for (const { key, value } of items) {
      const offset = offsetOf(key);
      if (!isScalar(key) || key.value === null) {
        this.problem(path, offset, isScalar(key) ? "a key is missing before the :" : "a key must be a word");
        continue;
      }
      const name = key.type === Scalar.PLAIN && key.source !== undefined ? key.source : String(key.value);
      const below = [...path, name];
      const place = this.#place(offset);
      const earlier = this.#noted.get(pathKey(below))?.key;
      if (name === "__proto__") this.problem(below, offset, "this word cannot be a name");
      else if (name.includes("${"))
        this.problem(below, offset, `\${…} is put into values only, not into names`);
      else if (Object.hasOwn(map, name)) {
        this.problem(below, offset, `given twice: it already stands at line ${earlier?.line}`);
      } else {
        this.#note(below).key = place;
        map[name] = this.read(value, below, depth + 1);
        if (map[name] === null && this.#commentFollows(key)) this.#note(below).lostToComment = true;
      }
    }
    return map;
  }

  #readScalar(node: Scalar, path: Path, note: Noted): unknown {
    if (typeof node.value !== "string" || !node.value.includes("${")) return node.value;
    const { text, changed, fromFile, problems } = interpolate(node.value, this.#sources);
    for (const message of problems) this.problem(path, offsetOf(node), message);
    if (changed) {
      const reading = node.type === Scalar.PLAIN ? plainReading(text) : undefined;
      note.filled = { written: node.value, fromFile, reading };
    }
    return text;
  }

  #commentFollows(key: Scalar): boolean {
    const end = key.range?.[1] ?? 0;
    const line = this.#text.slice(end, this.#text.indexOf("\n", end) + 1 || undefined);
    return /^\s*:\s+#/.test(line);
  }

  #note(path: Path): Noted {
    const key = pathKey(path);
    const noted = this.#noted.get(key) ?? {};
    this.#noted.set(key, noted);
    return noted;
  }
}

const pathKey = (path: Path) => JSON.stringify(path.map(String));

function offsetOf(node: unknown): number {
  return (node as { range?: [number, number, number] } | null)?.range?.[0] ?? -1;
}

/** What a text would be as a YAML value without quotes, where that is not text. */
function plainReading(text: string): number | boolean | undefined {
  if (/^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$/.test(text)) return Number(text);
  if (/^(true|True|TRUE)$/.test(text)) return true;
  if (/^(false|False|FALSE)$/.test(text)) return false;
  return undefined;
}

/** `broker.listeners[0].port`; a name that is not a plain word stands in quotes. */
export function pathText(path: Path): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (/^[\w-]+$/.test(part)) text += text === "" ? part : `.${part}`;
    else text += `${text === "" ? "" : "."}${JSON.stringify(part)}`;
  }
  return text;
}
