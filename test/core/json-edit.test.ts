import { expect, it } from "vitest";
import { setInJson } from "../../src/core/json-edit.ts";

const set = (text: string, ...sets: [pointer: string, value: unknown][]) =>
  setInJson(
    text,
    sets.map(([pointer, value]) => ({ pointer, value })),
  );

it.each<[string, string, unknown, string]>([
  ['{"bar":3.1,"n":1.0}', "/bar", 2.9, '{"bar":2.9,"n":1.0}'],
  ['{"a":{"b":[1,2]}}', "/a/b/1", { c: null }, '{"a":{"b":[1,{"c":null}]}}'],
  ['{"a":[1]}', "/a/-", "x", '{"a":[1,"x"]}'],
  ['{"a":1}', "/new", true, '{"a":1,"new":true}'],
  ['{"a/b":1,"m~n":2}', "/a~1b", 3, '{"a/b":3,"m~n":2}'],
  ["12", "", { whole: 1 }, '{"whole":1}'],
  ['{"id":12345678901234567890,"e":1e400}', "/x", 1, '{"id":12345678901234567890,"e":1e400,"x":1}'],
  ["{}", "/__proto__", 1, '{"__proto__":1}'],
])("in %s at %j: %j", (text, pointer, value, wanted) => {
  expect(set(text, [pointer, value])).toEqual({ text: wanted });
});

it.each<[string, string, string]>([
  ["no json", "/a", "the payload is no JSON, so that nothing can be set in it"],
  ['{"a":1}', "/b/c", '/b/c: there is no "b" to go into'],
  ['{"a":1}', "/a/b", "/a/b: what it would be put into is neither an object nor an array"],
  ["[1]", "/5", '/5: an array of 1 has no place "5"'],
  ["[1]", "/length", '/length: an array of 1 has no place "length"'],
  ["{}", "a", "a: a JSON pointer begins with /"],
  ["{}", "/constructor/x", '/constructor/x: there is no "constructor" to go into'],
])("says why not in %s at %s", (text, pointer, problem) => {
  expect(set(text, [pointer, 1])).toEqual({ problem });
});
