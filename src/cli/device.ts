/**
 * `holdfast device probe`: talks to one machine and prints what it reads, before anything is configured.
 * `holdfast device ports`: the serial ports of this machine. `holdfast device list`: every device of the running gateway, with its live state.
 */
import type { Command } from "commander";
import type { ProbedRegister, ProbeFlags } from "../adapters/modbus/probe.ts";
import type { DeviceConfig } from "../adapters/schema.ts";
import type { InstrumentFlags } from "../adapters/serial/probe-flags.ts";
import { HoldfastError } from "../core/errors.ts";
import type { DeviceEntry } from "./api-client.ts";
import { registerBrowse } from "./device-opcua.ts";
import { type CliIo, configFileFrom, DATA_OPTION } from "./io.ts";
import { withGateway } from "./with-gateway.ts";

/** Where standard output is no terminal. */
const COLUMNS_DEFAULT = 100;

interface ProbeOptions extends ProbeFlags, InstrumentFlags {
  readonly config?: string;
  readonly data?: string;
  readonly for?: string;
}

export function register(program: Command, io: CliIo): void {
  const device = program
    .command("device")
    .description("Machines that are read by Holdfast: try one, list all");
  device
    .command("probe")
    .description("Read one machine, and print what stands in its registers or nodes, or what it says")
    .argument(
      "[name]",
      "a device of the config, if it has several; else --host, --serial or --instrument says where it is",
    )
    .option("-c, --config <file>", "the config that has the device (or HOLDFAST_CONFIG)")
    .option(
      "-d, --data <dir>",
      "OPC UA: the data folder, with our certificate (or HOLDFAST_DATA; default: ./data)",
    )
    .option("--host <host>", "Modbus TCP: name or address")
    .option("--port <port>", "Modbus TCP: port (default: 502)")
    .option("--serial <path>", "Modbus RTU: serial port, such as /dev/serial/by-id/…")
    .option("--instrument <path>", "any other instrument: serial port, such as /dev/serial/by-id/…")
    .option("--baud <baud>", "serial: bits per second (default: RTU 19200, instruments 9600)")
    .option("--parity <parity>", "serial: none, even or odd (default: RTU even, instruments none)")
    .option("--stop-bits <n>", "serial: 1 or 2 (default: 1)")
    .option("-u, --unit <n>", "unit number (default: 1)")
    .option("-t, --table <table>", "coil, discrete, input or holding (default: holding)")
    .option("-a, --address <n>", "first address, counted from 0: 40001 is holding 0 (default: 0)")
    .option("-n, --count <n>", "how many values (default: 1)")
    .option("--type <type>", "int16, uint32, float32, string, bits, … (default: uint16, or bool)")
    .option("--length <n>", "characters of a string")
    .option("--byte-order <order>", "big or little (default: big)")
    .option("--word-order <order>", "big or little (default: big)")
    .option("--timeout <time>", "how long an answer may take (default: 1s)")
    .option("--data-bits <n>", "instrument: 7 or 8 (default: 8)")
    .option("--framing <type>", "instrument: delimiter, stx-etx, length or gap (default: gap)")
    .option("--start <bytes>", "instrument: what a frame begins with, as '$' or '\\x02'")
    .option("--end <bytes>", "instrument: what it ends with, as '\\r\\n'")
    .option("--bytes <n>", "instrument: length of a frame")
    .option("--quiet <time>", "instrument: the pause that ends a frame")
    .option("--checksum <name>", "instrument: xor-8, sum-8, CRC-16/MODBUS, …")
    .option("--checksum-place <place>", "instrument: inside or after the end")
    .option("--checksum-encoding <how>", "instrument: hex or binary (default: hex)")
    .option("--separator <bytes>", "instrument: between content and checksum, as '*'")
    .option("--send <bytes>", "instrument: what to ask it, as 'SI\\r\\n'")
    .option("--match <pattern>", "instrument: a regular expression whose named groups are the fields")
    .option("--for <time>", "instrument: how long to listen (default: 5s)")
    .addHelpText(
      "after",
      `
A Modbus machine or an OPC UA server is read once, an instrument is listened to, and asked what --send or its config
says. \`holdfast device browse\` finds the nodes of an OPC UA server. A serial port has room for one program: stop the
gateway first, or ask for another port.
Exit code 1: the machine answered, and not all of it is well. 69: it did not answer.

Examples:
  $ holdfast device probe --host 10.0.0.5 --table input --address 0 --count 8
  $ holdfast device probe --host 10.0.0.5 --type float32 --address 100 --word-order little
  $ holdfast device probe --serial /dev/serial/by-id/usb-FTDI-if00 --baud 9600 --unit 3
  $ holdfast device probe --instrument /dev/ttyUSB0 --baud 9600      what comes, as it comes
  $ holdfast device probe --instrument /dev/ttyUSB0 --framing delimiter --end '\\r\\n' --send 'SI\\r\\n'
  $ holdfast device probe press-7 --config my.yaml     every register of its map`,
    )
    .action((name: string | undefined, options: ProbeOptions) => probe(io, name, options));
  registerBrowse(device, io);
  device
    .command("ports")
    .description("The serial ports of this machine, by the paths that stay the same")
    .action(async () => (await import("./device-serial.ts")).listSerialPorts(io));
  device
    .command("list")
    .description(
      "Every device of the running gateway: its state, its last reading, what went wrong, what it may be told",
    )
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
A device is online by evidence: it answered the last question, or its MQTT client is connected.

Examples:
  $ holdfast device list
  $ holdfast device list --json | jq '.devices[] | select(.state != "online")'`,
    )
    .action((options: { data?: string }) => list(io, options));
}

async function probe(io: CliIo, name: string | undefined, options: ProbeOptions): Promise<void> {
  const config = await deviceToProbe(io, name, options);
  if (config.type === "serial") return (await import("./device-serial.ts")).probeSerial(io, config, options);
  if (config.type === "opcua") {
    return (await import("./device-opcua.ts")).probeOpcua(io, config, options.data);
  }
  const [{ probeDevice }, { whereText }, { systemClock }, { keepAlive }] = await Promise.all([
    import("../adapters/modbus/probe.ts"),
    import("../adapters/modbus/line.ts"),
    import("../core/clock.ts"),
    import("./signals.ts"),
  ]);
  const where = whereText(config.connection, config.unit);
  const release = keepAlive();
  const probed = await probeDevice(config, systemClock).finally(release);
  if (!probed.answered) {
    const reason = probed.registers[0]?.reason ?? "no answer";
    throw new HoldfastError("HF_DEVICE", `${where} does not answer: ${reason}`, { where, reason });
  }
  if (io.json) io.printJson({ where, ...probed });
  else {
    const count = `${probed.registers.length} ${probed.registers.length === 1 ? "value" : "values"}`;
    io.print(`${where}: ${count} in ${probed.requests} ${probed.requests === 1 ? "request" : "requests"}`);
    io.print((await registerTable(io, probed.registers)).join("\n"));
  }
  io.exitCode = probed.registers.every(({ reason }) => reason === null) ? 0 : 1;
}

async function deviceToProbe(
  io: CliIo,
  name: string | undefined,
  options: ProbeOptions,
): Promise<DeviceConfig> {
  const places = [options.host, options.serial, options.instrument].filter((place) => place !== undefined);
  if (name !== undefined || (options.config !== undefined && places.length === 0)) {
    return deviceOfConfig(io, name, options);
  }
  if (places.length !== 1) {
    const message = "name a device of the config, or say one of --host, --serial and --instrument";
    throw new HoldfastError("HF_USAGE", message);
  }
  const device = await deviceOf(options);
  if (Array.isArray(device)) throw new HoldfastError("HF_USAGE", device.join("; "));
  return device;
}

/** Without a name it is the only one that can be asked. */
async function deviceOfConfig(
  io: CliIo,
  name: string | undefined,
  options: ProbeOptions,
): Promise<DeviceConfig> {
  const { loadConfig } = await import("../config.ts");
  const path = configFileFrom(io, options.config);
  const { config, file } = await loadConfig({ path, env: io.env, cwd: io.cwd });
  const { devices } = config;
  const asked = Object.keys(devices).filter((each) => devices[each]?.type !== "mqtt");
  const known = asked.join(", ") || "none";
  if (name === undefined && asked.length !== 1) {
    throw new HoldfastError("HF_USAGE", `name the device; those of ${file} that can be asked: ${known}`);
  }
  const chosen = name ?? asked[0]!;
  const device = Object.hasOwn(devices, chosen) ? devices[chosen] : undefined;
  if (device?.type === "mqtt") {
    const message = `${chosen} is an MQTT client: it comes to Holdfast, and cannot be asked`;
    throw new HoldfastError("HF_USAGE", message);
  }
  if (device) return device;
  throw new HoldfastError("HF_USAGE", `${file} has no device ${chosen} that can be asked; it has: ${known}`);
}

async function deviceOf(options: ProbeOptions): Promise<DeviceConfig | string[]> {
  if (options.instrument === undefined)
    return (await import("../adapters/modbus/probe.ts")).deviceOfFlags(options);
  return (await import("../adapters/serial/probe-flags.ts")).instrumentOfFlags(options);
}

async function registerTable(io: CliIo, registers: readonly ProbedRegister[]): Promise<string[]> {
  const { harmless, table } = await import("./plain-words.ts");
  const rows = registers.map(({ signal, table: where, address, type, raw, value, unit, reason }) => {
    const shown = typeof value === "string" ? JSON.stringify(value) : valueText(value);
    const said = reason ?? `${shown}${unit === null ? "" : ` ${unit}`}`;
    return [signal, `${where} ${address}`, type, raw ?? "", said].map(harmless);
  });
  const titles = ["signal", "register", "type", "raw"].map((title) => ({ title }));
  const head = [...titles, { title: "value", shrinkTo: 20 }];
  return table(head, rows, io.stdout.columns ?? COLUMNS_DEFAULT, (text) => io.paint("dim", text));
}

function valueText(value: ProbedRegister["value"]): string {
  if (value === null || typeof value !== "object") return String(value);
  const on = Object.entries(value).flatMap(([name, set]) => (set ? [name] : []));
  return on.length === 0 ? "(no bit set)" : on.join(" ");
}

async function list(io: CliIo, options: { data?: string }): Promise<void> {
  const why = "Only a running gateway knows the state of devices.";
  const found = await withGateway(io, options.data, why, (gateway) => gateway.devices());
  if (io.json) return io.printJson(found);
  const { systemClock } = await import("../core/clock.ts");
  io.print((await deviceTable(io, found.devices, systemClock.wallMs())).join("\n"));
  await printCommands(io, found.devices);
}

/** Nothing where nothing can be commanded: that is how it is unless somebody has switched it on. */
async function printCommands(io: CliIo, devices: readonly DeviceEntry[]): Promise<void> {
  const open = devices.filter(({ commands }) => commands.length > 0);
  if (open.length === 0) return;
  const { signalTable } = await import("./command-words.ts");
  const signals = open.map(({ device, commands }) => ({ device, signals: commands }));
  io.print("\nWhat may be commanded; all else is only read:");
  io.print((await signalTable(io, { devices: signals })).join("\n"));
}

async function deviceTable(io: CliIo, devices: readonly DeviceEntry[], wallMs: number): Promise<string[]> {
  const { count, counted, harmless, moment, table } = await import("./plain-words.ts");
  if (devices.length === 0)
    return ["No devices: none is configured, and no MQTT client has come in this run."];
  const when = (ms: number | null) => (ms === null ? "never" : moment(ms, wallMs));
  const rows = devices.map((each) => {
    const trouble = [
      each.state === "online" ? "" : (each.lastError ?? ""),
      each.badFrames ? counted(each.badFrames, "bad frame") : "",
      each.missed ? `${count(each.missed)} missed` : "",
      each.held ? `${count(each.held)} held` : "",
    ].filter((part) => part !== "");
    const { device, type, where = "", state, stored, lastStoredAtMs } = each;
    return [device, type, state, when(lastStoredAtMs), count(stored), where, trouble.join("; ")].map(
      harmless,
    );
  });
  const head = [
    { title: "device", shrinkTo: 12 },
    { title: "type" },
    { title: "state" },
    { title: "last stored" },
    { title: "stored", align: "right" as const },
    { title: "where", shrinkTo: 22 },
    { title: "trouble", shrinkTo: 16 },
  ];
  return table(head, rows, io.stdout.columns ?? COLUMNS_DEFAULT, (text) => io.paint("dim", text));
}
