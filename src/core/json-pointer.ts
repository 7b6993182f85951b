/**
 * The value at a JSON pointer, or undefined where there is none. What JavaScript adds of its own (inherited
 * properties, an array's length) does not count. Source: RFC 6901.
 */
export function pointerValue(json: unknown, pointer: string): unknown {
  if (pointer === "") return json;
  let value = json;
  for (const token of pointer.slice(1).split("/")) {
    const key = token.replaceAll("~1", "/").replaceAll("~0", "~");
    if (value === null || typeof value !== "object" || !isEnumerable.call(value, key)) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

const isEnumerable = Object.prototype.propertyIsEnumerable;

/** The payload as JSON, or undefined where it is none. */
export function parseJson(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString("utf8"));
  } catch {
    return undefined;
  }
}
