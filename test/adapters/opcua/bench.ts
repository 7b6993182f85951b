/** Two OPC UA devices on the bench: one server, with a line of its own before it for each of them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TcpProxy } from "../../../simulators/backends/tcp-proxy.ts";
import type { OpcuaServer } from "../../../simulators/machines/opcua-server.ts";
import { OpcuaAdapter } from "../../../src/adapters/opcua/opcua.ts";
import { opcuaDeviceSchema } from "../../../src/adapters/opcua/schema.ts";
import { flooding } from "../benches.ts";
import type { AdapterBench, Machine } from "../conformance.ts";

/** The server is in this process: what others do there, it waits for. */
const HASTY_MS = 2500;
const KEEP_ALIVE_MS = 400;
const PATIENT_MS = 60_000;
const BACKOFF_MS = 400;
/** Nothing changes on the server: what is read is what is said again, changed or not. */
const HEARTBEAT_MS = 100;
const SETPOINT_L = 600;

/** The server is heavy, and outlives the bench. */
export async function opcuaBench(server: OpcuaServer): Promise<AdapterBench> {
  const to = { host: "127.0.0.1", port: server.port };
  const lines = [new TcpProxy({ to }), new TcpProxy({ to })] as const;
  await Promise.all(lines.map((line) => line.start()));
  const dataDir = mkdtempSync(join(tmpdir(), "holdfast-opcua-bench-"));
  const machine = (line: TcpProxy): Machine => ({
    well: () => line.setMode("pass"),
    silent: () => line.setMode("half-open"),
    garbling: () => line.setMode("garbled"),
    heard: () => null,
    flood: (bytes) => flooding(bytes, (piece) => line.noise(piece)),
  });
  const [one, two] = lines;
  return {
    one: machine(one),
    two: machine(two),
    signal: "setpoint",
    value: SETPOINT_L,
    cut: () => one.stop(),
    async mend() {
      await one.start();
    },
    createAdapter(context, { patient, messagesMax }) {
      const device = ({ port }: TcpProxy) =>
        opcuaDeviceSchema.parse({
          type: "opcua",
          endpoint: `opc.tcp://127.0.0.1:${port}`,
          security: { mode: "None" },
          timeout: patient ? PATIENT_MS : HASTY_MS,
          keepAlive: patient ? PATIENT_MS : KEEP_ALIVE_MS,
          backoffMax: BACKOFF_MS,
          hold: { messagesMax },
          groups: {
            all: {
              every: "50ms",
              report: { heartbeat: HEARTBEAT_MS },
              nodes: { setpoint: { node: "ns=1;s=Tank.Setpoint" } },
            },
          },
        });
      return new OpcuaAdapter({ one: device(one), two: device(two) }, { ...context, dataDir });
    },
    async dispose() {
      await Promise.all(lines.map((line) => line.stop()));
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
