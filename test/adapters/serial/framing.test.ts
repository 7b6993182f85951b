import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { shownBytes } from "../../../src/adapters/serial/bytes-text.ts";
import { type FrameEvent, makeFramer, wrap } from "../../../src/adapters/serial/framing.ts";
import { type FramingConfig, framingSchema } from "../../../src/adapters/serial/schema.ts";

const framing = (raw: object): FramingConfig => framingSchema.parse(raw);
const bytes = (text: string) => Buffer.from(text, "latin1");
const told = (events: readonly FrameEvent[]) =>
  events.map((event) =>
    event.kind === "frame" ? shownBytes(event.content) : `! ${event.reason.split(":")[0]}`,
  );

/** After a silence, so that the first byte is the first of a frame. */
function settled(config: FramingConfig) {
  const framer = makeFramer(config);
  framer.quiet();
  return framer;
}

/** What comes of these pieces, and of a silence behind them. */
function heard(config: FramingConfig, ...pieces: readonly string[]): string[] {
  const framer = settled(config);
  return told([...pieces.flatMap((piece) => framer.push(bytes(piece))), ...framer.quiet()]);
}

const LINE = framing({ type: "delimiter", bytesMax: 16 });
const NMEA = framing({
  type: "delimiter",
  start: "$",
  bytesMax: 40,
  checksum: { algorithm: "xor-8", separator: "*" },
});
const STX = framing({
  type: "stx-etx",
  bytesMax: 16,
  checksum: { algorithm: "xor-8", encoding: "binary", covers: { end: true } },
});
const FIXED = framing({ type: "length", bytes: 6, start: "\xaa" });
const FIXED_CRC = framing({
  type: "length",
  bytes: 8,
  checksum: { algorithm: "CRC-16/MODBUS", encoding: "binary", byteOrder: "little" },
});
const GAP = framing({ type: "gap", bytesMax: 16 });
const ALL = { LINE, NMEA, STX, FIXED, FIXED_CRC, GAP };

describe("frames by their end", () => {
  it("come out whole, in whatever pieces they came in; empty lines are none", () => {
    expect(heard(LINE, "one\r\ntw", "o\r", "\n\r\n", "three\r\n")).toEqual(["one", "two", "three"]);
  });

  it("that never end are given up once, and the rest of them is believed no more", () => {
    expect(heard(LINE, "x".repeat(100), "x".repeat(100), "\r\ngood\r\n")).toEqual(["! too-long", "good"]);
    expect(heard(LINE, `${"x".repeat(30)}\r\ngood\r\n`)).toEqual(["! too-long", "good"]);
  });

  it("are not believed while the line was opened in the middle of one", () => {
    const framer = makeFramer(LINE);
    expect(told(framer.push(bytes("4.5 kg\r\n12")))).toEqual([]);
    expect(told(framer.push(bytes("4.5 kg\r\n")))).toEqual(["124.5 kg"]);
    expect(told(settled(LINE).push(bytes("4.5 kg\r\n")))).toEqual(["4.5 kg"]);
  });

  it("of which no more comes are given up", () => {
    expect(heard(LINE, "one\r\ntw")).toEqual(["one", "! cut-short"]);
  });
});

describe("frames by their start", () => {
  it("are found within noise, which is counted; line ends between them are none", () => {
    const framer = settled(NMEA);
    expect(told(framer.push(bytes("\xff\xfe\x80$A*41\r\n\r\n\0$B*42\r\nnoise")))).toEqual(["A", "B"]);
    expect(framer.noiseBytes).toBe(8);
  });

  it("that were cut short by another give way to it", () => {
    expect(heard(NMEA, "$GPGGA,12$A*41\r\n")).toEqual(["! cut-short", "A"]);
    const open = framing({ type: "delimiter", start: "$" });
    expect(heard(open, "$one$two\r\n$three\r\n")).toEqual(["! cut-short", "two", "three"]);
  });

  it("may have a start within, where the checksum says so", () => {
    const content = bytes("A$B");
    expect(told(settled(NMEA).push(wrap(NMEA, content)))).toEqual(["A$B"]);
  });

  it("with a wrong checksum, or none, are bad, and say what would be right", () => {
    expect(heard(NMEA, "$A*42\r\n$A\r\n$A*41\r\n$k*6b\r\n")).toEqual([
      "! checksum",
      "! no-checksum",
      "A",
      "k",
    ]);
    const [event] = settled(NMEA).push(bytes("$A*42\r\n"));
    expect(event).toMatchObject({
      reason: "checksum: it says 42, and 41 would be right",
      checksum: { ok: false, expected: "41", received: "42" },
    });
  });

  it("have their checksum behind the end where the config says so, be it an end itself", () => {
    for (const content of ["12.5", "a", "\x03"]) {
      const frame = wrap(STX, bytes(content === "\x03" ? "zz" : content));
      const framer = settled(STX);
      expect(told(framer.push(frame.subarray(0, -1)))).toEqual([]);
      expect(told(framer.push(frame.subarray(-1)))).toHaveLength(1);
    }
    // F ^ E ^ ETX ^ … : a frame whose checksum is ETX itself.
    const frame = wrap(STX, bytes("zz"));
    expect(frame.at(-1)).toBe(3);
    expect(told(settled(STX).push(Buffer.concat([frame, frame])))).toEqual(["zz", "zz"]);
  });
});

describe("frames by their length", () => {
  it("begin at their start, and after a slip at the next", () => {
    expect(heard(FIXED, "\xaa12345\xaa67890")).toEqual(["12345", "67890"]);
    expect(heard(FIXED, "78\xaa12345")).toEqual(["12345"]);
  });

  it("with a checksum are found again wherever they begin; one bad frame is told once", () => {
    const frame = wrap(FIXED_CRC, bytes("abcdef"));
    expect(frame).toHaveLength(8);
    const framer = settled(FIXED_CRC);
    const spoilt = Buffer.from(frame);
    spoilt[2]! ^= 1;
    expect(told(framer.push(Buffer.concat([frame, spoilt, frame, bytes("xyz"), frame])))).toEqual([
      "abcdef",
      "! checksum",
      "abcdef",
      "! checksum",
      "abcdef",
    ]);
  });

  it("without either are found again by silence", () => {
    const plain = framing({ type: "length", bytes: 4 });
    const framer = makeFramer(plain);
    expect(told([...framer.push(bytes("34")), ...framer.quiet(), ...framer.push(bytes("1234123"))])).toEqual([
      "1234",
    ]);
    expect(told([...framer.quiet(), ...framer.push(bytes("5678"))])).toEqual(["! cut-short", "5678"]);
  });
});

describe("frames by the pause between them", () => {
  it("end when nothing more comes", () => {
    const framer = settled(GAP);
    expect(told([...framer.push(bytes("one")), ...framer.push(bytes(" two"))])).toEqual([]);
    expect(told([...framer.quiet(), ...framer.quiet()])).toEqual(["one two"]);
    expect(heard(GAP, "x".repeat(17), "xx")).toEqual(["! too-long"]);
  });
});

const noise = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array));
const pieces = (all: Buffer, sizes: readonly number[]): Buffer[] => {
  const cut: Buffer[] = [];
  let rest = all;
  for (const size of sizes) {
    cut.push(rest.subarray(0, size));
    rest = rest.subarray(size);
  }
  return [...cut, rest];
};

describe("every framing", () => {
  it.each(Object.entries(ALL))("%s holds no more than one frame, whatever comes", (_, config) => {
    const limit = "bytesMax" in config ? config.bytesMax : config.bytes;
    fc.assert(
      fc.property(fc.array(noise, { maxLength: 20 }), (chunks) => {
        const framer = makeFramer(config) as ReturnType<typeof makeFramer> & { held: Buffer };
        for (const chunk of chunks) {
          framer.push(chunk);
          expect(framer.held.length).toBeLessThanOrEqual(limit + 16);
        }
      }),
    );
  });

  it.each(Object.entries(ALL).filter(([name]) => name !== "GAP"))(
    "%s says the same of the same bytes, in whatever pieces they come",
    (_, config) => {
      fc.assert(
        fc.property(noise, noise, fc.array(fc.integer({ min: 1, max: 9 })), (before, content, sizes) => {
          const frame = wrap(config, content.subarray(0, 5));
          const all = Buffer.concat([before, frame, frame, before, frame]);
          const whole = settled(config);
          const cut = settled(config);
          const atOnce = told([...whole.push(all), ...whole.quiet()]);
          const inPieces = told([...pieces(all, sizes).flatMap((piece) => cut.push(piece)), ...cut.quiet()]);
          // How long a row of bytes without an end was told apart depends on when it was looked at.
          expect(inPieces.filter((each) => !each.startsWith("!"))).toEqual(
            atOnce.filter((each) => !each.startsWith("!")),
          );
          expect(cut.noiseBytes).toBeGreaterThanOrEqual(0);
        }),
      );
    },
  );

  it.each(["NMEA", "STX", "FIXED_CRC"] as const)("%s finds the next frame after any noise", (name) => {
    const config = ALL[name];
    const content = bytes("abcdef");
    fc.assert(
      fc.property(fc.array(noise, { maxLength: 6 }), (chunks) => {
        const framer = settled(config);
        for (const chunk of chunks) framer.push(chunk);
        // At most one is taken for the end of what the noise had begun.
        const events = [framer.push(wrap(config, content)), framer.push(wrap(config, content))].flat();
        const good = told([...events, ...framer.push(wrap(config, content))]);
        expect(good).toContain("abcdef");
      }),
    );
  });

  it("would be found out by these tests if it kept what it cannot use", () => {
    class Keeping {
      held = Buffer.alloc(0);
      push(data: Buffer) {
        this.held = Buffer.concat([this.held, data]);
        return [];
      }
    }
    const keeping = new Keeping();
    for (let n = 0; n < 20; n++) keeping.push(Buffer.alloc(60));
    expect(keeping.held.length).toBeGreaterThan(LINE.type === "delimiter" ? LINE.bytesMax + 16 : 0);
  });
});
