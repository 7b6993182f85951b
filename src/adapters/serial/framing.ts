/**
 * Where a frame begins and ends in what comes over the line, and whether it is whole. Pure: bytes go in by
 * push(), silence by quiet(), frames come out.
 *
 *   delimiter  up to `end`, and from `start` on where there is one
 *   stx-etx    the same with control characters, and the checksum behind the end
 *   length     so many bytes, from `start` on where there is one
 *   gap        what comes without a pause
 *
 * Promise: never holds more than one frame of the largest size; after anything that is no frame it finds the
 * next one, and each such thing comes out as `bad`, with its reason. Bytes between frames are counted as noise.
 *
 * How it finds back: with `start`, at the next one, be it within what looked like a frame; without, behind the
 * next `end`, or after silence. A line that is opened while the machine speaks begins in the middle of a frame:
 * until the first `end` or silence nothing is believed, or half a number would be taken for a whole one.
 */
import { bytesOf } from "./bytes-text.ts";
import { checksumBytes, checksumOf } from "./checksum.ts";
import type { ChecksumConfig, FramingConfig } from "./schema.ts";

export interface Verdict {
  readonly ok: boolean;
  /** In hex, as computed and as received. */
  readonly expected: string;
  readonly received: string;
}

export type FrameEvent =
  | {
      readonly kind: "frame";
      /** Without the characters around it and without its checksum. */
      readonly content: Buffer;
      readonly raw: Buffer;
      readonly checksum: Verdict | null;
    }
  | {
      readonly kind: "bad";
      /** A name, a colon, a sentence. */
      readonly reason: string;
      /** The beginning of it. */
      readonly raw: Buffer;
      readonly checksum: Verdict | null;
    };

export interface Framer {
  /** Bytes that lay outside of any frame. */
  readonly noiseBytes: number;
  /** It is not known where a frame begins; silence will tell. */
  readonly lost: boolean;
  /** Silence would tell something. */
  readonly pending: boolean;
  push(data: Buffer): FrameEvent[];
  /** Nothing came for `framing.quiet`. */
  quiet(): FrameEvent[];
  /** What is held belongs to the past: forgotten, and counted as noise. */
  forget(): void;
}

/** Of a bad frame so much is kept, for people. */
const BAD_BYTES_KEPT = 64;
/** Line ends and fillers between frames are usual, and no noise. */
const USUAL_BETWEEN = new Set([0x0d, 0x0a, 0x00, 0x20]);

export function makeFramer(framing: FramingConfig): Framer {
  switch (framing.type) {
    case "gap":
      return new GapFramer(framing);
    case "length":
      return new LengthFramer(framing);
    default:
      return new DelimitedFramer(framing);
  }
}

abstract class HoldingFramer<F extends FramingConfig> implements Framer {
  noiseBytes = 0;
  protected readonly framing: F;
  protected held: Buffer = Buffer.alloc(0);
  /** Until it is known where a frame begins; at first it may be in the middle of one. */
  lost = true;

  constructor(framing: F) {
    this.framing = framing;
  }

  get pending(): boolean {
    return this.held.length > 0 || this.lost;
  }

  push(data: Buffer): FrameEvent[] {
    this.held = this.held.length === 0 ? data : Buffer.concat([this.held, data]);
    const events: FrameEvent[] = [];
    for (let more = true; more; ) {
      const before = this.held.length;
      const event = this.step();
      if (event) events.push(event);
      more = this.held.length > 0 && this.held.length < before;
    }
    // A copy: the chunk it came in may be large.
    this.held = Buffer.from(this.held);
    return events;
  }

  quiet(): FrameEvent[] {
    const left = this.held;
    const wasLost = this.lost;
    this.lost = false;
    this.held = Buffer.alloc(0);
    if (left.length > 0 && !wasLost) return [bad("cut-short: nothing more came", left)];
    this.noise(left);
    return [];
  }

  forget(): void {
    this.noise(this.held);
    this.held = Buffer.alloc(0);
    this.lost = false;
  }

  /** Takes one thing off the front of what is held; leaves it as it is where more has to come. */
  protected abstract step(): FrameEvent | null;

  /** The first `count` bytes are done with. */
  protected take(count: number): Buffer {
    const taken = this.held.subarray(0, count);
    this.held = this.held.subarray(count);
    return taken;
  }

  protected noise(bytes: Buffer): void {
    for (const byte of bytes) if (!USUAL_BETWEEN.has(byte)) this.noiseBytes += 1;
  }

  /** Drops what stands before the next `start`; false where there is none yet. */
  protected toStart(start: Buffer, from = 0): boolean {
    const at = this.held.indexOf(start, from);
    // The beginning of a start may be all that has come of it.
    this.noise(this.take(at >= 0 ? at : Math.max(0, this.held.length - start.length + 1)));
    return at >= 0;
  }
}

class DelimitedFramer extends HoldingFramer<FramingConfig & { type: "delimiter" | "stx-etx" }> {
  readonly #start = bytesOf(this.framing.start ?? "");
  readonly #end = bytesOf(this.framing.end);

  protected step(): FrameEvent | null {
    const { bytesMax, checksum } = this.framing;
    const start = this.#start;
    if (start.length > 0) {
      this.lost = false;
      if (!this.toStart(start)) return null;
    }
    const end = this.held.indexOf(this.#end, start.length);
    if (end < 0 ? this.held.length > start.length + bytesMax : end > start.length + bytesMax) {
      return this.#tooLong(end);
    }
    if (end < 0) return null;
    if (this.lost) {
      this.lost = false;
      this.noise(this.take(end + this.#end.length));
      return null;
    }
    const after = checksum?.place === "after" ? checksumLength(checksum) : 0;
    const size = end + this.#end.length + after;
    if (this.held.length < size) return null;
    const raw = this.held.subarray(0, size);
    const content = raw.subarray(start.length, end);
    const inner = start.length > 0 ? content.lastIndexOf(start) : -1;
    const event = this.#judge(raw, content);
    // A start within is another frame's: the one before it was cut short. Only a checksum may say otherwise.
    if (inner >= 0 && !(checksum && event?.kind === "frame")) {
      return bad("cut-short: another frame begins in it", this.take(start.length + inner));
    }
    this.take(size);
    return event;
  }

  #judge(raw: Buffer, content: Buffer): FrameEvent | null {
    const { checksum } = this.framing;
    if (content.length === 0) return null;
    if (!checksum)
      return { kind: "frame", content: Buffer.from(content), raw: Buffer.from(raw), checksum: null };
    if (checksum.place === "inside") return checkedInside(raw, content, checksum, this.#start, this.#end);
    const received = raw.subarray(raw.length - checksumLength(checksum));
    return checked(raw, content, received, covered(content, checksum, this.#start, this.#end), checksum);
  }

  #tooLong(end: number): FrameEvent | null {
    // Told once, however much of it there is.
    const event = this.lost
      ? null
      : bad(`too-long: more than ${this.framing.bytesMax} bytes without an end`, this.held);
    if (this.#start.length > 0) this.toStart(this.#start, this.#start.length);
    else if (end >= 0) this.take(end + this.#end.length);
    else {
      // The rest of it is to come, and is no frame either. The beginning of an end may stand at the end.
      this.take(this.held.length - this.#end.length + 1);
      this.lost = true;
    }
    return event;
  }
}

class LengthFramer extends HoldingFramer<FramingConfig & { type: "length" }> {
  readonly #start = bytesOf(this.framing.start ?? "");
  /** One bad frame is told once, however many places are tried for the next one. */
  #searching = false;

  protected step(): FrameEvent | null {
    const { bytes, checksum } = this.framing;
    const canSearch = this.#start.length > 0 || checksum !== undefined;
    if (this.#start.length > 0 && !this.toStart(this.#start)) return null;
    if (this.lost && !canSearch) {
      this.noise(this.take(this.held.length));
      return null;
    }
    if (this.held.length < bytes) return null;
    const raw = this.held.subarray(0, bytes);
    const content = raw.subarray(this.#start.length);
    const event: FrameEvent = checksum
      ? checkedInside(raw, content, checksum, this.#start, NOTHING)
      : { kind: "frame", content: Buffer.from(content), raw: Buffer.from(raw), checksum: null };
    if (event.kind === "frame") {
      this.#searching = false;
      this.lost = false;
      this.take(bytes);
      return event;
    }
    const told = this.#searching || this.lost;
    this.#searching = true;
    this.noise(this.take(1));
    return told ? null : event;
  }

  override quiet(): FrameEvent[] {
    const told = this.#searching;
    this.#searching = false;
    const events = super.quiet();
    return told ? [] : events;
  }
}

class GapFramer extends HoldingFramer<FramingConfig & { type: "gap" }> {
  protected step(): FrameEvent | null {
    const { bytesMax } = this.framing;
    if (this.lost) this.noise(this.take(this.held.length));
    if (this.held.length <= bytesMax) return null;
    this.lost = true;
    return bad(`too-long: more than ${bytesMax} bytes without a pause`, this.take(this.held.length));
  }

  override quiet(): FrameEvent[] {
    const { checksum } = this.framing;
    const raw = this.take(this.held.length);
    this.lost = false;
    if (raw.length === 0) return [];
    if (!checksum) return [{ kind: "frame", content: raw, raw, checksum: null }];
    return [checkedInside(raw, raw, checksum, NOTHING, NOTHING)];
  }
}

const NOTHING = Buffer.alloc(0);

/** The checksum stands at the end of the content, behind its separator. */
function checkedInside(
  raw: Buffer,
  whole: Buffer,
  config: ChecksumConfig,
  start: Buffer,
  end: Buffer,
): FrameEvent {
  const separator = bytesOf(config.separator ?? "");
  const at = whole.length - checksumLength(config) - separator.length;
  if (at < 0 || !whole.subarray(at, at + separator.length).equals(separator)) {
    return bad("no-checksum: there is none at its end", raw);
  }
  const content = whole.subarray(0, at);
  const received = whole.subarray(at + separator.length);
  return checked(raw, content, received, covered(content, config, start, end), config);
}

function checked(
  raw: Buffer,
  content: Buffer,
  received: Buffer,
  over: Buffer,
  config: ChecksumConfig,
): FrameEvent {
  const expected = checksumText(over, config);
  // Hex digits come in either case.
  const same =
    config.encoding === "hex"
      ? received.toString("latin1").toUpperCase() === expected.toString("latin1")
      : received.equals(expected);
  const shown = (bytes: Buffer) =>
    config.encoding === "hex" ? bytes.toString("latin1") : bytes.toString("hex");
  const checksum = { ok: same, expected: shown(expected), received: shown(received) };
  if (same) return { kind: "frame", content: Buffer.from(content), raw: Buffer.from(raw), checksum };
  const reason = `checksum: it says ${checksum.received}, and ${checksum.expected} would be right`;
  return { ...bad(reason, raw), checksum };
}

function covered(content: Buffer, { covers }: ChecksumConfig, start: Buffer, end: Buffer): Buffer {
  return Buffer.concat([covers.start ? start : NOTHING, content, covers.end ? end : NOTHING]);
}

function checksumText(over: Buffer, { algorithm, encoding, byteOrder }: ChecksumConfig): Buffer {
  const length = checksumBytes(algorithm);
  const bytes = Buffer.alloc(length);
  bytes.writeUIntBE(checksumOf(algorithm, over), 0, length);
  if (byteOrder === "little") bytes.reverse();
  return encoding === "binary" ? bytes : Buffer.from(bytes.toString("hex").toUpperCase(), "latin1");
}

function checksumLength({ algorithm, encoding }: ChecksumConfig): number {
  return checksumBytes(algorithm) * (encoding === "hex" ? 2 : 1);
}

function bad(reason: string, raw: Buffer): FrameEvent & { kind: "bad" } {
  return { kind: "bad", reason, raw: Buffer.from(raw.subarray(0, BAD_BYTES_KEPT)), checksum: null };
}

/** `content` as the instrument frames it, for what is sent to it. */
export function wrap(framing: FramingConfig, content: Buffer): Buffer {
  const start = "start" in framing ? bytesOf(framing.start ?? "") : NOTHING;
  const end = "end" in framing ? bytesOf(framing.end) : NOTHING;
  const { checksum } = framing;
  if (!checksum) return Buffer.concat([start, content, end]);
  const sum = checksumText(covered(content, checksum, start, end), checksum);
  if (checksum.place === "after") return Buffer.concat([start, content, end, sum]);
  return Buffer.concat([start, content, bytesOf(checksum.separator ?? ""), sum, end]);
}
