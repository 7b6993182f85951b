/** Devices: machines that send, over MQTT or read by an adapter. */
import { z } from "zod";
import type { OfferedSignal } from "../core/command.ts";
import { HoldfastError } from "../core/errors.ts";
import type { ApiContext, DeviceRow } from "./context.ts";
import { pause } from "./flow-shapes.ts";
import { type Operation, operation } from "./operation.ts";
import { count, deviceName, epochMs, epochMsOrNull, offeredSignal } from "./shapes.ts";

/** Listed in one answer. */
const DEVICES_MAX = 5000;

const device = () =>
  z.looseObject({
    device: z.string(),
    type: z.string().describe("mqtt, or the adapter that reads it."),
    state: z.string(),
    stored: count().describe("In this run."),
    lastStoredAtMs: epochMsOrNull(),
    duplicates: count(),
    refused: count(),
    commands: z.array(offeredSignal()).describe("What it may be told to do; none where it is only read."),
  });

export const deviceOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/devices",
    name: "listDevices",
    tag: "devices",
    summary:
      "Every device: those that are configured first, then those that were seen in this run; its state, and what it may be told to do",
    role: "view",
    answer: () =>
      z.object({
        asOfMs: epochMs(),
        boot: z.string().describe("This start of the gateway, within which readings are numbered."),
        total: count(),
        devices: z.array(device()),
      }),
    handle(_, context) {
      const all = listed(context);
      const { clock, boot } = context;
      return {
        asOfMs: clock.wallMs(),
        boot,
        total: all.length,
        devices: all.slice(0, DEVICES_MAX).map((each) => ({ ...each })),
      };
    },
  }),
  operation({
    method: "GET",
    path: "/v1/devices/:device",
    name: "getDevice",
    tag: "devices",
    summary: "One device: its state in this run, and what the store has of it",
    role: "view",
    params: z.strictObject({ device: deviceName }),
    answer: () =>
      z.object({
        asOfMs: epochMs(),
        device: z.string(),
        now: device().nullable().describe("Null for one that was not seen in this run."),
        flows: z
          .array(
            z.object({
              flow: z.string(),
              open: count().describe("Waiting, sending or unknown."),
              oldestSeq: count().nullable(),
              oldestAgeMs: z.number().nullable(),
            }),
          )
          .describe("Lanes of flows that keep its order."),
        lastMessage: z
          .object({ seq: count(), id: z.string(), topic: z.string(), acceptedAtMs: epochMs() })
          .nullable()
          .describe("The newest of it in the store, where it was found quickly."),
        pause: pause().nullable().describe("What it has sent waits, in flows that keep its order."),
        complete: z.boolean().describe("False where looking for the newest message was given up early."),
      }),
    async handle({ params: { device: name } }, context) {
      const { reader, steadyMs, clock, pauses } = context;
      const now = listed(context).find((each) => each.device === name);
      const known = await reader.query("device", { device: name, steadyNowMs: steadyMs() });
      if (!now && known.flows.length === 0 && !known.lastMessage && known.complete) {
        throw new HoldfastError("HF_NOT_FOUND", `there is no device ${name}`, { device: name });
      }
      const pause = pauses.all.find((each) => each.kind === "device" && each.name === name) ?? null;
      return { asOfMs: clock.wallMs(), device: name, now: now ? { ...now } : null, ...known, pause };
    },
  }),
];

/** With what each may be told to do; also an MQTT client that may be commanded, and has not come in this run. */
function listed({ devices, commands }: ApiContext): (DeviceRow & { commands: OfferedSignal[] })[] {
  const offered = commands?.commandable() ?? new Map<string, readonly OfferedSignal[]>();
  const rows = devices?.() ?? [];
  const seen = new Set(rows.map(({ device }) => device));
  const away = [...offered.keys()].filter((name) => !seen.has(name));
  const absent = {
    type: "mqtt",
    state: "offline",
    stored: 0,
    duplicates: 0,
    refused: 0,
    lastStoredAtMs: null,
  };
  return [...rows, ...away.map((device): DeviceRow => ({ device, ...absent }))].map((row) => ({
    ...row,
    commands: [...(offered.get(row.device) ?? [])],
  }));
}
