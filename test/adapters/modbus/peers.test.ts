/**
 * Beside parts that are not ours: a server of pymodbus, over TCP and on a serial line, read by the adapter; and the simulated PLC, read by
 * mbpoll (libmodbus), so that the adapter's tests do not rest on a simulator that errs in the same way.
 */
import { execFileSync, spawn } from "node:child_process";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { Pty } from "../../../simulators/machines/pty.ts";
import { capability } from "../../support/capabilities.ts";
import { eventually, scratchFolder } from "../../support/journey.ts";
import { deviceOn, type Raw, Reading } from "./device.ts";

const pymodbus = capability("pymodbus");
const mbpoll = capability("mbpoll");
const pty = capability("pty");

/** Holding 0-1 a float, 2 a negative number; coils 0 and 2 on; nothing beyond 100 of each. */
const SERVER = `
import sys
from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartSerialServer, StartTcpServer
from pymodbus.transaction import ModbusRtuFramer
holding = [0x42f6, 0xe979, 0xfff6] + [0] * 97
bits = [True, False, True] + [False] * 97
block = lambda values: ModbusSequentialDataBlock(1, values)
slave = ModbusSlaveContext(co=block(bits), di=block(bits), hr=block(holding), ir=block(holding))
context = ModbusServerContext(slaves={1: slave}, single=False)
if sys.argv[1] == "tcp":
    StartTcpServer(context=context, address=("127.0.0.1", int(sys.argv[2])))
else:
    StartSerialServer(context=context, framer=ModbusRtuFramer, port=sys.argv[2], baudrate=19200)
`;

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Two ports, each the far end of the other. */
async function serialCable(): Promise<[string, string]> {
  const ends: readonly Pty[] = [
    new Pty((data) => ends[1]!.write(data)),
    new Pty((data) => ends[0]!.write(data)),
  ];
  for (const end of ends) {
    onTestFinished(() => end.close());
    await end.plugIn();
  }
  return [ends[0]!.path, ends[1]!.path];
}

describe.skipIf(!pymodbus.present)("a server of pymodbus", () => {
  it("is read and written over TCP as it means it", async () => {
    const port = await freePort();
    serve("tcp", String(port));
    await readAndWrite({ type: "tcp", host: "127.0.0.1", port });
  });

  it.skipIf(!pty.present)("is read and written over RTU as it means it", async () => {
    const [ours, its] = await serialCable();
    serve("rtu", its);
    await readAndWrite({ type: "serial", path: ours, baud: 19_200, parity: "none" });
  });

  function serve(...how: readonly string[]): void {
    const child = spawn(pymodbus.path, ["-c", SERVER, ...how], { stdio: "ignore" });
    onTestFinished(() => void child.kill("SIGKILL"));
  }

  async function readAndWrite(connection: Raw): Promise<void> {
    const registers = {
      level: { address: 0, type: "float32", write: { min: -1, max: 1 } },
      offset: { address: 2, type: "int16", scale: 0.5, write: { min: 0, max: 10 } },
      text: { address: 10, type: "string", length: 8, write: {} },
      bit: { address: 20, type: "bool", bit: 9, write: {} },
      copy: { table: "input", address: 0, type: "float32" },
      on: { table: "coil", address: 0, write: {} },
      off: { table: "discrete", address: 1 },
    };
    const beyond = { every: "50ms", registers: { beyond: { address: 500, write: { min: 0, max: 1 } } } };
    const groups = { fast: { every: "50ms", registers }, beyond };
    const reading = await Reading.start({ "press-7": deviceOn(0, { connection, groups }) });
    await eventually("it answers", () => reading.of("level").some(({ quality }) => quality === "good"));
    const good = (signal: string) => reading.of(signal).find(({ quality }) => quality === "good")?.value;
    expect(["level", "offset", "copy", "on", "off"].map(good)).toEqual([123.456, -5, 123.456, true, false]);
    await eventually("the register that is not there is told", () =>
      reading.of("beyond").some(({ reason }) => reason?.startsWith("illegal-data-address")),
    );
    for (const [signal, value, kind] of [
      ["level", -0.25, "verified"],
      ["offset", 7.5, "verified"],
      ["text", "abc", "verified"],
      ["bit", true, "verified"],
      ["on", false, "verified"],
      ["beyond", 1, "failed"],
    ] as const) {
      expect(await written(reading, signal, value), signal).toMatchObject({ kind });
    }
  }
});

describe.skipIf(!mbpoll.present)("the simulated PLC, read by mbpoll", () => {
  const poll = (...args: readonly string[]) =>
    execFileSync(mbpoll.path, ["-1", "-q", "-0", ...args], { encoding: "utf8", timeout: 10_000 });

  it("says over TCP what the adapter says it says", async () => {
    const port = await apart();
    const text = poll(
      "-m",
      "tcp",
      "-p",
      String(port),
      "-a",
      "1",
      "-t",
      "3",
      "-r",
      "13",
      "-c",
      "3",
      "127.0.0.1",
    );
    expect(text).toMatch(/\[13\]:\s+20556\s+\[14\]:\s+17197\s+\[15\]:\s+12544/);
    expect(poll("-m", "tcp", "-p", String(port), "-a", "1", "-t", "4", "-r", "0", "127.0.0.1")).toMatch(
      /\[0\]:\s+600/,
    );
  });

  it("holds what was written by the adapter", async () => {
    const port = await apart();
    const registers = { setpoint: { address: 0, write: { min: 0, max: 900 } } };
    const reading = await Reading.start({ "press-7": deviceOn(port, {}, registers) });
    expect(await written(reading, "setpoint", 432)).toMatchObject({ kind: "verified" });
    const text = poll("-m", "tcp", "-p", String(port), "-a", "1", "-t", "4", "-r", "0", "127.0.0.1");
    expect(text).toMatch(/\[0\]:\s+432/);
  });

  it.skipIf(!pty.present)("says the same over RTU", async () => {
    const path = join(scratchFolder(), "bus");
    await apart("--rtu", "--path", path);
    const text = poll("-m", "rtu", "-b", "19200", "-P", "none", "-a", "1", "-t", "4", "-r", "0", path);
    expect(text).toMatch(/\[0\]:\s+600/);
  });

  it("refuses what it has not", async () => {
    const port = await apart();
    expect(() =>
      poll("-m", "tcp", "-p", String(port), "-a", "1", "-t", "4", "-r", "60", "-c", "10", "127.0.0.1"),
    ).toThrow(/Illegal data address/);
  });
});

async function written({ adapter }: Reading, signal: string, value: boolean | number | string) {
  const command = { id: signal, device: "press-7", signal, value, preconditions: [], attempt: 1 };
  const { signal: never } = new AbortController();
  return adapter.commanded.execute({ ...command, answerWithinMs: 1000 }, () => {}, never);
}

/** The PLC as it runs by hand, since this process waits for mbpoll; its port. */
async function apart(...more: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, ["simulators/machines/plc-main.ts", "--port", "0", ...more], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [line] = await new Promise<string[]>((resolve) => {
    child.stdout.once("data", (data: Buffer) => resolve(data.toString().split("\n")));
  });
  return (JSON.parse(line!) as { port: number }).port;
}
