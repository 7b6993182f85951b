/** Simulated instruments and the adapter in front of them, by the configs that come with Holdfast or by others. */
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { SimulatedInstrument } from "../../../simulators/machines/instrument.ts";
import { type SerialDeviceConfig, serialDeviceSchema } from "../../../src/adapters/serial/schema.ts";
import { SerialAdapter } from "../../../src/adapters/serial/serial.ts";
import { loadConfig } from "../../../src/config.ts";
import { Observed } from "../observed.ts";

const CONFIGS = join(import.meta.dirname, "../../../config");

export async function plugged<Of extends SimulatedInstrument>(instrument: Of): Promise<Of> {
  onTestFinished(() => instrument.stop());
  await instrument.start();
  return instrument;
}

/** The one device of a config that comes with Holdfast. */
export async function shipped(file: string, env: Record<string, string>): Promise<SerialDeviceConfig> {
  const { config } = await loadConfig({ path: join(CONFIGS, file), env, cwd: CONFIGS });
  const [device] = Object.values(config.devices);
  if (device?.type !== "serial") throw new Error(`${file} has no serial device`);
  return device;
}

export function serialDevice(path: string, more: object): SerialDeviceConfig {
  return serialDeviceSchema.parse({ type: "serial", connection: { path }, ...more });
}

/** The device is called `press-7`, as observed.ts takes it where nothing else is said. */
export async function observe(device: SerialDeviceConfig): Promise<Observed<SerialAdapter>> {
  const observed = new Observed((context) => new SerialAdapter({ "press-7": device }, context));
  onTestFinished(() => observed.adapter.stop());
  await observed.adapter.start();
  return observed;
}
