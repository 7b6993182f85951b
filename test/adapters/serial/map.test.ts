import { describe, expect, it } from "vitest";
import { readEscapes, shownBytes } from "../../../src/adapters/serial/bytes-text.ts";
import { belongs, groupsOf, readFields } from "../../../src/adapters/serial/fields.ts";
import { linearPattern, patternProblem } from "../../../src/adapters/serial/pattern.ts";
import { instrumentOfFlags } from "../../../src/adapters/serial/probe-flags.ts";
import { serialDeviceSchema } from "../../../src/adapters/serial/schema.ts";
import { ConfigFolder } from "../../support/config-folder.ts";

const GROUP = { match: "^(?<x>.*)$", fields: { x: {} } };
const device = (more: object = {}) => ({
  type: "serial",
  connection: { path: "/dev/none" },
  groups: { g: GROUP },
  ...more,
});

/** What is wrong with it, as `path: message`. */
const wrong = (more: object) =>
  serialDeviceSchema
    .safeParse(device(more))
    .error?.issues.map(({ path, message }) => `${path.join(".")}: ${message}`) ?? [];

function said(group: object, content: string | Buffer, more: object = {}) {
  const [compiled] = groupsOf(serialDeviceSchema.parse(device({ groups: { g: group }, ...more })));
  const bytes = typeof content === "string" ? Buffer.from(content, "latin1") : content;
  if (!belongs(compiled!, bytes, "latin1")) return null;
  return Object.fromEntries(
    readFields(compiled!, bytes, "latin1").map(({ signal, value, reason }) => [
      signal,
      reason?.split(":")[0] ?? value,
    ]),
  );
}

describe("the fields of a frame", () => {
  it("are parts of a pattern, with their values, scales and units", () => {
    const group = {
      match: "^(?<state>[A-Z]{2}),(?<weight>[-+ 0-9.,]+)(?<unit>kg|lb)(?:,(?<more>\\d+))?$",
      fields: {
        weight: { unitFrom: "unit", scale: 0.1, offset: -1 },
        stable: { group: "state", type: "text", values: { ST: true, US: false } },
        more: {},
      },
    };
    expect(said(group, "ST,+   123.4kg")).toEqual({ weight: 11.34, stable: true, more: "not-there" });
    expect(said(group, "XX,-1.2.3lb,7")).toEqual({ weight: "not-a-number", stable: "unknown-text", more: 7 });
    expect(said(group, "garbage")).toBeNull();
    expect(said({ ...group, fields: { weight: { decimal: "," } } }, "ST,12,5kg")).toEqual({ weight: 12.5 });
  });

  it("are columns, positions, hexadecimal digits, degrees", () => {
    const columns = {
      separator: ",",
      fields: { a: { column: 0 }, b: { column: 1, type: "text" }, c: { column: 5 } },
    };
    expect(said(columns, "1e3, two ,")).toEqual({ a: 1000, b: "two", c: "not-there" });
    const places = {
      fields: { a: { at: 0, length: 4 }, b: { at: 4, length: 2, type: "hex" }, c: { at: 5, length: 9 } },
    };
    expect(said(places, " 1.5ff")).toEqual({ a: 1.5, b: 255, c: "not-there" });
    const degrees = { match: "^(?<p>.*)$", fields: { p: { type: "degrees" } } };
    expect(said(degrees, "4807.038,N")).toEqual({ p: 48.1173 });
    expect(said(degrees, "01131.000W")).toEqual({ p: -11.51666667 });
    expect(said(degrees, "00000.000,S")).toEqual({ p: 0 });
    for (const odd of ["4860.0,N", "48.1", "4807.038,X"])
      expect(said(degrees, odd)).toEqual({ p: "not-a-number" });
    expect(said(degrees, ",")).toEqual({ p: "empty" });
  });

  it("are binary, in either order", () => {
    const fields = {
      a: { at: 0, type: "uint16" },
      b: { at: 0, type: "uint16", byteOrder: "little" },
      c: { at: 2, type: "float32", byteOrder: "little", scale: 2 },
      d: { at: 2, type: "int64" },
    };
    expect(said({ fields }, Buffer.from("0102cdcccc3d", "hex"))).toEqual({
      a: 258,
      b: 513,
      c: 0.2,
      d: "not-there",
    });
    expect(
      said({ fields: { f: { at: 0, type: "float64" } } }, Buffer.from("7ff0000000000000", "hex")),
    ).toEqual({ f: "not-a-number" });
  });
});

describe("a pattern", () => {
  it("that would hang the usual engine is run in linear time", () => {
    const attack = `${"a".repeat(4000)}!`;
    for (const source of ["^(a+)+$", "^(a|a)*$", "^(.*)(.*)(.*)(.*)(.*)x$", "(a*)*b"]) {
      expect(patternProblem(source)).toBeNull();
      expect(linearPattern(source).exec(attack) === null).toBe(source !== "");
    }
    // As it is without: forty characters instead of four thousand, and seconds.
    expect(linearPattern("^(a+)+$").flags).toBe("l");
  });

  it("finds what the usual engine finds", () => {
    const texts = ["S S      1.234 kg", "ST,+0012.5kg", "a,b,,c", "]E04006381333931", ""];
    const sources = [
      "^S (?<s>[SD]) +(?<w>-?[\\d.]+) kg$",
      "^(?:\\](?<k>..))?(?<c>[^\\]].*)$",
      "(?:(a)|,)*",
      "(\\d+?)(\\d*)",
      "x|",
    ];
    for (const source of sources) {
      for (const text of texts) {
        const usual = new RegExp(source).exec(text);
        const linear = linearPattern(source).exec(text);
        expect([linear && [...linear], linear?.groups], `${source} on ${text}`).toEqual([
          usual && [...usual],
          usual?.groups,
        ]);
      }
    }
  });

  it("that cannot be run so is refused", () => {
    expect(patternProblem("(?=a)b")).toContain("linear time");
    expect(patternProblem("(a)\\1")).toContain("linear time");
    expect(patternProblem("(a")).toBe("it is no regular expression: Unterminated group");
  });
});

describe("bytes", () => {
  it("are written with escapes, and read back", () => {
    fullCircle("\x02A\\B\r\n\t\0\x7f\xff");
    expect(shownBytes(Buffer.from([2, 13, 10, 92]))).toBe("\\x02\\r\\n\\\\");
    for (const odd of ["\\", "\\q", "\\x1", "\\xgg"]) expect(readEscapes(odd)).toBeNull();
  });

  function fullCircle(text: string): void {
    expect(readEscapes(shownBytes(Buffer.from(text, "latin1")))).toBe(text);
  }
});

describe("a map that cannot be", () => {
  const folder = ConfigFolder.forEachTest();
  const checksum = { algorithm: "xor-8" };
  it.each<[object, string]>([
    [
      { groups: { g: { match: "^(?<y>.)$", fields: { x: {} } } } },
      "groups.g.fields.x: the group's `match` has no part called `x`: it has `y`; or say `column` or `at`",
    ],
    [
      { groups: { g: { fields: { x: { column: 1 } } } } },
      "groups.g.fields.x.column: the group has no `separator`",
    ],
    [{ groups: { g: { ...GROUP, fields: { x: { at: 1 } } } } }, "groups.g.fields.x.at: it needs `length`"],
    [
      { groups: { g: { ...GROUP, fields: { x: { type: "int16" } } } } },
      "groups.g.fields.x.type: `int16` is binary: it needs `at`",
    ],
    [
      { groups: { g: { ...GROUP, fields: { x: { at: 0, column: 1, length: 2 } } } } },
      "groups.g.fields.x: `group`, `column` and `at` exclude each other",
    ],
    [
      { groups: { g: { ...GROUP, fields: { x: { unitFrom: "u" } } } } },
      "groups.g.fields.x.unitFrom: the group's `match` has `x`",
    ],
    [
      { groups: { g: { ...GROUP, fields: { x: { type: "text", scale: 2 } } } } },
      "groups.g.fields.x.scale: this is no number that could be scaled",
    ],
    [
      { groups: { g: { ...GROUP, event: true, report: {} } } },
      "groups.g.report: each event is reported, or one that is like the last would be lost",
    ],
    [
      { groups: { g: { ...GROUP, error: "NO" } } },
      "groups.g.error: nothing is asked here that could be answered with no",
    ],
    [{ groups: { g: GROUP, h: GROUP } }, "groups.h.fields.x: two signals are called `x`"],
    [
      { framing: { type: "gap", checksum: { ...checksum, place: "after" } } },
      "framing.checksum.place: this framing has no end that it could stand behind",
    ],
    [
      { framing: { type: "delimiter", checksum: { ...checksum, covers: { start: true } } } },
      "framing.checksum.covers: this framing has no start",
    ],
    [
      { silence: "5s", groups: { g: { ...GROUP, request: { send: "X" } } } },
      "silence: all its groups are asked for, and their `timeout` tells its silence",
    ],
    [
      { commands: { c: { send: "X" } } },
      "commands.c.send: nothing would tell whether it was done: it needs `answer`, or `readBack`",
    ],
    [
      { commands: { c: { send: "X{value}", answer: "OK" } } },
      "commands.c.send: it has a {value}, and `value` does not say what that may be",
    ],
    [
      { commands: { c: { send: "X", answer: "OK", value: { type: "bool" } } } },
      "commands.c.send: it has no {value}, and so the value would not be sent",
    ],
    [
      { commands: { c: { send: "X", readBack: { signal: "y", value: 1 } } } },
      "commands.c.readBack: there is no signal `y`",
    ],
    [
      { connection: { path: "/dev/none", dataBits: 7 }, encoding: "utf8" },
      "encoding: a line with 7 data bits carries ASCII alone",
    ],
    [{ topic: "{site}/{device}" }, "topic: {site} needs `place.site`"],
  ])("%j says %s", (more, problem) => {
    expect(wrong(more)).toContain(problem);
    expect(wrong({})).toEqual([]);
  });

  it("is told with its line, and so is a port that two devices want", async () => {
    const text = [
      "devices:",
      "  a: &a",
      "    type: serial",
      "    connection: { path: /dev/ttyUSB0 }",
      "    groups: { g: { match: '^(?<x>.*)$', fields: { x: {} } } }",
      "  b: *a",
      "",
    ].join("\n");
    expect(await folder.problems(text)).toEqual([
      expect.stringMatching(
        /holdfast\.yaml:4:\d+: devices\.b\.connection\.path: .*the device `a` has this port/,
      ),
    ]);
    const bad = text.replace("fields: { x: {} }", "fields: { y: {} }").replace("  b: *a\n", "");
    expect(await folder.problems(bad)).toEqual([
      expect.stringMatching(/holdfast\.yaml:5:\d+: devices\.a\.groups\.g\.fields\.y: .*no part called `y`/),
    ]);
  });
});

describe("flags", () => {
  it("make an instrument by the same schema", () => {
    const made = instrumentOfFlags({
      instrument: "/dev/x",
      framing: "stx-etx",
      checksum: "CRC-16/MODBUS",
      start: "\\x01",
      send: "R\\r",
    });
    expect(made).toMatchObject({
      framing: { type: "stx-etx", start: "\x01", end: "\x03", checksum: { place: "after" } },
      groups: { probe: { request: { send: "R\r" } } },
    });
    expect(instrumentOfFlags({ instrument: "/dev/x", end: "\\q" })).toEqual([
      expect.stringContaining("--end"),
    ]);
    expect(instrumentOfFlags({ instrument: "/dev/x", framing: "lines" })).toEqual([
      expect.stringContaining("framing"),
    ]);
  });
});
