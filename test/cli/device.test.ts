import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { Plc } from "../../simulators/machines/plc.ts";
import { runCliHere } from "../support/cli-process.ts";
import { eventually, Journey, startBackend } from "../support/journey.ts";

async function startPlc(): Promise<Plc> {
  const plc = await new Plc().start();
  onTestFinished(() => plc.stop());
  return plc;
}

function folder(config?: string): string {
  const cwd = mkdtempSync(join(tmpdir(), "holdfast-device-"));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  if (config !== undefined) writeFileSync(join(cwd, "holdfast.yaml"), config);
  return cwd;
}

const device = (cwd: string, ...args: readonly string[]) => runCliHere(["device", ...args], { cwd });
const at = ({ port }: Plc) => ["--host", "127.0.0.1", "--port", String(port)];

describe("holdfast device probe", () => {
  it("reads a machine that nobody has configured, and shows what it received beside what it made of it", async () => {
    const plc = await startPlc();
    const { stdout, code } = await device(
      folder(),
      "probe",
      ...at(plc),
      "-t",
      "input",
      "-a",
      "13",
      "--type",
      "string",
      "--length",
      "16",
    );
    expect(stdout.split("\n").slice(0, 3)).toEqual([
      `127.0.0.1:${plc.port} unit 1: 1 value in 1 request`,
      expect.stringMatching(/^signal +register +type +raw +value$/),
      expect.stringMatching(/^input-13 +input 13 +string +504c432d31(00)+ +"PLC-1"$/),
    ]);
    expect(code).toBe(0);
  });

  it("reads several values of a wide type from where one ends to where the next begins", async () => {
    const plc = await startPlc();
    const said = await device(
      folder(),
      "probe",
      ...at(plc),
      "-t",
      "input",
      "-a",
      "4",
      "-n",
      "2",
      "--type",
      "uint32",
      "--json",
    );
    const { registers, requests } = JSON.parse(said.stdout);
    expect(registers.map((each: { address: number }) => each.address)).toEqual([4, 6]);
    expect([requests, plc.asked.length]).toEqual([1, 1]);
  });

  it("says which registers a machine has not, one by one", async () => {
    const plc = await startPlc();
    const { stdout, code } = await device(folder(), "probe", ...at(plc), "-a", "62", "-n", "4");
    expect(stdout).toMatch(/holding 63 +uint16 +0000 +0\n/);
    expect(stdout).toMatch(/holding 64 .*illegal-data-address: it has no such register \(exception 2\)/);
    expect(code).toBe(1);
  });

  it("reads a device of the config by its whole map", async () => {
    const plc = await startPlc();
    const registers =
      "{ level: { table: input, address: 0, type: float32, unit: l }, motor: { table: coil, address: 0 } }";
    const cwd = folder(
      `devices:\n  press-7:\n    type: modbus\n    connection: { type: tcp, host: 127.0.0.1, port: ${plc.port} }\n    groups: { fast: { registers: ${registers} } }\n`,
    );
    const { stdout, code } = await device(cwd, "probe", "press-7");
    expect(stdout).toMatch(/level +input 0 +float32 +[0-9a-f]{8} +\d+(\.\d+)? l\n/);
    expect(stdout).toMatch(/motor +coil 0 +bool +true\n/);
    expect(code).toBe(0);
    expect(await device(cwd, "probe", "press-8")).toMatchObject({
      code: 64,
      stderr: expect.stringContaining("it has: press-7"),
    });
    // The only one needs no name; of several it is to be said which.
    const only = await device(cwd, "probe", "--config", "holdfast.yaml");
    expect([only.code, only.stdout]).toEqual([0, expect.stringMatching(/motor +coil 0/)]);
    const two = `devices:\n${["a", "b"].map((name) => `  ${name}: { type: modbus, connection: { type: tcp, host: x }, groups: { g: { registers: { s_${name}: { address: 0 } } } } }\n`).join("")}`;
    expect(await device(folder(two), "probe", "--config", "holdfast.yaml")).toMatchObject({
      code: 64,
      stderr: expect.stringContaining("can be asked: a, b"),
    });
  });

  it("says why there is no answer, and what to do", async () => {
    const plc = await startPlc();
    const nobody = await device(folder(), "probe", ...at(plc), "-u", "9", "--timeout", "100ms");
    expect(nobody).toMatchObject({
      code: 69,
      stdout: "",
      stderr: expect.stringMatching(/unit 9 does not answer: timeout: .*\n {2}what to do: Check the cable/),
    });
    await plc.stop();
    const off = await device(folder(), "probe", ...at(plc), "--json");
    expect(JSON.parse(off.stdout).error).toMatchObject({
      code: "HF_DEVICE",
      message: expect.stringContaining("ECONNREFUSED"),
    });
    const serial = await device(folder(), "probe", "--serial", "/dev/serial/by-id/none");
    expect(serial).toMatchObject({ code: 69, stderr: expect.stringContaining("No such file or directory") });
  });

  it.each([
    [[], "--host, --serial"],
    [["--host", "x", "--serial", "/dev/x"], "--host, --serial"],
    [["--host", "x", "--table", "registers"], "--table: expected one of"],
    [["--host", "x", "--type", "float"], "--type: expected one of"],
    [["--host", "x", "--count", "0"], "--count: expected"],
    [["--host", "x", "--address", "forty"], "address"],
    [["--host", "x", "--address", "65535", "--type", "int32"], "last address is 65535"],
    [["--host", "x", "--table", "coil", "--type", "int16"], "single bits"],
    [["--serial", "/dev/x", "--unit", "0"], "from 1 to 247"],
  ])("with %j says what is wrong with that", async (flags, sentence) => {
    const said = await device(folder(), "probe", ...flags);
    expect(said).toMatchObject({ code: 64, stderr: expect.stringContaining(sentence) });
  });
});

describe("holdfast device list", () => {
  it("has machines and MQTT clients, each with its state by evidence", async () => {
    const plc = await startPlc();
    const { url } = await startBackend(new HttpBackend());
    const groups = { fast: { every: "50ms", registers: { speed: { table: "input", address: 3 } } } };
    const modbus = (port: number) => ({
      type: "modbus",
      connection: { type: "tcp", host: "127.0.0.1", port },
      timeout: "2s",
      topic: "plant/{device}/{signal}",
      groups,
    });
    const away = await new Plc().start();
    await away.stop();
    const journey = await Journey.start({
      config: {
        devices: { "press-7": modbus(plc.port), "press-8": modbus(away.port) },
        targets: { backend: { type: "http", url } },
      },
    });
    await (await journey.client("scanner")).publish({ topic: "plant/scanner", payload: "{}", qos: 1 });
    const list = await eventually("both machines have been tried", async () => {
      const { devices } = JSON.parse((await journey.cli("device", "list", "--json")).stdout);
      return devices.every(({ state }: { state: string }) => state !== "starting") ? devices : null;
    });
    expect(list).toMatchObject([
      { device: "press-7", type: "modbus", state: "online", lastError: null },
      {
        device: "press-8",
        type: "modbus",
        state: "offline",
        lastError: expect.stringContaining("ECONNREFUSED"),
      },
      { device: "scanner", type: "mqtt", state: "online", stored: 1 },
    ]);
    const { stdout } = await journey.cli("device", "list");
    expect(stdout).toMatch(/press-8 +modbus +offline .*unreachable/);
    // They count as devices where others are counted.
    await eventually("the status counts them", async () => {
      const { known, online, clientsOnline } = (await journey.status()).health.devices;
      return known === 3 && online === 2 && clientsOnline === 1;
    });
  });

  it("needs a running gateway, and says so", async () => {
    const cwd = folder();
    expect(await device(cwd, "list")).toMatchObject({
      code: 69,
      stderr: expect.stringContaining("not running"),
    });
  });
});
