/** What fuzz tests draw from: a seeded source of odd values, and damage done to texts and bytes. */
import { type Random, seededRandom } from "../../src/core/random.ts";

/** Text that has broken somebody's parser before. */
const ODD_TEXT = [
  "",
  " ",
  "\0",
  "\u0001\u001f",
  "\ufeff",
  "\ufffe",
  "\u2028\u2029",
  "\ud800",
  "e\u0301",
  "😀",
  "%00",
  "%",
  "%zz",
  "%c0%af",
  "../../etc/passwd",
  "..\\..",
  "//",
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "length",
  "null",
  "undefined",
  "NaN",
  "Infinity",
  "-0",
  "1e999",
  "9007199254740993",
  "0x10",
  "1_000",
  "true",
  "~",
  "~0",
  "~1",
  "~01",
  "/",
  "#",
  "+",
  "$SYS/x",
  "'; DROP TABLE messages; --",
  "<script>alert(1)</script>",
  "\r\nX-Injected: 1",
  "\n\n",
  "a".repeat(300),
  `$\{PATH}`,
  `$\{file:/etc/passwd}`,
  "{{7*7}}",
];

export class Fuzz {
  readonly random: Random;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.random.below(n) === 0;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.random.below(values.length)]!;
  }

  text(): string {
    if (this.oneIn(3)) return this.pick(ODD_TEXT) + (this.oneIn(3) ? this.pick(ODD_TEXT) : "");
    return Array.from({ length: this.random.below(24) }, () => {
      const ascii = this.oneIn(4) ? this.random.below(0x110000) : 32 + this.random.below(95);
      return String.fromCodePoint(ascii);
    }).join("");
  }

  bytes(max: number): Buffer {
    const bytes = Buffer.alloc(this.random.below(max + 1));
    this.random.fill(bytes);
    return bytes;
  }

  number(): number {
    return this.pick([
      0,
      -0,
      1,
      -1,
      0.1,
      2 ** 31,
      2 ** 53,
      -(2 ** 53) - 2,
      1e21,
      1e308,
      5e-324,
      8.64e15,
      8.64e15 + 1,
      this.random.below(1000),
      this.random.unit(),
    ]);
  }

  /** Any JSON value; now and then deep, or wide. */
  json(depth = 0): unknown {
    switch (this.random.below(depth > 4 ? 5 : 8)) {
      case 0:
        return null;
      case 1:
        return this.oneIn(2);
      case 2:
        return this.number();
      case 3:
      case 4:
        return this.text();
      case 5:
        return Array.from({ length: this.random.below(5) }, () => this.json(depth + 1));
      default: {
        const object: Record<string, unknown> = Object.create(null);
        for (let n = this.random.below(5); n > 0; n--) object[this.text()] = this.json(depth + 1);
        return object;
      }
    }
  }

  /** JSON text that is not always what a serializer would write: repeated keys, long numbers, depth. */
  jsonText(): string {
    switch (this.random.below(8)) {
      case 0:
        return "[".repeat(20_000) + "]".repeat(this.oneIn(2) ? 20_000 : 3);
      case 1:
        return `{"id":${"9".repeat(1 + this.random.below(400))},"n":1e${this.random.below(999)}}`;
      case 2:
        return `{"id":"a","id":${JSON.stringify(this.json())},"__proto__":{"id":"p"}}`;
      case 3:
        return this.damaged(JSON.stringify(this.json()) ?? "null");
      default:
        return JSON.stringify(this.json()) ?? "null";
    }
  }

  /** `text` with a few changes: characters taken away, put in, doubled, swapped, or the end cut off. */
  damaged(text: string, extras: readonly string[] = ODD_TEXT): string {
    let result = text;
    for (let n = 1 + this.random.below(4); n > 0; n--) {
      const at = this.random.below(result.length + 1);
      const length = this.oneIn(4) ? this.random.below(200) : this.random.below(6);
      const [before, middle, after] = [
        result.slice(0, at),
        result.slice(at, at + length),
        result.slice(at + length),
      ];
      switch (this.random.below(5)) {
        case 0:
          result = before + after;
          break;
        case 1:
          result = before + this.pick(extras) + middle + after;
          break;
        case 2:
          result = before + middle + middle + after;
          break;
        case 3:
          result = before + after.slice(0, length) + middle + after.slice(length);
          break;
        default:
          result = this.oneIn(4) ? before : before + String.fromCharCode(32 + this.random.below(95)) + after;
      }
    }
    return result;
  }

  /** `bytes` with a few of them changed, which may end their being text. */
  damagedBytes(bytes: Buffer): Buffer {
    const copy = Buffer.from(bytes);
    for (let n = 1 + this.random.below(6); n > 0 && copy.length > 0; n--) {
      copy[this.random.below(copy.length)] = this.random.below(256);
    }
    return this.oneIn(5) ? copy.subarray(0, this.random.below(copy.length + 1)) : copy;
  }
}
