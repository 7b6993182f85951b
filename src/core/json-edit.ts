/**
 * Values put into a JSON text at JSON pointers (RFC 6901). What is not touched keeps its numbers digit for digit: to
 * parse and print again would turn 1.0 into 1 and round long ones.
 */
export interface JsonSet {
  readonly pointer: string;
  /** Any JSON value. */
  readonly value: unknown;
}

type Found = { readonly text: string } | { readonly problem: string };

/** ECMA-262 has them, and TypeScript's library does not know them yet. */
const rawJson = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON;
const parseExactly = JSON.parse as (
  text: string,
  reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
) => unknown;

export function setInJson(text: string, sets: readonly JsonSet[]): Found {
  let json: unknown;
  try {
    json = parseExactly(text, (_, value, { source }) =>
      typeof value === "number" && source !== undefined ? rawJson(source) : value,
    );
  } catch {
    return { problem: "the payload is no JSON, so that nothing can be set in it" };
  }
  const root = { json };
  for (const { pointer, value } of sets) {
    const problem = setAt(root, pointer, value);
    if (problem) return { problem: `${pointer || "the whole"}: ${problem}` };
  }
  return { text: JSON.stringify(root.json) };
}

/** Its parent must be there; a member that is not is added, and `-` adds to the end of an array. */
function setAt(root: { json: unknown }, pointer: string, value: unknown): string | null {
  if (pointer === "") {
    root.json = value;
    return null;
  }
  if (!pointer.startsWith("/")) return "a JSON pointer begins with /";
  const tokens = pointer
    .slice(1)
    .split("/")
    .map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
  const last = tokens.pop()!;
  let parent = root.json;
  for (const token of tokens) {
    if (!isHolder(parent) || !Object.hasOwn(parent, token))
      return `there is no ${JSON.stringify(token)} to go into`;
    parent = (parent as Record<string, unknown>)[token];
  }
  if (!isHolder(parent)) return "what it would be put into is neither an object nor an array";
  const key = Array.isArray(parent) && last === "-" ? String(parent.length) : last;
  if (Array.isArray(parent) && !(/^(0|[1-9]\d*)$/.test(key) && Number(key) <= parent.length)) {
    return `an array of ${parent.length} has no place ${JSON.stringify(last)}`;
  }
  // Not by assignment: a member may be called `__proto__`.
  Object.defineProperty(parent, key, { value, enumerable: true, configurable: true, writable: true });
  return null;
}

/** A number that is kept as it was written is an object too, and a frozen one. */
function isHolder(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Object.isFrozen(value);
}
