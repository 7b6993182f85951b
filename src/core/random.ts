/** Chance, passed in: a seed makes a run repeatable, the system source makes ids unguessable. */
import { randomFillSync, randomInt } from "node:crypto";

export interface Random {
  /** A whole number in [0, limit). */
  below(limit: number): number;
  /** A float in [0, 1). */
  unit(): number;
  /** Overwrites every byte. */
  fill(bytes: Uint8Array): void;
}

const POOL_BYTES = 8192;

/** The operating system's generator, read in pools because one syscall per message id is dear. */
export function systemRandom(): Random {
  const pool = Buffer.alloc(POOL_BYTES);
  let at = POOL_BYTES;
  return {
    below: (limit) => randomInt(limit),
    unit: () => randomInt(2 ** 48 - 1) / 2 ** 48,
    fill(bytes) {
      if (bytes.length > POOL_BYTES) {
        randomFillSync(bytes);
        return;
      }
      if (at + bytes.length > POOL_BYTES) {
        randomFillSync(pool);
        at = 0;
      }
      bytes.set(pool.subarray(at, at + bytes.length));
      at += bytes.length;
    },
  };
}

/** A repeatable generator for tests and simulators (xorshift128+ family, 32-bit lanes; not for secrets). */
export function seededRandom(seed: number): Random {
  let a = seed >>> 0 || 0x9e3779b9;
  let b = Math.imul(a ^ 0x85ebca6b, 0xc2b2ae35) >>> 0 || 1;
  let c = Math.imul(b ^ 0x27d4eb2f, 0x165667b1) >>> 0 || 2;
  let d = Math.imul(c ^ 0x9e3779b9, 0x85ebca6b) >>> 0 || 3;
  function next(): number {
    let t = d;
    const s = a;
    d = c;
    c = b;
    b = s;
    t ^= t << 11;
    t ^= t >>> 8;
    a = (t ^ s ^ (s >>> 19)) >>> 0;
    return a;
  }
  for (let i = 0; i < 16; i++) next();
  return {
    below: (limit) => Math.floor((next() / 2 ** 32) * limit),
    unit: () => next() / 2 ** 32,
    fill(bytes) {
      for (let i = 0; i < bytes.length; i++) bytes[i] = next() & 0xff;
    },
  };
}
