/**
 * A PLC by hand:
 *
 *     node simulators/machines/plc-main.ts --port 1502 --units 1,2 --fault 2:silence
 *     node simulators/machines/plc-main.ts --rtu --port 1503 --path /tmp/bus      a serial port is at /tmp/bus
 *
 * Faults: exception=CODE, silence, slow=MS, spoilt, garbage, hang-up; of writes alone: write-exception=CODE,
 * write-answer-lost, write-lost, write-late=MS, write-clamped=MAX. Each write that is done is a line. Ctrl-C ends it.
 */
import { parseArgs } from "node:util";
import { Plc, type PlcFault } from "./plc.ts";
import { ptyTo } from "./pty.ts";

const FAULT_KINDS = [
  "exception",
  "silence",
  "slow",
  "spoilt",
  "garbage",
  "hang-up",
  "write-exception",
  "write-answer-lost",
  "write-lost",
  "write-late",
  "write-clamped",
];

function faultOf(text: string): { unit: number; fault: PlcFault } {
  const [, unit = "1", kind = "", number] = /^(?:(\d+):)?([a-z-]+)(?:=(\d+))?$/.exec(text) ?? [];
  if (!FAULT_KINDS.includes(kind)) throw new Error(`--fault ${text}: expected ${FAULT_KINDS.join(", ")}`);
  const fault = {
    kind,
    code: Number(number ?? 2),
    ms: Number(number ?? 500),
    max: Number(number ?? 0),
  } as PlcFault;
  return { unit: Number(unit), fault };
}

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "1502" },
    host: { type: "string", default: "127.0.0.1" },
    units: { type: "string", default: "1" },
    rtu: { type: "boolean", default: false },
    path: { type: "string" },
    seed: { type: "string", default: "1" },
    fault: { type: "string", multiple: true, default: [] },
  },
});

const plc = new Plc({
  port: Number(values.port),
  host: values.host,
  units: values.units.split(",").map(Number),
  framing: values.rtu ? "rtu" : "tcp",
  seed: Number(values.seed),
  onWritten: (written) => console.log(JSON.stringify({ event: "written", ...written })),
});
for (const text of values.fault) {
  const { unit, fault } = faultOf(text);
  plc.setFault(fault, unit);
}
await plc.start();
const line = values.path === undefined ? null : ptyTo(plc.port, values.path);
await line?.plugIn();
console.log(JSON.stringify({ event: "started", host: values.host, port: plc.port, path: line?.path }));
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void Promise.all([line?.close(), plc.stop()]).then(() => process.exit(0)));
}
