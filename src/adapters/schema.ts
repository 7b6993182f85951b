/**
 * The adapters' part of the config: one machine under a name of its own, told apart by `type`.
 */
import { z } from "zod";
import { modbusDeviceSchema } from "./modbus/schema.ts";
import { writtenTwice } from "./modbus/write-checks.ts";
import { opcuaDeviceSchema } from "./opcua/schema.ts";
import { serialDeviceSchema } from "./serial/schema.ts";

const DEVICE_TYPES = ["modbus", "serial", "opcua"] as const;
/** Machines people ask for that this version does not read. */
const TYPES_NOT_BUILT_IN = ["s7", "profinet", "ethernet-ip", "bacnet"];

const deviceSchemas = [modbusDeviceSchema, serialDeviceSchema, opcuaDeviceSchema] as const;

export const deviceSchema = z.discriminatedUnion("type", deviceSchemas, { error: deviceTypeProblem });

export type DeviceConfig = z.output<typeof deviceSchema>;

/** Names of what commands may be told of it. */
export function commandedSignals(device: DeviceConfig): string[] {
  const written = (all: Readonly<Record<string, { readonly write?: object | undefined }>>) =>
    Object.entries(all).flatMap(([signal, { write }]) => (write ? [signal] : []));
  switch (device.type) {
    case "modbus":
      return Object.values(device.groups).flatMap(({ registers }) => written(registers));
    case "opcua":
      return Object.values(device.groups).flatMap(({ nodes }) => written(nodes));
    case "serial":
      return Object.keys(device.commands);
  }
}

/** What no device by itself can know; each with the path of what is to be changed. */
export function deviceProblems(devices: Readonly<Record<string, { readonly type: string }>>) {
  return writtenTwice(
    Object.entries(devices as Record<string, DeviceConfig>).flatMap(([name, device]) =>
      device.type === "modbus" ? [[name, device] as const] : [],
    ),
  );
}

/** What is wrong with a device's type; undefined for any other problem. MQTT clients are configured elsewhere. */
export function deviceTypeProblem(issue: {
  readonly code?: string;
  readonly input?: unknown;
}): string | undefined {
  if (issue.code !== "invalid_union") return undefined;
  const type = (issue.input as { type?: unknown } | null | undefined)?.type;
  const known = [...DEVICE_TYPES, "mqtt"].join(", ");
  if (type === undefined) return `expected a type: ${known}`;
  return TYPES_NOT_BUILT_IN.includes(String(type))
    ? `devices of type ${type} are not built into this version of Holdfast; it has ${known}`
    : `there is no device type ${JSON.stringify(type)}; expected one of ${known}`;
}
