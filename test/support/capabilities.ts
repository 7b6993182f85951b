/**
 * What this machine has that some tests need, and what to do where it has not. A test never skips itself in
 * silence: it asks here, and the test command prints beforehand what will be skipped, why, and how to get it.
 *
 *     const mosquitto = capability("mosquitto");
 *     describe.skipIf(!mosquitto.present)("a real mosquitto upstream", () => { spawn(mosquitto.path, …) });
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";

export interface Capability {
  readonly name: CapabilityName;
  readonly present: boolean;
  /** The program, where it is one and it is here; else "". */
  readonly path: string;
  /** What is missing, as the middle of a sentence. */
  readonly missing: string;
  readonly howToGet: string;
}

/** Set by `./holdfast test --long`. */
export const LONG_VARIABLE = "HOLDFAST_TEST_LONG";

/** Debian keeps servers where a user's PATH does not look. */
const SERVER_FOLDERS = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

type Probe = { missing: string; howToGet: string; find: () => string | boolean };

const PROBES = {
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
  faketime: {
    missing: "faketime is not installed",
    howToGet: "apt-get install faketime",
    find: () => program("faketime"),
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
  long: {
    missing: "it takes minutes",
    howToGet: "./holdfast test --long",
    find: () => process.env[LONG_VARIABLE] === "1",
  },
} satisfies Record<string, Probe>;

export type CapabilityName = keyof typeof PROBES;

export const capabilityNames = Object.keys(PROBES) as CapabilityName[];

const found = new Map<CapabilityName, Capability>();

export function capability(name: CapabilityName): Capability {
  let known = found.get(name);
  if (!known) {
    const { missing, howToGet, find } = PROBES[name];
    const answer = find();
    known = {
      name,
      missing,
      howToGet,
      present: Boolean(answer),
      path: typeof answer === "string" ? answer : "",
    };
    found.set(name, known);
  }
  return known;
}

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

function works(file: string, args: string[]): string {
  return file && spawnSync(file, args, { stdio: "ignore", timeout: 10_000 }).status === 0 ? file : "";
}
