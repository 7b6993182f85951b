/**
 * The bytes of a client's stream that have been read and not handed over: whole packets that have to wait, or
 * the beginning of one. Costs little more than the bytes themselves, however small the pieces they come in:
 * a piece of one byte would cost three hundred.
 */
const BLOCK_BYTES = 2048;

export class Gathering {
  #pieces: Buffer[] = [];
  #bytes = 0;
  /** How much of the last piece is filled, where it is a block for small ones; else 0. */
  #filled = 0;

  get bytes(): number {
    return this.#bytes;
  }

  push(piece: Buffer): void {
    this.#bytes += piece.length;
    let from = 0;
    if (this.#filled > 0) {
      const block = this.#pieces.at(-1)!;
      from = piece.copy(block, this.#filled);
      this.#filled += from;
      if (from === piece.length) return;
      this.#filled = 0;
    }
    const left = piece.length - from;
    if (left >= BLOCK_BYTES) {
      this.#pieces.push(from === 0 ? piece : piece.subarray(from));
      return;
    }
    const block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    this.#filled = piece.copy(block, 0, from);
    this.#pieces.push(block);
  }

  /** All of it as one buffer; what is not handed over is to be pushed again. */
  take(): Buffer | null {
    if (this.#bytes === 0) return null;
    if (this.#filled > 0) this.#pieces.push(this.#pieces.pop()!.subarray(0, this.#filled));
    const all = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces, this.#bytes);
    this.clear();
    return all;
  }

  clear(): void {
    this.#pieces = [];
    this.#bytes = 0;
    this.#filled = 0;
  }
}
