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
    expect(await problems("devices:\n  x: { type: opcua }\n")).toEqual([
      expect.stringContaining("devices of type opcua are not built into this version"),
    ]);
  });
});
