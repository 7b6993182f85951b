/**
 * Ids as a backend writes them down: a line each, JSON (`"id"`, or `{"id": …}`) or CSV with the ids in the first column or
 * in one that its first line names; or JSON as a whole. What is wrong is refused in a sentence that names the line.
 */
import { errorText } from "./errors.ts";
import { MESSAGE_ID_BYTES_MAX } from "./limits.ts";

/** What is longer is no line with an id, and is not gathered. */
const LINE_CHARS_MAX = 64 * 2 ** 10;
const SHOWN_CHARS = 80;

/** The error of whoever reads, for what is wrong with a list. */
export type Refuse = (sentence: string) => Error;

/** Where in a list its ids stand. */
export interface IdPlace {
  /** What the id is called there. */
  readonly column: string;
  readonly refuse: Refuse;
}

/** Yields them in batches: those of a chunk together. */
export async function* idsIn(
  input: AsyncIterable<Uint8Array>,
  { column, refuse }: IdPlace,
): AsyncGenerator<string[]> {
  const decoder = new TextDecoder();
  let rest = "";
  let line = 0;
  let field = 0;
  const idsOf = (lines: readonly string[]) =>
    lines.flatMap((raw) => {
      line += 1;
      const text = raw.trim();
      if (text === "") return [];
      if (line === 1 && !text.startsWith("{")) {
        const head = fieldsOf(text).indexOf(column);
        if (head !== -1) {
          field = head;
          return [];
        }
      }
      const id = idOf(text.startsWith("{") ? memberOf(text, column) : fieldsOf(text)[field]);
      if (id === undefined) throw refuse(`line ${line} has no id in \`${column}\`: ${shown(text)}`);
      return [id];
    });
  for await (const chunk of input) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    if (rest.length > LINE_CHARS_MAX)
      throw refuse(
        `line ${line + lines.length + 1} is longer than ${LINE_CHARS_MAX} characters: ${shown(rest)}`,
      );
    const ids = idsOf(lines);
    if (ids.length > 0) yield ids;
  }
  const ids = idsOf([rest + decoder.decode()]);
  if (ids.length > 0) yield ids;
}

/** JSON that is read whole, so it is bounded. */
export async function jsonIn(
  input: AsyncIterable<Uint8Array>,
  bytesMax: number,
  refuse: Refuse,
): Promise<unknown> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of input) {
    bytes += chunk.length;
    if (bytes > bytesMax)
      throw refuse(
        `JSON is read whole, and this is larger than ${bytesMax / 2 ** 20} MiB: as JSON lines or CSV it may be larger`,
      );
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    throw refuse(`it is no JSON (${errorText(error)})`);
  }
}

/** An array of ids, or of objects that have one; or an object with such an array: the only one in it, whatever it is called. */
export function idsInJson(value: unknown, { column, refuse }: IdPlace): string[] {
  const arrays = Array.isArray(value) ? [value] : Object.values(value ?? {}).filter(Array.isArray);
  if (arrays.length !== 1) throw refuse("it is neither an array nor an object with one array in it");
  return arrays[0]!.map((each: unknown, at: number) => {
    const id = idOf(
      typeof each === "object" && each !== null ? (each as Record<string, unknown>)[column] : each,
    );
    if (id === undefined)
      throw refuse(`entry ${at + 1} has no id in \`${column}\`: ${shown(JSON.stringify(each) ?? "")}`);
    return id;
  });
}

function idOf(value: unknown): string | undefined {
  const text = typeof value === "number" ? String(value) : value;
  if (typeof text !== "string" || text === "" || Buffer.byteLength(text) > MESSAGE_ID_BYTES_MAX)
    return undefined;
  return text;
}

function memberOf(text: string, column: string): unknown {
  try {
    return (JSON.parse(text) as Record<string, unknown>)[column];
  } catch {
    return undefined;
  }
}

/** RFC 4180, one line: fields with `,` or `;` between, in quotes where they hold one. */
function fieldsOf(text: string): string[] {
  const fields = text.matchAll(/(?:^|[,;\t])\s*(?:"((?:[^"]|"")*)"|([^,;\t]*))/g);
  return Array.from(fields, ([, quoted, plain = ""]) => quoted?.replaceAll('""', '"') ?? plain.trim());
}

function shown(text: string): string {
  return text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS)}…` : text;
}
