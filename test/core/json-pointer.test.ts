import { describe, expect, it } from "vitest";
import { parseJson, pointerValue } from "../../src/core/json-pointer.ts";

describe("a JSON pointer", () => {
  // The examples of RFC 6901, section 5.
  const document = {
    foo: ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
  };
  it.each([
    ["", document],
    ["/foo", ["bar", "baz"]],
    ["/foo/0", "bar"],
    ["/", 0],
    ["/a~1b", 1],
    ["/c%d", 2],
    ["/e^f", 3],
    ["/g|h", 4],
    ["/i\\j", 5],
    ['/k"l', 6],
    ["/ ", 7],
    ["/m~0n", 8],
  ])("%j", (pointer, value) => {
    expect(pointerValue(document, pointer)).toEqual(value);
  });

  it("reads ~01 as ~1, not as /", () => {
    expect(pointerValue({ "~1": "right", "/": "wrong" }, "/~01")).toBe("right");
  });

  it.each([
    "/nothing",
    "/foo/2",
    "/foo/-",
    "/foo/0/0",
    "/foo/length",
    "/constructor",
    "/__proto__",
    "/toString",
  ])("finds nothing at %s", (pointer) => {
    expect(pointerValue(document, pointer)).toBeUndefined();
  });

  it.each([null, undefined, 5, "text", true])("finds nothing in %j", (json) => {
    expect(pointerValue(json, "/a")).toBeUndefined();
  });

  it("tells null from nothing", () => {
    expect(pointerValue({ a: null }, "/a")).toBeNull();
  });
});

it("a payload that is no JSON is undefined, not an error", () => {
  expect(parseJson(Buffer.from('{"a":1}'))).toEqual({ a: 1 });
  for (const text of ["", "{", "a", "\u0000", '{"a":1}x'])
    expect(parseJson(Buffer.from(text))).toBeUndefined();
});
