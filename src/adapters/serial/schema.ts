/**
 * A serial instrument in the config: its port, how its frames are told apart, what stands in them, and, where
 * it may be commanded, with what.
 *
 * What no single key can know (a field that no group of the pattern fills, a rate without a command that could
 * be told to be done) is looked for in map-checks.ts, once every key is right by itself.
 */
import { z } from "zod";
import { duration } from "../../core/units.ts";
import { deviceKeys } from "../device-keys.ts";
import { reportSchema } from "../report.ts";
import { topicLevel } from "../topic-template.ts";
import { bytesText } from "./bytes-text.ts";
import { CHECKSUM_NAMES } from "./checksum.ts";
import { mapProblems } from "./map-checks.ts";
import { PATTERN_CHARS_MAX, patternProblem } from "./pattern.ts";

/** The largest frame that may be configured: what one parser holds, and what one pattern runs over. */
export const FRAME_BYTES_MAX = 4096;
const SEND_BYTES_MAX = 512;

export const FIELD_TYPES = [
  "number",
  "text",
  "hex",
  "degrees",
  "int8",
  "uint8",
  "int16",
  "uint16",
  "int32",
  "uint32",
  "int64",
  "uint64",
  "float32",
  "float64",
] as const;

const pattern = z
  .string()
  .min(1)
  .max(PATTERN_CHARS_MAX)
  .superRefine((source, context) => {
    const problem = patternProblem(source);
    if (problem) context.addIssue({ code: "custom", message: problem, input: source });
  });

const connectionSchema = z.strictObject({
  path: z
    .string()
    .min(1)
    .describe(
      "The serial port; `/dev/serial/by-id/…` stays the same when a USB adapter is plugged elsewhere. `holdfast device ports` lists them.",
    ),
  baud: z.int().min(50).max(4_000_000).default(9600).describe("Bits per second."),
  parity: z.enum(["none", "even", "odd"]).default("none").describe("As the instrument has it."),
  dataBits: z.literal([7, 8]).default(8).describe("As the instrument has it; 7 go with a parity mostly."),
  stopBits: z.literal([1, 2]).default(1).describe("As the instrument has it."),
  flowControl: z
    .enum(["none", "hardware", "software"])
    .default("none")
    .describe("`hardware`: RTS and CTS. `software`: XON and XOFF, for text alone."),
});

const checksumSchema = (place: "inside" | "after") =>
  z.strictObject({
    algorithm: z.enum(CHECKSUM_NAMES).describe("What is computed; CRCs by their names in the catalogue."),
    encoding: z.enum(["hex", "binary"]).default("hex").describe("`hex`: as digits. `binary`: as bytes."),
    byteOrder: z.enum(["big", "little"]).default("big").describe("Of more than one byte: which comes first."),
    place: z
      .enum(["inside", "after"])
      .default(place)
      .describe("`inside`: the last characters before the end. `after`: behind the end."),
    separator: bytesText(4).optional().describe("Between content and checksum, as `*` in NMEA 0183."),
    covers: z
      .strictObject({
        start: z.boolean().default(false).describe("The start is computed along."),
        end: z.boolean().default(false).describe("The end is computed along."),
      })
      .prefault({})
      .describe("What is computed beside the content."),
  });

const bytesMax = z
  .int()
  .min(1)
  .max(FRAME_BYTES_MAX)
  .default(256)
  .describe(
    "A frame that is longer is none: what has come is dropped, counted, and the next one looked for.",
  );

const quiet = (text: string) => duration({ min: 2, max: 60_000 }).prefault(text);
const givenUp = "A frame in which nothing more comes for this long is given up.";

const delimiterSchema = z.strictObject({
  type: z.literal("delimiter"),
  start: bytesText(8).optional().describe("What a frame begins with, as `$`. Left out: behind the last end."),
  end: bytesText(8).default("\r\n").describe("What a frame ends with."),
  checksum: checksumSchema("inside").optional().describe("Left out: none is looked for."),
  bytesMax,
  quiet: quiet("500ms").describe(givenUp),
});

const stxEtxSchema = z.strictObject({
  type: z.literal("stx-etx"),
  start: bytesText(8).default("\x02").describe("What a frame begins with: STX, unless said otherwise."),
  end: bytesText(8).default("\x03").describe("What its content ends with: ETX, unless said otherwise."),
  checksum: checksumSchema("after").optional().describe("Left out: none is looked for."),
  bytesMax,
  quiet: quiet("500ms").describe(givenUp),
});

const lengthSchema = z.strictObject({
  type: z.literal("length"),
  bytes: z
    .int()
    .min(1)
    .max(FRAME_BYTES_MAX)
    .describe("Bytes of a frame, its start and its checksum included."),
  start: bytesText(8)
    .optional()
    .describe(
      "What a frame begins with. Without it, and without a checksum, frames are found again by silence alone.",
    ),
  checksum: checksumSchema("inside").optional().describe("Left out: none is looked for."),
  quiet: quiet("500ms").describe(givenUp),
});

const gapSchema = z.strictObject({
  type: z.literal("gap"),
  checksum: checksumSchema("inside").optional().describe("Left out: none is looked for."),
  bytesMax,
  quiet: quiet("50ms").describe(
    "So long a pause ends a frame. USB adapters deliver in pieces of up to 16 ms, and a busy box adds to that.",
  ),
});

export const framingSchema = z
  .discriminatedUnion("type", [delimiterSchema, stxEtxSchema, lengthSchema, gapSchema])
  .describe("How its frames are told apart.");

const fieldSchema = z.strictObject({
  group: z
    .string()
    .max(64)
    .optional()
    .describe("The named group of the pattern that it is. Left out: the one with the signal's name."),
  column: z.int().min(0).max(255).optional().describe("Instead: which part between separators, from 0."),
  at: z
    .int()
    .min(0)
    .max(FRAME_BYTES_MAX)
    .optional()
    .describe("Instead: its first byte in the content, from 0."),
  length: z.int().min(1).max(FRAME_BYTES_MAX).optional().describe("With `at`: how many bytes."),
  type: z
    .enum(FIELD_TYPES)
    .default("number")
    .describe(
      "`number`: digits as people write them. `text`. `hex`: a number in hexadecimal digits. `degrees`: NMEA's dddmm.mmm,N as degrees. The others are binary, and go with `at`.",
    ),
  values: z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
    .optional()
    .describe(
      "What its texts stand for: `{ST: true, US: false}`. A text that is not among them is a bad reading.",
    ),
  decimal: z.enum([".", ","]).default(".").describe("`number`: what stands before the decimals."),
  byteOrder: z.enum(["big", "little"]).default("big").describe("Binary types: which byte comes first."),
  scale: z
    .number()
    .optional()
    .describe("The value is what stands there, times this, plus `offset`. Left out: 1."),
  offset: z.number().optional().describe("See `scale`. Left out: 0."),
  unit: z.string().min(1).max(32).optional().describe("Unit of the value, as `kg`."),
  unitFrom: z
    .string()
    .max(64)
    .optional()
    .describe("Instead: the named group of the pattern that has the unit, for instruments that switch it."),
  report: reportSchema.optional().describe("When it is reported, instead of the group's `report`."),
});

const sendKeys = {
  send: bytesText(SEND_BYTES_MAX).describe('What is sent, all of it: `"SI\\r\\n"`.'),
  framed: z
    .boolean()
    .default(false)
    .describe("What is sent is put between start and end, with the checksum, as the instrument does."),
};

const groupSchema = z.strictObject({
  request: z
    .strictObject({
      ...sendKeys,
      every: duration({ min: 10 }).prefault("1s").describe("How often it is asked."),
    })
    .optional()
    .describe("Left out: the instrument speaks by itself."),
  match: pattern
    .optional()
    .describe("Frames of this group match this; named groups are its fields. Left out: every frame does."),
  error: pattern.optional().describe("A frame that matches this is the instrument's no to the request."),
  separator: bytesText(4).optional().describe("Between columns, as `,`."),
  event: z
    .boolean()
    .default(false)
    .describe(
      "Each frame is an event, such as a scan: no value stands after it, so that none is told as stale.",
    ),
  report: reportSchema.optional().describe("Report by exception. Left out: every reading is reported."),
  fields: z
    .record(topicLevel.describe("Name of a signal."), fieldSchema)
    .refine((fields) => Object.keys(fields).length > 0, "expected at least one field")
    .describe("What stands in a frame, each under the name of its signal."),
});

const commandSchema = z.strictObject({
  ...sendKeys,
  value: z
    .discriminatedUnion("type", [
      z.strictObject({
        type: z.literal("number"),
        min: z.number().describe("The least that may be sent."),
        max: z.number().describe("The most that may be sent."),
        decimals: z.int().min(0).max(12).default(0).describe("How many decimals are sent."),
        unit: z.string().min(1).max(32).optional().describe("Its unit, for people."),
      }),
      z.strictObject({
        type: z.literal("text"),
        pattern: pattern.describe("What the whole text must match. Control characters are never sent."),
      }),
      z.strictObject({
        type: z.literal("bool"),
        true: bytesText(32).default("1").describe("What is sent for true."),
        false: bytesText(32).default("0").describe("What is sent for false."),
      }),
    ])
    .optional()
    .describe("What `{value}` in `send` may be. Left out: the command takes no value."),
  answer: pattern
    .optional()
    .describe("The frame that says that it was taken. A group named `value` is what it says the value is."),
  error: pattern.optional().describe("The frame that says no."),
  answerMeans: z
    .enum(["taken", "done"])
    .default("taken")
    .describe("What the answer tells by the manual: that the command was taken, or that it is done."),
  readBack: z
    .strictObject({
      signal: topicLevel.describe("A signal of this device."),
      value: z
        .union([z.number(), z.string(), z.boolean()])
        .optional()
        .describe("What it must be then. Left out: the command's value."),
      tolerance: z.number().min(0).default(0).describe("Numbers: how far off it may be."),
    })
    .optional()
    .describe(
      "A signal that shows whether it was done; looked at after the answer, and where an answer was lost.",
    ),
  deadline: duration({ min: 50, max: 600_000 })
    .prefault("2s")
    .describe("The instrument is given this long; after that it is unknown what it did."),
  idempotent: z
    .boolean()
    .default(false)
    .describe("Doing it twice is the same as doing it once, so that it may be sent again."),
  rate: z
    .strictObject({
      times: z.int().min(1).max(100_000).default(10).describe("So often…"),
      per: duration({ min: 100, max: 86_400_000 }).prefault("1m").describe("…in this time."),
    })
    .prefault({})
    .describe("How often it may be sent at most."),
});

export const serialDeviceSchema = z
  .strictObject({
    type: z.literal("serial"),
    connection: connectionSchema.describe("The port that it is on. A port is for one device."),
    framing: framingSchema.prefault({ type: "delimiter" }),
    encoding: z
      .enum(["latin1", "utf8"])
      .default("latin1")
      .describe("How text is read. In `latin1` each byte is a character."),
    timeout: duration({ min: 10, max: 60_000 }).prefault("1s").describe("How long one answer may take."),
    retries: z
      .int()
      .min(0)
      .max(10)
      .default(1)
      .describe(
        "How often a request that was not answered is repeated at once. Not done while it is silent.",
      ),
    backoffMax: duration({ min: 100 })
      .prefault("30s")
      .describe("A silent instrument is asked less and less often, down to once in this."),
    silence: duration({ min: 50 })
      .optional()
      .describe(
        "An instrument that speaks by itself counts as offline when it said nothing for this long. Left out: it may be silent for as long as it likes, as a barcode reader is.",
      ),
    ...deviceKeys,
    groups: z
      .record(topicLevel.describe("Name of a group."), groupSchema)
      .refine((groups) => Object.keys(groups).length > 0, "expected at least one group")
      .describe(
        "Kinds of frames: what is asked for, or comes by itself, and what stands in it. A frame belongs to the first that it matches.",
      ),
    commands: z
      .record(topicLevel.describe("Name of a command."), commandSchema)
      .prefault({})
      .describe("What it may be told to do. Left out: nothing."),
  })
  .superRefine((device, context) => {
    // A key that is wrong by itself has been told, and would be told twice.
    if (context.issues.length > 0) return;
    for (const { path, message } of mapProblems(device)) {
      context.addIssue({ code: "custom", path: [...path], message });
    }
  });

export type SerialDeviceConfig = z.output<typeof serialDeviceSchema>;
export type SerialConnection = z.output<typeof connectionSchema>;
export type FramingConfig = z.output<typeof framingSchema>;
export type ChecksumConfig = z.output<ReturnType<typeof checksumSchema>>;
export type GroupConfig = z.output<typeof groupSchema>;
export type FieldConfig = z.output<typeof fieldSchema>;
export type CommandConfig = z.output<typeof commandSchema>;
