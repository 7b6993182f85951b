/** A serial instrument as a scenario has it: on a pty, saying something else each time. */
import { z } from "zod";
import type { Clock } from "../../src/core/clock.ts";
import { BarcodeReader } from "./barcode-reader.ts";
import type { InstrumentFault, SimulatedInstrument } from "./instrument.ts";
import { NmeaTalker } from "./nmea-talker.ts";
import { Scale } from "./scale.ts";
import type { WiredMachine } from "./wired-fleet.ts";
import { WIRED_DEVICE, wiredGroupKeys } from "./wired-group.ts";

export const instrumentGroupSchema = z.strictObject({
  ...wiredGroupKeys("instrument"),
  kind: z
    .enum(["scale", "barcode", "nmea"])
    .default("scale")
    .describe(
      "`scale`: asked, or talking by itself, with a checksum. `barcode`: says a code when it has read one, with none. `nmea`: says where it is, with a checksum.",
    ),
  talks: z.boolean().default(false).describe("A scale that says its weight by itself, unasked."),
});

export type InstrumentGroup = z.output<typeof instrumentGroupSchema> & { readonly seed?: number };

const NOUNS = { scale: "scale", barcode: "barcode reader", nmea: "NMEA talker" };
/** Nothing for this many of its turns: it is off, or its cable is. */
const SILENT_TURNS = 4;
const SILENCE_MS_MIN = 300;

export class WiredInstrument implements WiredMachine {
  readonly device: string;
  readonly #group: InstrumentGroup;
  readonly #instrument: SimulatedInstrument;

  constructor(group: InstrumentGroup, device: string, seed: number, clock: Clock) {
    this.device = device;
    this.#group = group;
    this.#instrument = made(group, seed, clock);
  }

  get noun(): string {
    return NOUNS[this.#group.kind];
  }

  get group(): string {
    return this.#group.name;
  }

  get up(): boolean {
    return this.#instrument.isPlugged;
  }

  start(): Promise<unknown> {
    return this.#instrument.start();
  }

  config(): Record<string, unknown> {
    const { message, device } = this.#group;
    const connection = { path: this.#instrument.path };
    const base = { type: "serial", connection, timeout: "250ms", ...WIRED_DEVICE, message };
    return { ...base, ...spoken(this.#group), ...device };
  }

  isTrue(signal: string, value: unknown): boolean {
    return this.#instrument.hasMeant(signal, value);
  }

  setFault(fault: InstrumentFault): void {
    this.#instrument.setFault(fault);
  }

  unplug(): Promise<void> {
    return this.#instrument.unplug();
  }

  plugIn(): Promise<void> {
    return this.#instrument.plugIn();
  }

  stop(): Promise<void> {
    return this.#instrument.stop();
  }
}

function made({ kind, talks, every }: InstrumentGroup, seed: number, clock: Clock): SimulatedInstrument {
  if (kind === "barcode") return new BarcodeReader({ seed, clock, scansEveryMs: every });
  if (kind === "nmea") return new NmeaTalker({ seed, clock, everyMs: every });
  const talksEveryMs = talks ? every : undefined;
  return new Scale({ seed, clock, framing: "stx", talksEveryMs, busy: true });
}

/** How it speaks, as in config/serial-scale.yaml, barcode-reader.yaml and nmea.yaml. */
function spoken({ kind, talks, every }: InstrumentGroup): Record<string, unknown> {
  const silence = Math.max(SILENCE_MS_MIN, every * SILENT_TURNS);
  if (kind === "barcode") {
    const scan = { event: true, match: "^\\]E0(?<code>\\d{13})$", fields: { code: { type: "text" } } };
    return { framing: { type: "delimiter", end: "\r\n", bytesMax: 64 }, groups: { scan } };
  }
  if (kind === "nmea") {
    const checksum = { algorithm: "xor-8", separator: "*" };
    const match = "^..GGA,[^,]*,(?<latitude>[^,]*,[NS]?),(?<longitude>[^,]*,[EW]?),";
    const degrees = { type: "degrees", unit: "°" };
    return {
      framing: { type: "delimiter", start: "$", end: "\r\n", bytesMax: 120, checksum },
      silence,
      groups: { position: { match, fields: { latitude: degrees, longitude: degrees } } },
    };
  }
  const request = talks ? undefined : { send: "SI\r\n", every };
  return {
    framing: {
      type: "stx-etx",
      bytesMax: 64,
      checksum: { algorithm: "xor-8", encoding: "binary", covers: { end: true } },
    },
    ...(talks ? { silence } : {}),
    groups: {
      weight: {
        ...(request && { request }),
        match: "^S [SD] +(?<weight>[-0-9.]+) kg$",
        fields: { weight: { unit: "kg" } },
      },
    },
  };
}
