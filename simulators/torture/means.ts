/**
 * What a machine needs to have for some of what can be done to a gateway: programs, rights, devices. Nothing
 * skips itself in silence: whoever asks says by name what is missing and how to get it.
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";

export interface Means<Name extends string = MeansName> {
  readonly name: Name;
  readonly present: boolean;
  /** The program, where it is one and it is here; else "". */
  readonly path: string;
  /** What is missing, as the middle of a sentence. */
  readonly missing: string;
  readonly howToGet: string;
}

export interface Probe {
  readonly missing: string;
  readonly howToGet: string;
  /** The program's path, or whether it is there. */
  readonly find: () => string | boolean;
}

/** Debian keeps servers where a user's PATH does not look. */
const SERVER_FOLDERS = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/** Those that the tests use; later versions call some of them otherwise. */
const PYMODBUS_PARTS =
  "from pymodbus.server import StartTcpServer; from pymodbus.datastore import ModbusSlaveContext";

const OPCUA_PACKAGES = join(import.meta.dirname, "../../extras/opcua/node_modules");

export const PROBES = {
  mosquitto: {
    missing: "the broker mosquitto is not installed",
    howToGet: "apt-get install mosquitto",
    find: () => program("mosquitto"),
  },
  "mosquitto-clients": {
    missing: "mosquitto_pub and mosquitto_sub are not installed",
    howToGet: "apt-get install mosquitto-clients",
    find: () => program("mosquitto_sub") && program("mosquitto_pub"),
  },
  openssl: {
    missing: "openssl is not installed, so no certificates can be made",
    howToGet: "apt-get install openssl",
    find: () => program("openssl"),
  },
  strace: {
    missing: "strace is not installed, or may not trace here",
    howToGet: "apt-get install strace, and in a container the capability SYS_PTRACE",
    find: () =>
      mayAttach() ? works(program("strace"), ["-e", "trace=none", process.execPath, "--version"]) : "",
  },
  /** Its path is the library's, for LD_PRELOAD. */
  faketime: {
    missing: "libfaketime is not installed",
    howToGet: "apt-get install faketime",
    find: () => library("faketime/libfaketimeMT.so.1"),
  },
  /** Its path is that of `ip`. */
  netns: {
    missing: "no network namespaces can be made here",
    howToGet: "run as root with iproute2, and in a container with the capabilities NET_ADMIN and SYS_ADMIN",
    find: () =>
      works(program("unshare"), ["--net", "true"]) ? works(program("ip"), ["link", "show", "lo"]) : "",
  },
  /** A serial line to pretend with (simulators/machines/pty.ts). */
  pty: {
    missing: "script is not installed, so there is no serial line to pretend with",
    howToGet: "apt-get install bsdutils",
    find: () => works(program("script"), ["-q", "-c", "stty raw -echo", "/dev/null"]),
  },
  mbpoll: {
    missing: "mbpoll, a Modbus client on libmodbus, is not installed",
    howToGet: "apt-get install mbpoll",
    find: () => program("mbpoll"),
  },
  pymodbus: {
    missing: "the system's python3 has no pymodbus",
    howToGet: "apt-get install python3-pymodbus python3-serial-asyncio",
    find: () => works("/usr/bin/python3", ["-c", PYMODBUS_PARTS]),
  },
  /** Its client is there too. */
  "opcua-server": {
    missing: "no OPC UA stack is installed",
    howToGet: "npm ci --ignore-scripts --prefix extras/opcua",
    find: () => existsSync(join(OPCUA_PACKAGES, "node-opcua-server")),
  },
  chromium: {
    missing: "no chromium is installed",
    howToGet: "apt-get install chromium",
    find: () => program("chromium") || program("chromium-browser") || program("google-chrome"),
  },
  root: {
    missing: "this is not root",
    howToGet: "sudo ./holdfast test",
    find: () => process.getuid?.() === 0,
  },
  "not-root": {
    missing: "this is root, who may do what others may not",
    howToGet: "run the tests as another user",
    find: () => process.getuid?.() !== 0,
  },
  mount: {
    missing: "nothing may be mounted here",
    howToGet: "run as root, and in a container with the capability SYS_ADMIN",
    find: () => works(program("unshare"), ["--mount", "true"]),
  },
  "power-cut": {
    missing: "no disk can be made here whose power could be cut",
    howToGet: "run as root with e2fsprogs, python3 and loop devices, and in a container with SYS_ADMIN",
    find: () =>
      process.getuid?.() === 0 &&
      program("mkfs.ext4") !== "" &&
      works(program("python3"), ["-c", "import fcntl"]) !== "" &&
      works(program("losetup"), ["--find"]) !== "",
  },
} satisfies Record<string, Probe>;

export type MeansName = keyof typeof PROBES;

/** Answers each question once: what a machine has does not change while it runs. */
export function rememberingProbes<Name extends string>(
  probes: Readonly<Record<Name, Probe>>,
): (name: Name) => Means<Name> {
  const found = new Map<Name, Means<Name>>();
  return (name) => {
    let known = found.get(name);
    if (!known) {
      const { missing, howToGet, find } = probes[name];
      const answer = find();
      const path = typeof answer === "string" ? answer : "";
      known = { name, missing, howToGet, present: Boolean(answer), path };
      found.set(name, known);
    }
    return known;
  };
}

export const means = rememberingProbes(PROBES);

/** Whether a process that runs already may be traced; see ptrace(2), ptrace_scope. */
function mayAttach(): boolean {
  try {
    const scope = Number(readFileSync("/proc/sys/kernel/yama/ptrace_scope", "utf8"));
    return scope === 0 || (process.getuid?.() === 0 && scope < 3);
  } catch {
    return true;
  }
}

function program(name: string): string {
  for (const folder of [...(process.env.PATH ?? "").split(delimiter), ...SERVER_FOLDERS]) {
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not in this folder.
    }
  }
  return "";
}

/** Debian keeps them in a folder of the machine's kind. */
function library(name: string): string {
  for (const folder of ["/usr/lib", "/usr/local/lib", "/usr/lib64"].filter((each) => existsSync(each))) {
    const machines = readdirSync(folder, { withFileTypes: true }).filter((entry) =>
      entry.name.includes("-linux-"),
    );
    for (const place of [folder, ...machines.map((entry) => join(folder, entry.name))]) {
      const file = join(place, name);
      if (existsSync(file)) return file;
    }
  }
  return "";
}

function works(file: string, args: string[]): string {
  return file && spawnSync(file, args, { stdio: "ignore", timeout: 10_000 }).status === 0 ? file : "";
}
