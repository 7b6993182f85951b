/**
 * A Modbus device in the config: the line it is on, its unit number, and its register map.
 *
 * Addresses are those of the protocol, from 0: what a manual calls 40001 is `table: holding, address: 0`.
 * What no single key can know (registers that overlap, a report rule that cannot be) is looked for in
 * map-checks.ts, once every key is right by itself.
 */
import { z } from "zod";
import { duration } from "../../core/units.ts";
import { deviceKeys } from "../device-keys.ts";
import { reportSchema } from "../report.ts";
import { topicLevel } from "../topic-template.ts";
import { mapProblems } from "./map-checks.ts";
import { writeSchema } from "./write-schema.ts";

export const TABLES = ["coil", "discrete", "input", "holding"] as const;
export const TYPES = [
  "bool",
  "bits",
  "int16",
  "uint16",
  "int32",
  "uint32",
  "int64",
  "uint64",
  "float32",
  "float64",
  "string",
] as const;

/** [Modbus application protocol V1.1b3, 6.1 to 6.4]: what one request may ask for. */
export const REGISTERS_PER_REQUEST_MAX = 125;
export const BITS_PER_REQUEST_MAX = 2000;
const ADDRESS_MAX = 65_535;

const signalName = topicLevel.describe("Name of a signal.");
const order = z.enum(["big", "little"]);

const registerSchema = z.strictObject({
  table: z
    .enum(TABLES)
    .default("holding")
    .describe("Which of the four tables: `coil` (0x), `discrete` (1x), `input` (3x) or `holding` (4x)."),
  address: z
    .int()
    .min(0)
    .max(ADDRESS_MAX)
    .describe("Address in the table as the protocol counts, from 0: a manual's 40001 is holding 0."),
  type: z
    .enum(TYPES)
    .optional()
    .describe("What stands there. Left out: `bool` in coil and discrete, `uint16` in input and holding."),
  bit: z
    .int()
    .min(0)
    .max(15)
    .optional()
    .describe("`bool` in a register: which bit, 0 is the least significant."),
  bits: z
    .record(z.string().min(1).max(64), z.int().min(0).max(15))
    .optional()
    .describe("`bits`: names of the register's bits and their places; the value is a map of true and false."),
  length: z
    .int()
    .min(1)
    .max(2 * REGISTERS_PER_REQUEST_MAX)
    .optional()
    .describe("`string`: its characters, two to a register."),
  unit: z.string().min(1).max(32).optional().describe("Unit of the value, as `°C` or `bar`."),
  scale: z
    .number()
    .optional()
    .describe("The value is what the register holds, times this, plus `offset`. Left out: 1."),
  offset: z.number().optional().describe("See `scale`. Left out: 0."),
  byteOrder: order.optional().describe("Order of the two bytes in a register, instead of the device's."),
  wordOrder: order.optional().describe("Order of the registers of one value, instead of the device's."),
  report: reportSchema.optional().describe("When it is reported, instead of the group's `report`."),
  write: writeSchema.optional(),
});

const groupSchema = z.strictObject({
  every: duration({ min: 10 }).prefault("1s").describe("How often it is read."),
  report: reportSchema.optional().describe("Report by exception. Left out: every reading is reported."),
  registers: z
    .record(signalName, registerSchema)
    .refine((registers) => Object.keys(registers).length > 0, "expected at least one register")
    .describe("The register map: what is read, each under the name of its signal."),
});

const tcpSchema = z.strictObject({
  type: z.literal("tcp"),
  host: z.string().min(1).describe("The PLC's, or the Modbus gateway's, name or address."),
  port: z.int().min(1).max(65_535).default(502).describe("Its port."),
});

const serialSchema = z.strictObject({
  type: z.literal("serial"),
  path: z
    .string()
    .min(1)
    .describe(
      "The serial port; `/dev/serial/by-id/…` stays the same when a USB adapter is plugged elsewhere.",
    ),
  baud: z.int().min(300).max(4_000_000).default(19_200).describe("Bits per second."),
  parity: z.enum(["none", "even", "odd"]).default("even").describe("As all on the line have it."),
  dataBits: z.literal([7, 8]).default(8).describe("RTU needs 8."),
  stopBits: z
    .literal([1, 2])
    .default(1)
    .describe("1 with parity, 2 without, says the standard; many do not."),
});

export const connectionSchema = z
  .discriminatedUnion("type", [tcpSchema, serialSchema])
  .describe(
    "The line it is on. Devices with the same host and port, or the same path, share it, and take turns.",
  );

export const modbusDeviceSchema = z
  .strictObject({
    type: z.literal("modbus"),
    connection: connectionSchema,
    unit: z.int().min(0).max(255).default(1).describe("Unit number (slave address) on the line."),
    timeout: duration({ min: 10, max: 60_000 }).prefault("1s").describe("How long one answer may take."),
    retries: z
      .int()
      .min(0)
      .max(10)
      .default(1)
      .describe(
        "How often a request that was not answered is repeated at once. Not done while the unit is silent.",
      ),
    backoffMax: duration({ min: 100 })
      .prefault("30s")
      .describe("A silent unit is tried less and less often, down to once in this."),
    gapMax: z
      .int()
      .min(0)
      .max(REGISTERS_PER_REQUEST_MAX)
      .default(0)
      .describe(
        "Registers nobody asked for that may be read along, to make one request of two. Some machines refuse requests that touch registers they do not have.",
      ),
    registersMax: z
      .int()
      .min(4)
      .max(REGISTERS_PER_REQUEST_MAX)
      .default(REGISTERS_PER_REQUEST_MAX)
      .describe("Registers in one request."),
    bitsMax: z
      .int()
      .min(1)
      .max(BITS_PER_REQUEST_MAX)
      .default(BITS_PER_REQUEST_MAX)
      .describe("Coils or discrete inputs in one request."),
    writeOne: z
      .literal([6, 16])
      .default(6)
      .describe("Function that writes a single register; some machines know 16 alone."),
    byteOrder: order.default("big").describe("Order of the two bytes in a register; big is the standard's."),
    wordOrder: order
      .default("big")
      .describe(
        "Order of the registers of one value: `big` has the high word first (ABCD), `little` the low (CDAB).",
      ),
    ...deviceKeys,
    groups: z
      .record(topicLevel.describe("Name of a group."), groupSchema)
      .refine((groups) => Object.keys(groups).length > 0, "expected at least one group")
      .describe("Polling groups, each with an interval of its own."),
  })
  .superRefine((device, context) => {
    // A key that is wrong by itself has been told, and would be told twice.
    if (context.issues.length > 0) return;
    for (const { path, message } of mapProblems(device)) {
      context.addIssue({ code: "custom", path: [...path], message });
    }
  });

export type ModbusDeviceConfig = z.output<typeof modbusDeviceSchema>;
export type ConnectionConfig = z.output<typeof connectionSchema>;
export type RegisterConfig = z.output<typeof registerSchema>;
export type GroupConfig = z.output<typeof groupSchema>;
export type Table = (typeof TABLES)[number];
export type ValueType = (typeof TYPES)[number];

/** Devices whose connections have the same key are on one line. */
export function lineKey(connection: ConnectionConfig): string {
  return connection.type === "tcp"
    ? `tcp ${connection.host.toLowerCase()}:${connection.port}`
    : `serial ${connection.path}`;
}
