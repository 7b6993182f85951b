/**
 * How requests and replies cross between the main thread and the store thread: one growing buffer each
 * way, transferred, never copied. A batch is `count` then that many records, each led by its kind.
 * Numbers are little-endian; a count, length or packet id is u32, a sequence or time f64 (exact to 2^53);
 * a text is length and UTF-8; an optional field is led by a byte 0 or 1.
 */
const INITIAL_BYTES_MAX = 64 * 1024;
const INITIAL_BYTES_MIN = 1024;

export class Encoder {
  #buffer: Buffer;
  #at = 0;

  constructor(initialBytes = INITIAL_BYTES_MIN) {
    this.#buffer = Buffer.from(new ArrayBuffer(initialBytes));
  }

  get length(): number {
    return this.#at;
  }

  u8(value: number): void {
    this.#room(1);
    this.#buffer[this.#at++] = value;
  }

  u32(value: number): void {
    this.#room(4);
    this.#at = this.#buffer.writeUInt32LE(value, this.#at);
  }

  f64(value: number): void {
    this.#room(8);
    this.#at = this.#buffer.writeDoubleLE(value, this.#at);
  }

  text(value: string): void {
    // A UTF-16 unit takes at most three bytes of UTF-8.
    this.#room(4 + value.length * 3);
    const bytes = this.#buffer.write(value, this.#at + 4, "utf8");
    this.#buffer.writeUInt32LE(bytes, this.#at);
    this.#at += 4 + bytes;
  }

  bytes(value: Uint8Array): void {
    this.#room(4 + value.length);
    this.#buffer.writeUInt32LE(value.length, this.#at);
    this.#buffer.set(value, this.#at + 4);
    this.#at += 4 + value.length;
  }

  optionalText(value: string | null | undefined): void {
    if (value === null || value === undefined) {
      this.u8(0);
      return;
    }
    this.u8(1);
    this.text(value);
  }

  optionalNumber(value: number | null | undefined): void {
    if (value === null || value === undefined) {
      this.u8(0);
      return;
    }
    this.u8(1);
    this.f64(value);
  }

  /** Forgets what was written after the first `length` bytes. */
  rewind(length: number): void {
    this.#at = length;
  }

  /** The bytes written, in a buffer of their own that can be transferred; the encoder is empty afterwards. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = new Uint8Array(this.#buffer.buffer as ArrayBuffer, 0, this.#at);
    // The next batch is mostly like this one: room for twice as much, and no more to fill with zeros than that.
    const bytes = Math.min(Math.max(this.#at * 2, INITIAL_BYTES_MIN), INITIAL_BYTES_MAX);
    this.#buffer = Buffer.from(new ArrayBuffer(bytes));
    this.#at = 0;
    return taken;
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const larger = Math.max(this.#buffer.length * 2, this.#at + bytes);
    // What it outgrows is free at once.
    this.#buffer = Buffer.from((this.#buffer.buffer as ArrayBuffer).transfer(larger));
  }
}

/** Gives a batch's memory back at once. A thread that does little else may come to its next collection late. */
export function free({ buffer }: Uint8Array<ArrayBuffer>): void {
  buffer.transfer(0);
}

export class Decoder {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get done(): boolean {
    return this.#at >= this.#buffer.length;
  }

  u8(): number {
    return this.#buffer[this.#at++]!;
  }

  u32(): number {
    const value = this.#buffer.readUInt32LE(this.#at);
    this.#at += 4;
    return value;
  }

  f64(): number {
    const value = this.#buffer.readDoubleLE(this.#at);
    this.#at += 8;
    return value;
  }

  text(): string {
    const length = this.u32();
    const value = this.#buffer.toString("utf8", this.#at, this.#at + length);
    this.#at += length;
    return value;
  }

  /** A view into the batch: it keeps the whole batch in memory as long as it lives. */
  bytes(): Buffer {
    const length = this.u32();
    const value = this.#buffer.subarray(this.#at, this.#at + length);
    this.#at += length;
    return value;
  }

  optionalText(): string | null {
    return this.u8() === 1 ? this.text() : null;
  }

  optionalNumber(): number | null {
    return this.u8() === 1 ? this.f64() : null;
  }
}
