/**
 * Every limit that is not an operator's to set, in one place, with the relations that must hold between
 * them. Limits an operator may set have their default and range in the schema of their room.
 */

/** One commit takes at most this many requests… */
export const COMMIT_REQUESTS_MAX = 8192;
/** …and about this many bytes, so that a commit stays a few milliseconds of writing. */
export const COMMIT_BYTES_MAX = 8 * 2 ** 20;

/** A client id, user or device name in bytes. */
export const NAME_BYTES_MAX = 256;
/** A message id in bytes: the producer's own ids included. */
export const MESSAGE_ID_BYTES_MAX = 256;
/** All headers of a message together, as JSON. */
export const HEADERS_BYTES_MAX = 16 * 2 ** 10;

/** Reasons and details kept in a history; longer ones are cut. */
export const REASON_CHARS_MAX = 500;

export function cutReason(text: string): string {
  return text.length > REASON_CHARS_MAX ? `${text.slice(0, REASON_CHARS_MAX - 1)}…` : text;
}

/** A flow without order is spread over so many lanes, so that commits and claims stay in runs. */
export const UNORDERED_LANES = 16;

/** The largest MQTT packet that can exist (section 2.2.3), and so the most a listener may be set to take. */
export const MQTT_PACKET_BYTES_MAX = 268_435_455;

assert(COMMIT_REQUESTS_MAX * 64 <= COMMIT_BYTES_MAX, "a commit of many small requests fits its byte limit");
assert(MESSAGE_ID_BYTES_MAX <= HEADERS_BYTES_MAX, "an id can travel as a header");

function assert(holds: boolean, relation: string): void {
  if (!holds) throw new Error(`limits.ts: this must hold: ${relation}`);
}
