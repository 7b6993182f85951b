/** What a client asks for in headers: `Idempotency-Key`, and `Prefer: wait=N` (RFC 7240, section 4.3). */
import type { IncomingHttpHeaders } from "node:http";
import { HoldfastError } from "../core/errors.ts";

const KEY_CHARS_MAX = 200;
const WAIT_S_MAX = 300;

/** Throws HF_REQUEST for one that cannot be a key. */
export function idempotencyKey(headers: IncomingHttpHeaders): string | null {
  const given = [headers["idempotency-key"]].flat()[0];
  if (given === undefined) return null;
  if (/^[\x20-\x7e]+$/.test(given) && given.length <= KEY_CHARS_MAX) return given;
  throw new HoldfastError(
    "HF_REQUEST",
    `Idempotency-Key: expected 1 to ${KEY_CHARS_MAX} printable characters`,
  );
}

/** Whole seconds; a preference that cannot be read, or is none of ours, is none (RFC 7240, section 2). */
export function preferredWaitMs({ prefer }: IncomingHttpHeaders): number {
  const found = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?(?:$|[,;\s])/i.exec([prefer].flat().join(","));
  return found ? Math.min(Number(found[1]), WAIT_S_MAX) * 1000 : 0;
}
