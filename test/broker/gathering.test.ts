import { describe, expect, it } from "vitest";
import { Gathering } from "../../src/broker/gathering.ts";
import { seededRandom } from "../../src/core/random.ts";

describe("bytes that are gathered", () => {
  it("are the same bytes, whatever pieces they came in", () => {
    const random = seededRandom(3);
    const gathering = new Gathering();
    for (let round = 0; round < 50; round++) {
      const pieces = Array.from({ length: random.below(60) }, () => {
        const piece = Buffer.alloc(1 + random.below(random.below(5) === 0 ? 30_000 : 400));
        random.fill(piece);
        return piece;
      });
      for (const piece of pieces) gathering.push(Buffer.from(piece));
      const whole = Buffer.concat(pieces);
      expect(gathering.bytes).toBe(whole.length);
      expect((gathering.take() ?? Buffer.alloc(0)).equals(whole)).toBe(true);
      expect(gathering.bytes).toBe(0);
      // Part of it is put back, as when it could not be handed over.
      if (whole.length > 0) gathering.push(whole.subarray(whole.length >> 1));
      gathering.clear();
    }
  });

  it("cost little more than themselves, one by one", () => {
    const count = 50_000;
    const grownBy = (keep: (byte: Buffer) => void) => {
      const { heapUsed } = process.memoryUsage();
      for (let n = 0; n < count; n++) keep(Buffer.from(new Uint8Array([n & 0xff]).buffer));
      return process.memoryUsage().heapUsed - heapUsed;
    };
    // The control: a list of the pieces.
    const list: Buffer[] = [];
    expect(grownBy((byte) => list.push(byte))).toBeGreaterThan(count * 50);
    const gathering = new Gathering();
    const before = process.memoryUsage().arrayBuffers;
    for (let n = 0; n < count; n++) gathering.push(Buffer.from([n & 0xff]));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(count * 25);
    expect(gathering.take()!.length).toBe(count);
    expect(list.length).toBe(count);
  });
});
