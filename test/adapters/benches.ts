/** Adapters on the bench: each kind between two misbehaving machines and an intake that may be shut. */
import { Plc, type PlcFault } from "../../simulators/machines/plc.ts";
import { ptyTo } from "../../simulators/machines/pty.ts";
import { Scale, type ScaleOptions } from "../../simulators/machines/scale.ts";
import { ModbusAdapter } from "../../src/adapters/modbus/modbus.ts";
import { modbusDeviceSchema } from "../../src/adapters/modbus/schema.ts";
import { serialDeviceSchema } from "../../src/adapters/serial/schema.ts";
import { SerialAdapter } from "../../src/adapters/serial/serial.ts";
import type { AdapterBench, Machine } from "./conformance.ts";

const EVERY_MS = 25;
const HASTY_MS = 400;
const PATIENT_MS = 60_000;
const BACKOFF_MS = 400;
/** Pieces of a flood, so that it is read while it comes. */
const FLOOD_PIECE_BYTES = 64 * 1024;

export async function flooding(bytes: number, pour: (bytes: number) => void): Promise<void> {
  for (let left = bytes; left > 0; left -= FLOOD_PIECE_BYTES) {
    pour(FLOOD_PIECE_BYTES);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A PLC with two units behind one port, or on one bus. */
async function modbusBench(framing: "tcp" | "rtu"): Promise<AdapterBench> {
  const plc = await new Plc({ framing, units: [1, 2] }).start();
  let pty = framing === "rtu" ? ptyTo(plc.port) : null;
  await pty?.plugIn();
  const connection =
    pty === null
      ? { type: "tcp", host: "127.0.0.1", port: plc.port }
      : { type: "serial", path: pty.path, baud: 115_200, parity: "none" };
  const machine = (unit: number): Machine => {
    const be = (fault: PlcFault) => () => plc.setFault(fault, unit);
    return {
      well: be({ kind: "none" }),
      silent: be({ kind: "silence" }),
      garbling: be({ kind: "garbage" }),
      heard: () => plc.asked.filter((each) => each.unit === unit).length,
      flood: (bytes) => flooding(bytes, (piece) => plc.noise(piece)),
    };
  };
  return {
    one: machine(1),
    two: machine(2),
    signal: "setpoint",
    value: 600,
    cut: () => (pty ? pty.unplug() : plc.stop()),
    async mend() {
      if (pty) await pty.plugIn();
      else await plc.start();
    },
    createAdapter(context, { patient, messagesMax }) {
      const device = (unit: number) =>
        modbusDeviceSchema.parse({
          type: "modbus",
          connection,
          unit,
          timeout: patient ? PATIENT_MS : HASTY_MS,
          backoffMax: BACKOFF_MS,
          hold: { messagesMax },
          groups: { all: { every: EVERY_MS, registers: { setpoint: { address: 0 } } } },
        });
      return new ModbusAdapter({ one: device(1), two: device(2) }, context);
    },
    async dispose() {
      await pty?.close();
      pty = null;
      await plc.stop();
    },
  };
}

export const modbusTcpBench = () => modbusBench("tcp");
export const modbusRtuBench = () => modbusBench("rtu");

const WEIGHT_KG = 12.5;

/** Two scales, each on a port of its own. */
async function scaleBench(
  options: ScaleOptions,
  more: (patient: boolean) => object,
  asked: boolean,
): Promise<AdapterBench> {
  const scales = [new Scale(options), new Scale({ ...options, seed: 2 })] as const;
  for (const scale of scales) {
    scale.loadKg = WEIGHT_KG;
    await scale.start();
  }
  const machine = (scale: Scale): Machine => ({
    well: () => scale.setFault({ kind: "none" }),
    silent: () => scale.setFault({ kind: "silence" }),
    garbling: () => scale.setFault({ kind: "garbage" }),
    heard: () => (asked ? scale.heard.length : null),
    flood: (bytes) => flooding(bytes, (piece) => scale.noise(piece)),
  });
  const [one, two] = scales;
  return {
    one: machine(one),
    two: machine(two),
    signal: "weight",
    value: WEIGHT_KG,
    cut: () => one.unplug(),
    mend: () => one.plugIn(),
    createAdapter(context, { patient, messagesMax }) {
      const device = ({ path }: Scale) =>
        serialDeviceSchema.parse({
          type: "serial",
          connection: { path },
          timeout: patient ? PATIENT_MS : HASTY_MS,
          backoffMax: BACKOFF_MS,
          hold: { messagesMax },
          ...more(patient),
        });
      return new SerialAdapter({ one: device(one), two: device(two) }, context);
    },
    async dispose() {
      await Promise.all(scales.map((scale) => scale.stop()));
    },
  };
}

const MATCH = "^S [SD] +(?<weight>[-0-9.]+) kg$";

/** Asked, in lines. */
export const askedScaleBench = () =>
  scaleBench(
    {},
    () => ({
      framing: { type: "delimiter", bytesMax: 64, quiet: 100 },
      groups: { all: { request: { send: "SI\r\n", every: EVERY_MS }, match: MATCH, fields: { weight: {} } } },
    }),
    true,
  );

/** Talking by itself, between STX and ETX, with a checksum. */
export const talkingScaleBench = () =>
  scaleBench(
    { framing: "stx", talksEveryMs: EVERY_MS },
    () => ({
      framing: {
        type: "stx-etx",
        bytesMax: 64,
        quiet: 100,
        checksum: { algorithm: "xor-8", encoding: "binary", covers: { end: true } },
      },
      silence: HASTY_MS,
      groups: { all: { match: MATCH, fields: { weight: {} } } },
    }),
    false,
  );
