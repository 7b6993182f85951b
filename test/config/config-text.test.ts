// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is tested

import { describe, expect, it } from "vitest";
import { pathText, readConfigText } from "../../src/core/config-text.ts";

const read = (text: string, env: Record<string, string> = {}) =>
  readConfigText(text, { env, folder: "/nowhere" });

/** `line:column path: message` of every problem. */
const problemsOf = (text: string) =>
  read(text).problems.map(
    ({ line, column, path, message }) => `${line}:${column} ${pathText(path)}: ${message}`,
  );

describe("a YAML text with its places", () => {
  const text = read(
    ["a: 1", "b:", "  - x: yes", "    y: {z: '5'}", "c: &anchor", "  d: true", "e: *anchor", "8: null"].join(
      "\n",
    ),
  );

  it("reads as plain values", () => {
    expect(text.problems).toEqual([]);
    expect(text.value).toEqual({
      a: 1,
      b: [{ x: "yes", y: { z: "5" } }],
      c: { d: true },
      e: { d: true },
      8: null,
    });
  });

  it("knows where each value and each key stands", () => {
    expect(text.valuePlace(["a"])).toEqual({ line: 1, column: 4 });
    expect(text.valuePlace(["b", 0])).toEqual({ line: 3, column: 5 });
    expect(text.valuePlace(["b", 0, "y", "z"])).toEqual({ line: 4, column: 12 });
    expect(text.keyPlace(["b", 0, "y"])).toEqual({ line: 4, column: 5 });
    expect(text.keyPlace(["8"])).toEqual({ line: 8, column: 1 });
  });

  it("points at the holder's name for what is not there", () => {
    expect(text.valuePlace(["b", 0, "y", "missing", "deeper"])).toEqual({ line: 4, column: 5 });
    expect(text.valuePlace(["missing"])).toEqual({ line: 1, column: 1 });
  });

  it("is an empty one where nothing but comments is written", () => {
    expect(read("# nothing\n")).toMatchObject({ value: null, problems: [] });
    expect(read("")).toMatchObject({ value: null, problems: [] });
  });
});

describe("${…} in a YAML text", () => {
  it("is put into values of every style, and not into names or comments", () => {
    const text = read('a: ${V}\nb: \'${V}\'\nc: "x${V}"\nd: |\n  ${V}\ne: ["${V}"] # ${NONE}\n', { V: "5" });
    expect(text.problems).toEqual([]);
    expect(text.value).toEqual({ a: "5", b: "5", c: "x5", d: "5\n", e: ["5"] });
    expect(problemsOf("${V}: 1")).toEqual(['1:1 "${V}": ${…} is put into values only, not into names']);
  });

  it("spells a number or a truth value only where it is not in quotes", () => {
    const text = read("a: ${V}\nb: '${V}'\nc: ${T}\nd: ${S}", { V: "-5.5", T: "true", S: "5s" });
    expect(text.filled(["a"])).toEqual({ written: "${V}", fromFile: false, reading: -5.5 });
    expect(text.filled(["b"])?.reading).toBeUndefined();
    expect(text.filled(["c"])?.reading).toBe(true);
    expect(text.filled(["d"])?.reading).toBeUndefined();
    expect(text.filledPaths()).toEqual([["a"], ["b"], ["c"], ["d"]]);
  });

  it("says the place of each problem, and says it once where an alias repeats it", () => {
    expect(problemsOf("a: &x\n  b: ${NONE}\nc: *x\n")).toEqual([
      "2:6 a.b: the environment variable NONE is not set; set it, or give a default: ${NONE:-…}",
    ]);
  });
});

describe("what is wrong with a YAML text", () => {
  it.each([
    ["a: 1\nb: 2\na: 3", "3:1 a: given twice: it already stands at line 1"],
    ["a: 1\n\tb: 2", "2:1 : a tab indents this line; YAML takes spaces only"],
    ["a:\n  b: 1\n c: 2", "3:1 : this line is indented differently from the others of its group"],
    [
      "a: [1, 2\nb: 3",
      "2:1 : a list or map that was opened with [ or { is not closed, or goes on at the left margin",
    ],
    ["a: 1\n---\nb: 2", "2:1 : a second document begins here (---); one file holds one config"],
    ["from: *", "1:7 : a value that begins with * must stand in quotes"],
    ["a: @b", "1:4 : a value cannot begin with @; put it in quotes"],
    ["a: b: c", "1:4 : a value with `: ` in it must stand in quotes"],
    ["a: 'b", "1:6 : a closing quote is missing"],
    ["a: 1\nfoo\nb: 2", "2:1 : a `:` is missing after this key"],
    ["a: !env X", "1:4 : tags such as !env mean nothing here; for text that begins with ! use quotes"],
    ["x: {port: ${PORT}}", "1:12 : ${…} inside { } or [ ] must stand in quotes"],
    ["a: *x", "1:4 a: there is no anchor &x above this alias"],
    ["? [a]\n: 2", "1:3 : a key must be a word"],
    [": 2", "1:1 : a key is missing before the :"],
    ["__proto__: 2", "1:1 __proto__: this word cannot be a name"],
  ])("is said with its place: %j", (text, problem) => {
    expect(problemsOf(text)[0]).toBe(problem);
  });

  it("leaves no value behind a syntax error, since what follows it is guesswork", () => {
    expect(read("a: 1\nb: 'x").value).toBeUndefined();
    expect(read("a: 1\nb: ${NONE}").value).toEqual({ a: 1, b: "" });
  });

  it("is bounded for texts made to exhaust memory", () => {
    expect(problemsOf(`a: ${"[".repeat(5000)}`)[0]).toMatch(/: nested more than 64 levels deep/);
    expect(problemsOf("a: &a [*a]")[0]).toContain("nested more than 64 levels deep");
    const lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"];
    for (let n = 1; n < 9; n++)
      lines.push(
        `l${n}: &l${n} [${Array(10)
          .fill(`*l${n - 1}`)
          .join(", ")}]`,
      );
    expect(problemsOf(lines.join("\n"))).toEqual([expect.stringContaining("more than 200000 values")]);
  });

  it("knows a value that a comment swallowed", () => {
    const text = read("from: #\nto: x #\nat: ''\n");
    expect(text.lostToComment(["from"])).toBe(true);
    expect(text.lostToComment(["to"])).toBe(false);
    expect(text.lostToComment(["at"])).toBe(false);
  });
});
