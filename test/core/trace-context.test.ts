import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { carriedTrace, parseTraceparent, traceIdOf, traceparentText } from "../../src/core/trace-context.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
const GOOD = `00-${TRACE}-${SPAN}-01`;

/** A different way to say what the standard says: by hand, digit for digit. */
function isByHand(text: string): boolean {
  const hex = (part: string | undefined, digits: number) =>
    part?.length === digits && [...part].every((digit) => "0123456789abcdef".includes(digit));
  const [version, trace, span, flags, ...more] = text.split("-");
  if (!hex(version, 2) || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2)) return false;
  if (version === "ff" || (version === "00" && more.length > 0)) return false;
  return [...trace!].some((digit) => digit !== "0") && [...span!].some((digit) => digit !== "0");
}

describe("a traceparent", () => {
  it("says its trace, the span it comes from, and whether it is sampled", () => {
    expect(parseTraceparent(GOOD)).toEqual({ traceId: TRACE, spanId: SPAN, sampled: true });
    expect(parseTraceparent(`00-${TRACE}-${SPAN}-02`)).toMatchObject({ sampled: false });
    // Of a version to come that says more: what we know of it counts.
    expect(parseTraceparent(`01-${TRACE}-${SPAN}-01-more`)).toMatchObject({ traceId: TRACE });
    expect(traceparentText(parseTraceparent(GOOD)!)).toBe(GOOD);
    expect(traceIdOf({ traceparent: GOOD })).toBe(TRACE);
    expect(traceIdOf({ traceparent: null })).toBeUndefined();
  });

  it.each([
    ["of no version", `ff-${TRACE}-${SPAN}-01`],
    ["longer than its version", `${GOOD}-more`],
    ["with something behind it", `${GOOD}x`],
    ["of the trace 0", `00-${"0".repeat(32)}-${SPAN}-01`],
    ["of the span 0", `00-${TRACE}-${"0".repeat(16)}-01`],
    ["in capitals", GOOD.toUpperCase()],
    ["with a line break", `${GOOD}\n`],
    ["of a later version, with what is no header", `01-${TRACE}-${SPAN}-01-\u0001`],
    ["far too long", `01-${TRACE}-${SPAN}-01-${"x".repeat(300)}`],
    ["twice", `${GOOD}, ${GOOD}`],
    ["a number", 7],
    ["a list", [GOOD]],
    ["nothing", undefined],
  ])("is none where it is %s", (_, text) => {
    expect(parseTraceparent(text)).toBeNull();
    expect(carriedTrace(text, "a=1")).toBeNull();
  });

  it("is told from what looks like one, whatever comes", () => {
    const digits = (n: number) => fc.string({ unit: fc.constantFrom(..."00af"), minLength: n, maxLength: n });
    const near = fc
      .tuple(
        fc.oneof(digits(2), fc.constant("ff")),
        fc.oneof(digits(32), fc.constant("0".repeat(32))),
        digits(16),
        fc.oneof(digits(2), digits(3)),
        fc.constantFrom("", "-", "-x", "x", "\n"),
      )
      .map(([version, trace, span, flags, more]) => `${version}-${trace}-${span}-${flags}${more}`);
    const made = fc
      .tuple(digits(32), digits(16), digits(2))
      .map(([trace, span, flags]) => `00-${trace}-${span}-${flags}`);
    let valid = 0;
    fc.assert(
      fc.property(fc.oneof(near, made, fc.string({ unit: "binary", maxLength: 80 })), (text) => {
        const parsed = parseTraceparent(text);
        const printable = /^[\x20-\x7e]*$/.test(text);
        expect(parsed !== null).toBe(printable && isByHand(text));
        if (parsed) valid += 1;
      }),
      { numRuns: 2000 },
    );
    // Both sides were looked at.
    expect(valid).toBeGreaterThan(200);
    expect(valid).toBeLessThan(1950);
  });
});

describe("a tracestate", () => {
  const stateOf = (text: unknown) => carriedTrace(GOOD, text)?.tracestate;

  it.each([
    "a=1",
    "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
    "fw529a3039@dt=FfFfFf",
    "a=x y%2F,\tb=2 , ,c=3",
  ])("is kept as it came: %s", (text) => {
    expect(stateOf(text)).toBe(text);
  });

  it.each([
    ["empty", ""],
    ["without a value", "a"],
    ["with a key in capitals", "A=1"],
    ["with a line break", "a=1\r\nx: y"],
    ["not ASCII", "a=ü"],
    ["of too many members", Array.from({ length: 33 }, (_, n) => `k${n}=1`).join(",")],
    ["too long", `a=${"x".repeat(250)},b=${"x".repeat(250)},c=${"x".repeat(20)}`],
    ["a list", ["a=1"]],
  ])("that is %s is left out, and the traceparent stays", (_, text) => {
    expect(carriedTrace(GOOD, text)).toEqual({ traceparent: GOOD, tracestate: null });
  });
});
