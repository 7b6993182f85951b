/**
 * Memory for simulated files, used again and again: a world writes some ten megabytes, and to get as much from the
 * system each time has the collector go through everything.
 */

/** Sizes are powers of two from here on. */
const BYTES_MIN = 65_536;
/** Of one size; what is beyond is left to the collector. */
const SPARE_MAX = 8;

const spare = new Map<number, Uint8Array[]>();

/** At least so many bytes, with anything in them. */
export function takeBytes(bytesMin: number): Uint8Array {
  const bytes = 2 ** Math.ceil(Math.log2(Math.max(bytesMin, BYTES_MIN)));
  return spare.get(bytes)?.pop() ?? new Uint8Array(bytes);
}

/** Nobody reads or writes these any more. Takes what takeBytes() gave, and leaves alone what it did not. */
export function giveBytes(bytes: Uint8Array): void {
  const { length } = bytes;
  if (length < BYTES_MIN || bytes.buffer.byteLength !== length || !Number.isInteger(Math.log2(length)))
    return;
  const known = spare.get(length);
  if (!known) spare.set(length, [bytes]);
  else if (known.length < SPARE_MAX) known.push(bytes);
}
