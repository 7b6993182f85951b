/** What a schema allows, in words: `a whole number from 1 to 65535`, `one of a, b, c`, `text`. */
import { bareSchemas, defOf, layers, type Schema, schemaMeta } from "./schema-walk.ts";
import { formatDuration, parseBytes } from "./units.ts";

const WORDS_MAX = 20;

export function allowedWords(schema: Schema): string {
  const meta = schemaMeta(schema);
  if (meta.quantity) return quantityWords(meta.quantity, meta.limits ?? "");
  if (meta.filePath) return "the path of a file";
  const bare = bareSchemas(schema);
  if (bare.length > 1) {
    const choices = constants(bare);
    return choices ? oneOf(choices) : [...new Set(bare.map(allowedWords))].join(", or ");
  }
  return bareWords(bare[0] ?? schema);
}

/** `a duration`, `a duration, at least 10ms`, `a size from 1KiB to 1MiB`. */
function quantityWords(quantity: string, range: string): string {
  const limits = range.replaceAll(".0 ", " ");
  if (limits.startsWith("from")) return `a ${quantity} ${limits}`;
  return /^(at least 0(ms| B)|)$/.test(limits) ? `a ${quantity}` : `a ${quantity}, ${limits}`;
}

/** `a`, `a or b`, `one of a, b, c`. */
export function oneOf(values: readonly unknown[]): string {
  const distinct = [...new Set(values.map(String))];
  const words = distinct.slice(0, WORDS_MAX);
  if (distinct.length > WORDS_MAX) words.push("…");
  return words.length < 3 ? words.join(" or ") : `one of ${words.join(", ")}`;
}

/** The values of a place that takes only certain ones, else null. */
export function choicesOf(schemas: readonly Schema[]): string[] | null {
  return constants(schemas.flatMap((schema) => bareSchemas(schema)))?.map(String) ?? null;
}

function constants(bare: readonly Schema[]): unknown[] | null {
  const lists = bare.map((schema) => {
    const def = defOf(schema);
    if (def.type === "enum") return Object.values(def.entries!);
    return def.type === "literal" ? [...def.values!] : null;
  });
  return lists.length > 0 && lists.every((list) => list !== null) ? [...new Set(lists.flat())] : null;
}

function bareWords(schema: Schema): string {
  const def = defOf(schema);
  switch (def.type) {
    case "string":
      return stringWords(schema);
    case "number":
    case "int":
      return numberWords(schema);
    case "boolean":
      return "true or false";
    case "null":
      return "null";
    case "enum":
    case "literal":
      return oneOf(constants([schema]) ?? []);
    case "array":
      return listWords(schema, def.element!);
    case "object":
      return "a map";
    case "record":
    case "map":
      return "a map of names";
    default:
      return "any value";
  }
}

interface Bounds {
  readonly min?: number;
  readonly max?: number;
  readonly above?: number;
  readonly below?: number;
  readonly format?: string;
  readonly prefix?: string;
}

/** Formats that a word says; what a pattern is about is in its message or its description. */
const FORMAT_WORDS: Readonly<Record<string, string>> = {
  url: "a URL",
  email: "an e-mail address",
  uuid: "a UUID",
  ipv4: "an IPv4 address",
  ipv6: "an IPv6 address",
  base64: "base64",
};

/** What a schema's checks leave of all numbers, or of all lengths. */
function boundsOf(schema: Schema): Bounds {
  const def = defOf(schema);
  const bounds: { -readonly [K in keyof Bounds]: Bounds[K] } = { format: def.format };
  for (const check of def.checks ?? []) {
    const { check: kind, value, inclusive, minimum, maximum, length, format, prefix } = check._zod.def;
    if (kind === "greater_than") bounds[inclusive ? "min" : "above"] = value;
    else if (kind === "less_than") bounds[inclusive ? "max" : "below"] = value;
    else if (kind === "min_length") bounds.min = minimum;
    else if (kind === "max_length") bounds.max = maximum;
    else if (kind === "length_equals") bounds.min = bounds.max = length;
    else if (kind === "number_format" || kind === "string_format") {
      bounds.format ??= format;
      bounds.prefix ??= prefix;
    }
  }
  return bounds;
}

function stringWords(schema: Schema): string {
  const { min = 0, max, format, prefix } = boundsOf(schema);
  const said = FORMAT_WORDS[format ?? ""];
  const what = prefix !== undefined ? `text that begins with ${prefix}` : said ? `text (${said})` : "text";
  if (max !== undefined) return `${what} of ${min} to ${max} characters`;
  return min > 1 ? `${what} of at least ${min} characters` : what;
}

function numberWords(schema: Schema): string {
  const { min, max, above, below, format } = boundsOf(schema);
  const what = format?.includes("int") ? "a whole number" : "a number";
  if (min !== undefined && max !== undefined) return `${what} from ${min} to ${max}`;
  if (min !== undefined) return `${what}, at least ${min}`;
  if (max !== undefined) return `${what}, at most ${max}`;
  if (above !== undefined && below !== undefined) return `${what} between ${above} and ${below}`;
  if (above !== undefined) return `${what} above ${above}`;
  return below === undefined ? what : `${what} below ${below}`;
}

function listWords(schema: Schema, element: Schema): string {
  const { min = 0, max } = boundsOf(schema);
  const words = allowedWords(element);
  const count =
    max !== undefined
      ? ` (${min} to ${max})`
      : min > 1
        ? ` (at least ${min})`
        : min === 1
          ? " (not empty)"
          : "";
  return words.includes(", or ") ? `a list${count}, each ${words}` : `a list${count} of ${plural(words)}`;
}

/** Good enough for what stands in lists: texts, maps, numbers. */
function plural(words: string): string {
  if (words === "text") return "texts";
  if (words === "a map") return "maps";
  return words;
}

/** The default as people write it in the file, or undefined where a key has none. */
export function defaultOf(schema: Schema): { readonly value: unknown } | undefined {
  const layer = layers(schema).find((each) => /^(default|prefault)$/.test(defOf(each).type));
  return layer && { value: defOf(layer).defaultValue };
}

/** True where the key may be left out. */
export function isOptional(schema: Schema): boolean {
  return schema._zod.optin === "optional";
}

/** A number of ms or bytes as people write it, exactly: `90s`, `1536KiB`. */
export function spellQuantity(quantity: string, value: number): string {
  if (quantity === "duration") return formatDuration(value);
  const units = ["TiB", "GiB", "MiB", "KiB"].map((unit) => [unit, parseBytes(`1${unit}`)!] as const);
  const [unit, bytes] = units.find(([, each]) => value >= each && value % each === 0) ?? ["B", 1];
  return `${value / bytes}${unit}`;
}
