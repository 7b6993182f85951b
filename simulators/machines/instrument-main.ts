/**
 * A serial instrument by hand, on a port of its own:
 *
 *     node simulators/machines/instrument-main.ts scale --path /tmp/scale              asked: SI, T, TA, Z
 *     node simulators/machines/instrument-main.ts scale --path /tmp/scale --every 500  talks by itself
 *     node simulators/machines/instrument-main.ts barcode --path /tmp/reader --every 3000
 *     node simulators/machines/instrument-main.ts nmea --path /tmp/gps --fault spoilt
 *
 * Lines typed into it: `put 12.5`, `moving`, `still` (scale), `scan 4006381333931` (reader), `fault garbage`,
 * `fault split=200`, `fault none`, `unplug`, `plug`. Ctrl-C ends it.
 */
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { BarcodeReader } from "./barcode-reader.ts";
import { INSTRUMENT_FAULTS, type InstrumentFault } from "./instrument.ts";
import { NmeaTalker } from "./nmea-talker.ts";
import { Scale } from "./scale.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    path: { type: "string" },
    every: { type: "string" },
    framing: { type: "string", default: "line" },
    seed: { type: "string", default: "1" },
    fault: { type: "string", default: "none" },
  },
});

function faultOf(text: string): InstrumentFault {
  const [, kind = "", ms = "300"] = /^([a-z]+)(?:=(\d+))?$/.exec(text) ?? [];
  if (!INSTRUMENT_FAULTS.includes(kind as never)) {
    throw new Error(`fault ${text}: expected one of ${INSTRUMENT_FAULTS.join(", ")}`);
  }
  return { kind, ms: Number(ms) } as InstrumentFault;
}

function make(kind: string | undefined) {
  const options = { path: values.path, seed: Number(values.seed) };
  const everyMs = values.every === undefined ? undefined : Number(values.every);
  if (kind === "barcode") return new BarcodeReader({ ...options, scansEveryMs: everyMs });
  if (kind === "nmea") return new NmeaTalker({ ...options, everyMs });
  if (kind !== "scale") throw new Error("expected scale, barcode or nmea");
  return new Scale({ ...options, talksEveryMs: everyMs, framing: values.framing === "stx" ? "stx" : "line" });
}

const instrument = make(positionals[0]);
instrument.setFault(faultOf(values.fault));

async function obey(line: string): Promise<void> {
  const [what, text = ""] = line.trim().split(/\s+/);
  if (what === "fault") instrument.setFault(faultOf(text));
  else if (what === "unplug") await instrument.unplug();
  else if (what === "plug") await instrument.plugIn();
  else if (what === "scan" && instrument instanceof BarcodeReader) instrument.scan(text || undefined);
  else if (what === "put" && instrument instanceof Scale) instrument.loadKg = Number(text);
  else if (/^(moving|still)$/.test(what ?? "") && instrument instanceof Scale)
    instrument.stable = what === "still";
  else if (what) throw new Error(`${what}: not understood`);
}

await instrument.start();
console.log(JSON.stringify({ event: "started", path: instrument.path }));
createInterface({ input: process.stdin }).on("line", (line) => {
  obey(line).catch((error: Error) => console.error(error.message));
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void instrument.stop().then(() => process.exit(0)));
}
