/** What `holdfast device probe` shows of a serial instrument, and `holdfast device ports`. */
import type { FieldValue } from "../adapters/serial/fields.ts";
import type { ProbedFrame } from "../adapters/serial/probe.ts";
import type { SerialDeviceConfig } from "../adapters/serial/schema.ts";
import { HoldfastError } from "../core/errors.ts";
import { formatDuration, parseDurationMs } from "../core/units.ts";
import type { CliIo } from "./io.ts";

const FOR_MS_DEFAULT = 5000;
/** More frames than these tell no more. */
const FRAMES_MAX = 1000;
const COLUMNS_DEFAULT = 100;

export interface ListenOptions {
  readonly for?: string;
  readonly send?: string;
}

export async function probeSerial(
  io: CliIo,
  config: SerialDeviceConfig,
  options: ListenOptions,
): Promise<void> {
  const [{ probeInstrument }, { systemClock }, { keepAlive }, words] = await Promise.all([
    import("../adapters/serial/probe.ts"),
    import("../core/clock.ts"),
    import("./signals.ts"),
    import("./plain-words.ts"),
  ]);
  // What was asked is answered soon; whoever wants to hear more says so.
  const forMsDefault = options.send === undefined ? FOR_MS_DEFAULT : 0;
  const forMs = options.for === undefined ? forMsDefault : parseDurationMs(options.for);
  if (forMs === null) throw new HoldfastError("HF_USAGE", "--for: expected a duration such as 10s");
  const { path, baud, dataBits, parity, stopBits } = config.connection;
  const where = `${path} ${baud} ${dataBits}${parity[0]!.toUpperCase()}${stopBits}`;
  const listens = forMs > 0 && Object.values(config.groups).some(({ request }) => !request);
  if (!io.json && listens) io.note(`${where}: listening for ${formatDuration(forMs)}`);
  const release = keepAlive();
  const probed = await probeInstrument(config, {
    clock: systemClock,
    forMs,
    framesMax: FRAMES_MAX,
    onFrame: (frame) => {
      if (!io.json) io.print(frameLines(io, frame).map(words.harmless).join("\n"));
    },
  }).finally(release);
  const { frames, unanswered, noiseBytes, unreachable } = probed;
  const whole = frames.filter(({ problem }) => problem === null);
  if (unreachable !== null || (frames.length === 0 && noiseBytes === 0)) {
    const said = unanswered.length > 0 ? "it did not answer" : `it said nothing in ${formatDuration(forMs)}`;
    const reason = unreachable === null ? said : `unreachable: ${unreachable}`;
    throw new HoldfastError("HF_DEVICE", `${where}: ${reason}`, { where, reason });
  }
  if (io.json) io.printJson({ where, ...probed });
  else {
    const bad = frames.length - whole.length;
    const noise = noiseBytes > 0 ? `, ${words.counted(noiseBytes, "byte")} of noise` : "";
    io.print(`${where}: ${words.counted(whole.length, "whole frame")}, ${bad} bad${noise}`);
    for (const name of unanswered) io.print(io.paint("yellow", `${name}: not answered`));
  }
  io.exitCode = whole.length > 0 && whole.length === frames.length && unanswered.length === 0 ? 0 : 1;
}

function frameLines(io: CliIo, { text, hex, checksum, problem, group, fields }: ProbedFrame): string[] {
  const verdict = checksum && (checksum.ok ? `checksum ${checksum.received} is right` : null);
  const remarks = [
    problem ?? "",
    verdict ?? "",
    problem === null && group === null ? "no group takes it" : "",
  ];
  return [
    text,
    io.paint("dim", `  ${hex.replaceAll(/..(?=.)/g, "$& ")}`),
    ...remarks.filter((remark) => remark !== "").map((remark) => `  ${remark}`),
    ...fields.filter(({ signal }) => signal !== "content").map((field) => `  ${fieldText(field)}`),
  ];
}

function fieldText({ signal, value, unit, reason }: FieldValue): string {
  if (reason !== null) return `${signal}: ${reason}`;
  const shown = typeof value === "string" ? JSON.stringify(value) : String(value);
  return `${signal} = ${shown}${unit === null ? "" : ` ${unit}`}`;
}

export async function listSerialPorts(io: CliIo): Promise<void> {
  const [{ listPorts }, { harmless, table }] = await Promise.all([
    import("../adapters/serial/ports.ts"),
    import("./plain-words.ts"),
  ]);
  const ports = await listPorts();
  if (io.json) return io.printJson({ ports });
  if (ports.length === 0) return io.print("No serial ports: nothing that is plugged in here is one.");
  const rows = ports.map(({ path, device, what, serialNumber, permitted }) => {
    const trouble = permitted ? "" : "you may not open it: are you in its group (mostly dialout)?";
    return [path, path === device ? "" : device, what ?? "", serialNumber ?? "", trouble].map(harmless);
  });
  const head = [
    { title: "path" },
    { title: "device" },
    { title: "what", shrinkTo: 12 },
    { title: "serial number", shrinkTo: 12 },
    { title: "trouble", shrinkTo: 16 },
  ];
  io.print(
    table(head, rows, io.stdout.columns ?? COLUMNS_DEFAULT, (text) => io.paint("dim", text)).join("\n"),
  );
}
