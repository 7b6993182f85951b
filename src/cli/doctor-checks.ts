/**
 * What `holdfast doctor` looks at, in the order in which one thing rests on another: program, config, data folder,
 * disk, clock, store, gateway, doors, certificates, machines, backends. Each check answers with findings and never throws;
 * one that fails by itself is a finding too.
 */
import { X509Certificate } from "node:crypto";
import { accessSync, constants, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type Config, loadConfig } from "../config.ts";
import { systemClock, wallClockTrusted } from "../core/clock.ts";
import { type Disk, diskOf, measureFsync, nearestFolder, readLine } from "../core/disk.ts";
import { errorText, isHoldfastError } from "../core/errors.ts";
import { formatBytes } from "../core/units.ts";
import { VERSION } from "../version.ts";
import { openAnswers, type Status } from "./api-client.ts";
import { targetFindings } from "./doctor-targets.ts";
import { counted } from "./plain-words.ts";

export interface Finding {
  /** What was looked at: "disk", "target mes". */
  readonly about: string;
  readonly verdict: "good" | "attention" | "bad";
  readonly says: string;
  /** What to do about it. */
  readonly todo?: string;
}

export interface Patient {
  readonly configFile: string | undefined;
  /** Absolute. */
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly thorough: boolean;
}

const FSYNCS = 20;
/** An acknowledgement waits for one fsync, and those of a batch share it. */
const FSYNC_MS_SLOW = 20;
const CERTIFICATE_DAYS_SOON = 30;
const DAY_MS = 86_400_000;
/** Files beside one socket for each client: store, log, targets, Node's own. */
const FILES_BESIDE = 100;

/** Gone when the power goes. */
const VOLATILE = /^(tmpfs|ramfs|rootfs)$/;
/** SQLite's log needs memory that all its users share, which no network gives. */
const REMOTE = /^(nfs\d?|cifs|smb\d?|smbfs|9p|ceph|glusterfs|fuse\.(sshfs|s3fs|rclone|glusterfs))$/;

const good = (about: string, says: string): Finding => ({ about, verdict: "good", says });
const attention = (about: string, says: string, todo?: string): Finding => ({
  about,
  verdict: "attention",
  says,
  todo,
});
const bad = (about: string, says: string, todo?: string): Finding => ({ about, verdict: "bad", says, todo });

const sentence = (error: unknown) => (isHoldfastError(error) ? error.message : errorText(error));
const hint = (error: unknown) => (isHoldfastError(error) ? error.hint : undefined);

export async function* examine(patient: Patient): AsyncGenerator<Finding> {
  yield* program();
  const config = await readConfig(patient);
  yield config.finding;
  const folder = dataFolder(patient.dataDir);
  yield folder.finding;
  if (folder.exists) yield* await disk(folder.exists, config.config);
  yield* clock();
  if (folder.exists === patient.dataDir) yield* await store(patient);
  const gateway = await running(patient);
  yield* gateway.findings;
  if (!config.config) return;
  yield* limits(config.config);
  if (!gateway.status) yield* await doors(config.config);
  yield* certificates(config.config);
  yield* serialPorts(config.config);
  yield* await targetFindings(config.config, gateway.status, patient.dataDir);
}

function program(): Finding[] {
  const uid = process.getuid?.();
  const user = uid === 0 ? "root" : `user ${uid}`;
  const says = `Holdfast ${VERSION}, Node ${process.versions.node} on ${process.platform} ${process.arch}, as ${user}`;
  return [good("program", says)];
}

async function readConfig({ configFile, env, cwd }: Patient): Promise<{ config?: Config; finding: Finding }> {
  try {
    const { config, file } = await loadConfig({ path: configFile, env, cwd });
    const parts = [
      counted(config.broker.listeners.length, "listener"),
      counted(Object.keys(config.targets).length, "target"),
      counted(Object.keys(config.flows).length, "flow"),
    ];
    return { config, finding: good("config", `${file}: ${parts.join(", ")}`) };
  } catch (error) {
    return { finding: bad("config", sentence(error), hint(error)) };
  }
}

/** `exists`: the data folder, or the one above it where it would be made; undefined where neither can be used. */
function dataFolder(dataDir: string): { exists?: string; finding: Finding } {
  const folder = nearestFolder(dataDir);
  try {
    if (!statSync(folder).isDirectory()) throw new Error(`${folder} is not a folder`);
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const todo = "Give the user that runs the gateway this folder (chown), or name another one with --data.";
    return { finding: bad("data folder", `${dataDir}: ${errorText(error)}`, todo) };
  }
  if (folder !== dataDir) {
    return { exists: folder, finding: good("data folder", `${dataDir} will be made at the first start`) };
  }
  const { mode } = statSync(folder);
  if ((mode & 0o007) !== 0) {
    const says = `${dataDir} can be read by every user of this machine (mode ${(mode & 0o777).toString(8)})`;
    return {
      exists: folder,
      finding: attention("data folder", says, `It holds messages and passwords' hashes: chmod o= ${dataDir}`),
    };
  }
  return { exists: folder, finding: good("data folder", dataDir) };
}

async function disk(folder: string, config: Config | undefined): Promise<Finding[]> {
  const found = diskOf(folder);
  return [fileSystem(found), room(found, config), await fsyncTime(folder, found)];
}

function fileSystem({ filesystem, mountPoint, device, mountOptions, model }: Disk): Finding {
  const says = `${device}${model ? ` (${model})` : ""}, ${filesystem} at ${mountPoint}`;
  if (VOLATILE.test(filesystem)) {
    return bad("file system", `${says}: it is memory, and empty after a restart`, "Use a folder on a disk.");
  }
  if (REMOTE.test(filesystem)) {
    const todo = "SQLite's log does not work over a network: use a disk of this machine.";
    return bad("file system", says, todo);
  }
  if (filesystem === "overlay") {
    const todo = "Mount a volume there, or all that is stored goes with the container.";
    return attention("file system", `${says}: a container's own layer`, todo);
  }
  const risky = mountOptions
    .split(",")
    .filter((option) => /^(nobarrier|barrier=0|data=writeback)$/.test(option));
  if (risky.length > 0) {
    const todo = "With it, what was synced can be lost at a power cut: mount without it.";
    return bad("file system", `${says}, mounted with ${risky.join(" and ")}`, todo);
  }
  return good("file system", says);
}

function room({ freeBytes, sizeBytes }: Disk, config: Config | undefined): Finding {
  const says = `${formatBytes(freeBytes)} of ${formatBytes(sizeBytes)} free`;
  if (!config) return good("room", says);
  const { bytesMax } = config.queue;
  const { diskFreeMin } = config.health;
  if (freeBytes < diskFreeMin) {
    return bad(
      "room",
      `${says}, less than health.diskFreeMin`,
      "Free some: the gateway stops taking messages without.",
    );
  }
  if (freeBytes < bytesMax) {
    const todo = `The store may grow to queue.bytesMax (${formatBytes(bytesMax)}), and this disk will be full before: lower it, or take a larger disk.`;
    return attention("room", says, todo);
  }
  return good("room", `${says}; the store may grow to ${formatBytes(bytesMax)}`);
}

async function fsyncTime(folder: string, { device }: Disk): Promise<Finding> {
  try {
    const { medianMs, maxMs, count } = await measureFsync(folder, systemClock, { count: FSYNCS });
    const says = `an fsync takes ${medianMs.toFixed(1)} ms (median of ${count}, longest ${maxMs.toFixed(1)} ms)`;
    if (medianMs <= FSYNC_MS_SLOW) return good("fsync", says);
    const card = device.includes("mmcblk")
      ? " This is an SD card or eMMC, which wears out by it as well."
      : "";
    const todo = `Each acknowledgement waits for one. Machines with many messages in flight do not notice; others do.${card}`;
    return attention("fsync", says, todo);
  } catch (error) {
    return bad("fsync", `the disk cannot be written: ${errorText(error)}`);
  }
}

function clock(): Finding[] {
  const wallMs = systemClock.wallMs();
  const now = new Date(wallMs).toISOString();
  if (!wallClockTrusted(wallMs)) {
    const todo = "Set it, or let a time server: order and ages do not depend on it, dates do.";
    return [bad("clock", `the clock says ${now}: it is not set`, todo)];
  }
  const battery = existsSync("/dev/rtc") || existsSync("/dev/rtc0");
  const synchronised = existsSync("/run/systemd/timesync/synchronized");
  if (battery || synchronised) {
    return [good("clock", `${now}, ${battery ? "kept by a battery" : "set by a time server"}`)];
  }
  const todo = "Without either it starts in 1970 after each power cut, until somebody sets it.";
  return [attention("clock", `${now}; no battery clock and no sign of a time server`, todo)];
}

async function store({ dataDir, thorough }: Patient): Promise<Finding[]> {
  const { lookAtFolder, verifyFolder } = await import("../queue/by-hand.ts");
  const files = readdirSync(dataDir);
  const findings: Finding[] = [];
  if (!files.includes("store.db")) {
    if (files.some((file) => file.startsWith("store."))) {
      const todo = "The next start salvages what its log holds, and says what is missing.";
      findings.push(bad("store", `store.db is missing in ${dataDir}, and files beside it are there`, todo));
    } else findings.push(good("store", "none yet; the first start makes it"));
    return findings;
  }
  try {
    const problems = thorough ? verifyFolder(dataDir).problems : lookAtFolder(dataDir);
    const size = formatBytes(statSync(join(dataDir, "store.db")).size);
    const todo =
      "The next start keeps the damaged files and salvages what can be read (docs/reliability.md).";
    findings.push(
      problems.length > 0
        ? bad("store", `damaged: ${problems.join("; ")}`, todo)
        : good("store", thorough ? `${size}, all of it read, sound` : `${size} (--thorough reads all of it)`),
    );
  } catch (error) {
    findings.push(bad("store", sentence(error), hint(error)));
  }
  const damaged = files.filter((file) => file.startsWith("damaged-"));
  if (damaged.length > 0) {
    const says = `earlier starts found damage and kept the files: ${damaged.join(", ")}`;
    findings.push(attention("store", says, "Look at what was lost (holdfast verify), then move them away."));
  }
  return findings;
}

/** Asks the gateway where it runs; what it calls a problem is one here. */
async function running({ dataDir, env }: Patient): Promise<{ status: Status | null; findings: Finding[] }> {
  try {
    const answers = await openAnswers(dataDir, env);
    try {
      if (answers.down) return { status: null, findings: [good("gateway", answers.down.sentence)] };
      const status = await answers.status();
      const { health } = status;
      if (!health) return { status: null, findings: [] };
      const problems = health.problems.map(({ severity, sentence }) =>
        severity === "alarm" ? bad("gateway", sentence) : attention("gateway", sentence),
      );
      const says = `${health.gateway} is ${health.state}, version ${health.version}, ${counted(health.devices.online, "device")} online`;
      return { status, findings: [good("gateway", says), ...problems] };
    } finally {
      answers.close();
    }
  } catch (error) {
    const isDown = isHoldfastError(error, "HF_GATEWAY_DOWN") || isHoldfastError(error, "HF_NOT_FOUND");
    return {
      status: null,
      findings: [isDown ? good("gateway", "not running") : bad("gateway", sentence(error))],
    };
  }
}

function limits({ broker }: Config): Finding[] {
  const line = readLine("/proc/self/limits")
    ?.split("\n")
    .find((text) => text.startsWith("Max open files"));
  const files = Number(line?.split(/\s{2,}/)[1]);
  if (!Number.isFinite(files)) return [];
  const wanted = broker.limits.connectionsMax + FILES_BESIDE;
  if (files >= wanted)
    return [good("open files", `${files} allowed, enough for broker.limits.connectionsMax`)];
  const todo = `Raise it to ${wanted} (LimitNOFILE= in the unit, --ulimit nofile= for a container), or lower the limit.`;
  const says = `${files} allowed, and broker.limits.connectionsMax is ${broker.limits.connectionsMax}`;
  return [attention("open files", says, todo)];
}

/** Whether each port could be opened now. Of a gateway that runs, they are taken, by itself. */
async function doors({ broker, web }: Config): Promise<Finding[]> {
  const wanted = [
    ...broker.listeners.map(({ type, host, port }) => ({ name: `door ${type}`, host, port })),
    { name: "door http", host: web.host, port: web.port },
  ];
  return Promise.all(
    wanted.map(async ({ name, host, port }) => {
      const problem = port === 0 ? null : await openingProblem(host, port);
      return problem
        ? bad(
            name,
            `${host}:${port} cannot be opened: ${problem}`,
            "Stop what holds it, or set another port.",
          )
        : good(name, `${host}:${port} can be opened`);
    }),
  );
}

function openingProblem(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error) => resolve(errorText(error)));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}

function certificates({ broker }: Config): Finding[] {
  return broker.listeners.flatMap((listener) => {
    if (listener.type !== "tls" && listener.type !== "wss") return [];
    const about = `certificate of ${listener.type} ${listener.host}:${listener.port}`;
    try {
      const certificate = new X509Certificate(readFileSync(listener.cert));
      const daysLeft = Math.floor((certificate.validToDate.getTime() - systemClock.wallMs()) / DAY_MS);
      const until = certificate.validToDate.toISOString().slice(0, 10);
      if (daysLeft < 0) return [bad(about, `expired on ${until}`, "Replace it, then restart the gateway.")];
      return daysLeft < CERTIFICATE_DAYS_SOON
        ? [attention(about, `expires on ${until}, in ${counted(daysLeft, "day")}`, "Replace it in time.")]
        : [good(about, `valid until ${until}`)];
    } catch (error) {
      return [bad(about, errorText(error))];
    }
  });
}

/** Serial ports of configured machines: there, and ours to open. */
function serialPorts({ devices }: Config): Finding[] {
  const paths = new Map<string, string>();
  for (const [name, device] of Object.entries(devices)) {
    if ("connection" in device && "path" in device.connection) paths.set(device.connection.path, name);
  }
  return [...paths].map(([path, name]) => {
    const about = `serial port of ${name}`;
    try {
      accessSync(path, constants.R_OK | constants.W_OK);
      return good(about, path);
    } catch (error) {
      const denied = (error as NodeJS.ErrnoException).code === "EACCES";
      const todo = denied
        ? "Put the gateway's user into the port's group: usermod -aG dialout."
        : "Is it plugged in? ls -l /dev/serial/by-id shows those that are.";
      return bad(about, errorText(error), todo);
    }
  });
}
