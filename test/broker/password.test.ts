import { describe, expect, it } from "vitest";
import {
  hashPassword,
  PasswordChecker,
  parsePasswordHash,
  verifyPassword,
} from "../../src/broker/password.ts";

const CHEAP = { ln: 10, r: 8, p: 1 };

describe("a password line", () => {
  it("is right for its password and for no other, and never the same twice", async () => {
    const line = await hashPassword("correct horse");
    expect(line).toMatch(/^\$scrypt\$ln=15,r=8,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
    expect(await verifyPassword("correct horse", line)).toBe(true);
    expect(await verifyPassword("correct horsf", line)).toBe(false);
    expect(await hashPassword("correct horse", CHEAP)).not.toBe(await hashPassword("correct horse", CHEAP));
  });

  it.each([
    ["another scheme", "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA"],
    ["a plain password", "secret"],
    ["a cost that would take the machine down", "$scrypt$ln=30,r=8,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg"],
    ["a cost that protects nothing", "$scrypt$ln=1,r=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg"],
    ["a hash of nothing", "$scrypt$ln=15,r=8,p=1$c2FsdHNhbHQ$AA"],
  ])("that is %s is none", async (_, line) => {
    expect(parsePasswordHash(line)).toBeNull();
    expect(await verifyPassword("secret", line)).toBe(false);
  });
});

describe("checking passwords", () => {
  it("takes the same work for a name that does not exist", async () => {
    const line = await hashPassword("right", { ln: 14, r: 8, p: 1 });
    const checker = new PasswordChecker([line], 10);
    const time = async (known: string | undefined) => {
      const startMs = performance.now();
      expect(await checker.check("wrong", known)).toBe("wrong");
      return performance.now() - startMs;
    };
    await time(line);
    const [there, absent] = [await time(line), await time(undefined)];
    // Without a check the answer would come in microseconds.
    expect(absent).toBeGreaterThan(there / 4);
  });

  it("remembers a password that was right, so that a fleet is let in again at once", async () => {
    const line = await hashPassword("right", { ln: 14, r: 8, p: 1 });
    const checker = new PasswordChecker([line], 1);
    expect(await checker.check("right", line)).toBe("right");
    // Only one at a time may wait for a check, so these are let in without.
    const answers = await Promise.all(Array.from({ length: 100 }, () => checker.check("right", line)));
    expect(new Set(answers)).toEqual(new Set(["right"]));
    expect(await checker.check("wrong", line)).toBe("wrong");
  });

  it("turns logins away rather than queue without end, and skips those who have left", async () => {
    const line = await hashPassword("right", CHEAP);
    const checker = new PasswordChecker([line], 3);
    let left = false;
    const waiting = Array.from({ length: 5 }, () => checker.check("x", line, () => left));
    expect(await checker.check("x", line)).toBe("busy");
    left = true;
    expect(await Promise.all(waiting)).toEqual(Array(5).fill("wrong"));
  });
});
