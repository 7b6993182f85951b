import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadConfig } from "../../../src/config.ts";
import { isHoldfastError } from "../../../src/core/errors.ts";

const HEAD = `devices:
  press-7:
    type: modbus
    connection: { type: tcp, host: plc }
`;
const MAP = `${HEAD}    groups:
      fast:
        registers:
`;

/** What a config is told about itself: `line: path: sentence`. */
async function problems(text: string): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-map-"));
  try {
    const path = join(folder, "holdfast.yaml");
    writeFileSync(path, text);
    await loadConfig({ path, env: {}, cwd: folder });
    return [];
  } catch (error) {
    if (!isHoldfastError(error, "HF_CONFIG")) throw error;
    const listed = error.details.problems as { line: number; path: string; message: string }[];
    return listed.map(
      ({ line, path, message }) => `${line}: ${path.replace(/^devices\.press-7\./, "")}: ${message}`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const inMap = (...registers: readonly string[]) =>
  problems(MAP + registers.map((each) => `          ${each}\n`).join(""));
const at = (line: number, signal: string, key: string, sentence: string) =>
  `${line}: groups.fast.registers.${signal}.${key}: ${sentence}`;

describe("a register map", () => {
  it("that is good has nothing said about it", async () => {
    expect(
      await inMap(
        "level: { address: 0, type: float32 }",
        "speed: { address: 2 }",
        "run: { address: 3, type: bool, bit: 0 }",
        "hot: { address: 3, type: bool, bit: 1 }",
        "pump: { table: coil, address: 0 }",
        "name: { table: input, address: 65530, type: string, length: 12 }",
      ),
    ).toEqual([]);
  });

  it("with registers that overlap is told which, and where", async () => {
    expect(await inMap("level: { address: 0, type: float32 }", "speed: { address: 1 }")).toEqual([
      at(9, "speed", "address", "found 1: overlaps `level`, which takes holding 0 to 1"),
    ]);
    expect(
      await inMap("wide: { address: 0, type: float64 }", "a: { address: 1 }", "b: { address: 3 }"),
    ).toEqual([
      at(9, "a", "address", "found 1: overlaps `wide`, which takes holding 0 to 3"),
      at(10, "b", "address", "found 3: overlaps `wide`, which takes holding 0 to 3"),
    ]);
    expect(
      await inMap("a: { address: 1, type: bool, bit: 3 }", "b: { address: 1, type: bool, bit: 3 }"),
    ).toEqual([at(9, "b", "bit", "found 3: overlaps `a`, which is the same bit")]);
    expect(await inMap("a: { table: coil, address: 1 }", "b: { table: coil, address: 1 }")).toHaveLength(1);
    expect(await inMap("a: { table: input, address: 1 }", "b: { table: holding, address: 1 }")).toEqual([]);
  });

  it.each([
    ["a type that bits cannot have", "{ table: coil, address: 0, type: int16 }", "type", /single bits/],
    ["a bool without its bit", "{ address: 0, type: bool }", "type", /needs `bit`/],
    ["a bit of a number", "{ address: 0, type: int16, bit: 3 }", "bit", /for a `bool`/],
    ["bits without names", "{ address: 0, type: bits }", "type", /needs `bits`/],
    ["a string without a length", "{ address: 0, type: string }", "type", /needs `length`/],
    ["a length of a number", "{ address: 0, length: 4 }", "length", /for `type: string`/],
    ["text that is scaled", "{ address: 0, type: string, length: 4, scale: 2 }", "scale", /no number/],
    ["a scale of nothing", "{ address: 0, scale: 0 }", "scale", /the same/],
    ["a deadband of bits", "{ table: coil, address: 0, report: { deadband: 1 } }", "report", /no deadband/],
    [
      "a value beyond the last address",
      "{ address: 65535, type: int32 }",
      "address",
      /last address is 65535/,
    ],
    ["an address that cannot be", "{ address: 65536 }", "address", /from 0 to 65535/],
    ["an address from a manual", "{ address: 400001 }", "address", /from 0 to 65535/],
    ["a type that is none", "{ address: 0, type: flaot32 }", "type", /did you mean `float32`/],
    ["a table that is none", "{ table: holdings, address: 0 }", "table", /did you mean `holding`/],
  ])("with %s is told so, at its line", async (_, register, key, sentence) => {
    const found = await inMap("speed: { table: input, address: 9 }", `odd: ${register}`);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(new RegExp(`^9: groups\\.fast\\.registers\\.odd\\.${key}: `));
    expect(found[0]).toMatch(sentence);
  });

  it.each([
    [
      "a write to what is only read",
      "table: input, address: 0, write: { min: 0, max: 1 }",
      "write",
      /input table can only be read/,
    ],
    [
      "a write of a switch input",
      "table: discrete, address: 0, write: {}",
      "write",
      /discrete table can only be read/,
    ],
    ["a write of many bits", "address: 0, type: bits, bits: { a: 0 }, write: {}", "write", /one by one/],
    ["a write without a range", "address: 0, write: {}", "write", /needs its range/],
    ["a write with half a range", "address: 0, write: { min: 0 }", "write", /needs its range/],
    ["a range upside down", "address: 0, write: { min: 2, max: 1 }", "write.min", /above max, 1/],
    ["a range and values", "address: 0, write: { min: 0, max: 2, values: [1] }", "write.values", /excludes/],
    ["a range that the type has not", "address: 0, write: { min: -5, max: 1 }", "write.min", /0 to 65535/],
    [
      "a range that the scale has not",
      "address: 0, type: int16, scale: 0.1, write: { min: 0, max: 5000 }",
      "write.max",
      /-3276\.8 to 3276\.7/,
    ],
    [
      "a value between two steps",
      "address: 0, scale: 0.5, write: { values: [1, 1.2] }",
      "write.values",
      /nearest is 1/,
    ],
    ["a value that is no number", "address: 0, write: { values: [true] }", "write.values", /takes a number/],
    ["a range of a switch", "table: coil, address: 0, write: { min: 0 }", "write.min", /no number/],
    [
      "a tolerance of text",
      "address: 0, type: string, length: 4, write: { tolerance: 1 }",
      "write.tolerance",
      /no number/,
    ],
    [
      "text that is too long",
      "address: 0, type: string, length: 2, write: { values: [abc] }",
      "write.values",
      /2 characters/,
    ],
    [
      "a text that no request could carry",
      "address: 0, type: string, length: 250, write: {}",
      "write",
      /at most 123/,
    ],
    [
      "a coil that is alone",
      "table: coil, address: 0, write: { alone: true }",
      "write.alone",
      /`bool` in a register/,
    ],
    [
      "a look that is over too soon",
      "table: coil, address: 0, write: { readAfter: 2s }",
      "write.readWithin",
      /it is over before/,
    ],
    ["a word that is none", "address: 0, write: { mni: 0, max: 1 }", "write.mni", /did you mean `min`/],
  ])("with %s is told so, at its line", async (_, register, key, sentence) => {
    const found = await inMap("speed: { table: input, address: 9 }", `odd: { ${register} }`);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(new RegExp(`^9: groups\\.fast\\.registers\\.odd\\.${key}: `));
    expect(found[0]).toMatch(sentence);
  });

  it("may be written where it says so", async () => {
    const register =
      "{ address: 0, type: float32, write: { min: 0, max: 10.5, tolerance: 0.1, pauseMin: 5s } }";
    expect(
      await inMap(`dose: ${register}`, "feed: { table: coil, address: 1, write: { values: [true] } }"),
    ).toEqual([]);
  });

  it("has no register that another device of the same unit writes too", async () => {
    const device = (name: string, unit: number) =>
      `  ${name}: { type: modbus, unit: ${unit}, connection: { type: tcp, host: PLC }, groups: { g: { registers: { s: { address: 1, write: { min: 0, max: 1 } } } } } }\n`;
    const text = `${MAP}          dose: { address: 0, type: float32, write: { min: 0, max: 1 } }\n`;
    expect(await problems(text + device("oven", 1))).toEqual([
      expect.stringMatching(/^9: devices\.oven\..*write: .*`press-7` is the same unit/),
    ]);
    expect(await problems(text + device("oven", 2))).toEqual([]);
  });

  it("has each signal once, also over its groups", async () => {
    const text = `${MAP}          speed: { address: 0 }\n      slow:\n        registers:\n          speed: { address: 1 }\n`;
    expect(await problems(text)).toEqual(["11: groups.slow.registers.speed: two signals are called `speed`"]);
  });

  it("has no signal that would be taken for a gap record", async () => {
    expect(await inMap("gap: { address: 0 }")).toEqual([expect.stringMatching(/^8: .*gap records/)]);
  });

  it("asks for no more in one request than the machine is said to give", async () => {
    const found = await problems(
      `${HEAD}    registersMax: 4\n    groups: { fast: { registers: { name: { address: 0, type: string, length: 10 } } } }\n`,
    );
    expect(found).toEqual([expect.stringMatching(/^6: .*more than registersMax \(4\)/)]);
  });

  it("is not empty", async () => {
    expect(await problems(`${HEAD}    groups: {}\n`)).toEqual([
      expect.stringMatching(/^5: groups: .*at least one group/),
    ]);
  });
});

describe("a device", () => {
  const registers = "    groups: { fast: { registers: { speed: { address: 0 } } } }\n";

  it("whose topic names a place has that place", async () => {
    expect(await problems(`${HEAD}    topic: "{site}/{device}/{signal}"\n${registers}`)).toEqual([
      expect.stringMatching(/^5: topic: .*needs `place\.site`/),
    ]);
    const placed = `${HEAD}    topic: "{site}/{device}/{signal}"\n    place: { site: north }\n${registers}`;
    expect(await problems(placed)).toEqual([]);
  });

  it.each(["{device}/{nothing}", "{device", "plant/#"])("has no topic such as %s", async (topic) => {
    expect(await problems(`${HEAD}    topic: "${topic}"\n${registers}`)).toEqual([
      expect.stringMatching(/^5: topic: /),
    ]);
  });

  it("that would put all its signals under one topic is told so", async () => {
    expect(await problems(`${HEAD}    message: signal\n    topic: "plant/{device}"\n${registers}`)).toEqual([
      expect.stringMatching(/^6: topic: .*one topic/),
    ]);
  });

  it("on a serial line has a number that can answer, and the line's own speed", async () => {
    const serial = (name: string, more: string, unit: number) =>
      `  ${name}: { type: modbus, unit: ${unit}, connection: { type: serial, path: /dev/ttyS0${more} }, groups: { g: { registers: { s: { address: 0 } } } } }\n`;
    expect(await problems(`devices:\n${serial("press-7", "", 0)}`)).toEqual([
      expect.stringMatching(/^2: unit: found 0: .*from 1 to 247/),
    ]);
    expect(
      await problems(`devices:\n${serial("oven", "", 1)}${serial("press-7", ", baud: 9600", 2)}`),
    ).toEqual(["3: connection: the device `oven` on the same port has 19200 8E1, and this one 9600 8E1"]);
    expect(await problems(`devices:\n${serial("oven", "", 1)}${serial("press-7", "", 2)}`)).toEqual([]);
  });

  it("of a type that there is not is told which there are", async () => {
    expect(await problems("devices:\n  x: { type: s7 }\n")).toEqual([
      expect.stringContaining("devices of type s7 are not built into this version"),
    ]);
  });
});
