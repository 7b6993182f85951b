/** Commands to registers of a simulated PLC, for tests of what is written. */
import type { Command, Commanded } from "../../../src/core/command.ts";
import type { Raw } from "./device.ts";

export const never = new AbortController().signal;
const quick = { pauseMin: "0s", readAfter: "20ms", readWithin: "200ms" };

/** As in plc-unit.ts. */
export const WRITABLE = {
  level: { address: 0, unit: "l", write: { ...quick, min: 0, max: 900, idempotent: true } },
  speed: { address: 1, scale: 0.5, write: { ...quick, min: 0, max: 1500, tolerance: 0.3, idempotent: true } },
  dose: { address: 2, type: "float32", write: { ...quick, min: 0, max: 10, idempotent: true } },
  lamp: { address: 4, type: "bool", bit: 3, write: { ...quick, idempotent: true } },
  horn: { address: 4, type: "bool", bit: 9, write: { ...quick, alone: true, idempotent: true } },
  recipe: { address: 8, type: "string", length: 16, write: quick },
  motor: { table: "coil", address: 0, write: { ...quick, idempotent: true } },
  feed: { table: "coil", address: 1, write: { ...quick, values: [true], verify: false } },
  mode: { address: 20, write: { ...quick, values: [0, 1, 4] } },
  slow: { address: 21, write: { min: 0, max: 9, pauseMin: "1h" } },
  temperature: { table: "input", address: 2, type: "int16", scale: 0.1 },
  alarms: { table: "input", address: 12, type: "bits", bits: { high: 0, low: 1, hot: 2, doorOpen: 3 } },
};
let commands = 0;
export function command(signal: string, value: Command["value"], more: Partial<Command> = {}): Command {
  const id = `command-${++commands}`;
  return {
    id,
    device: "press-7",
    signal,
    value,
    preconditions: [],
    attempt: 1,
    answerWithinMs: 1000,
    ...more,
  };
}

/** Runs it, and says whether it was said to be sent. */
export async function run(commanded: Commanded, given: Command, signal = never) {
  let sent = 0;
  const outcome = await commanded.execute(given, () => (sent += 1), signal);
  return { outcome, sent };
}

export const still = (registers: Raw = WRITABLE) => ({ groups: { fast: { every: "10m", registers } } });
