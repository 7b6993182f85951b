/** Leaving out what must not be printed. Which values are secrets is written in the schemas. */
import type { Path } from "./config-text.ts";
import { hasSecret, mapBySchema, type Schema } from "./schema-walk.ts";

export const REDACTED = "(redacted)";

/**
 * A copy of `value` without its secrets: what the schema marks as one, what `isSecret` says of a path, and
 * passwords inside addresses (`mqtt://user:password@host`), whatever the schema says.
 */
export function redact(
  schema: Schema,
  value: unknown,
  isSecret: (path: Path) => boolean = () => false,
): unknown {
  return mapBySchema(schema, value, (at, schemas, path) => {
    if (at === undefined || at === null) return undefined;
    if (schemas.some(hasSecret) || isSecret(path)) return REDACTED;
    return typeof at === "string" ? withoutPassword(at) : undefined;
  });
}

/** `mqtt://user:(redacted)@host` for an address with a password in it; other text as it is. */
export function withoutPassword(text: string): string {
  // A scheme is short; without a bound, long text that is no address would be looked through from each letter on.
  return text.replaceAll(/([a-zA-Z][a-zA-Z0-9+.-]{0,40}:\/\/[^\s/?#:@]*):[^\s/?#]*@/g, `$1:${REDACTED}@`);
}
