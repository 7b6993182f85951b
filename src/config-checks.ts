/**
 * What no single schema can know: that the names in one part of the config exist in another, and that its
 * parts make sense together. Looks at the values as written, so that these problems are told together with
 * the schema's own.
 */
import { normalize } from "node:path";
import { commandedSignals, deviceProblems } from "./adapters/schema.ts";
import { namesOfNobody } from "./commands/schema.ts";
import type { Config } from "./config.ts";
import { foundText } from "./core/config-explain.ts";
import { type ConfigText, type Path, type Problem, pathText } from "./core/config-text.ts";
import { nearMiss } from "./core/near-miss.ts";
import { formatBytes } from "./core/units.ts";
import { isLoopback } from "./web/schema.ts";

export function crossChecks(value: unknown, config: Config | undefined, text: ConfigText): Problem[] {
  const root = mapOf(value);
  const at = (path: Path, message: string): Problem => ({ ...text.valuePlace(path), path, message });
  const checks = config
    ? [
        ...addressChecks(config, at),
        ...folderChecks(config, at),
        ...probeChecks(config, at),
        ...sizeChecks(config, at),
        ...serialChecks(config, at),
        ...nameChecks(config, at),
        ...notifyChecks(config, at),
        ...commandChecks(config, at),
        ...deviceProblems(config.devices).map(({ path, message }) => at(path, message)),
      ]
    : [];
  return [...flowChecks(root, at), ...checks];
}

/**
 * Listeners that anybody in the network could use: while there are no users everyone may enter, so each
 * listener must be on the loopback interface. Apart from the rest, since it has an error code of its own.
 */
export function openDoors(config: Config, text: ConfigText): Problem[] {
  if (Object.keys(config.access.users).length > 0) return [];
  return config.broker.listeners.flatMap(({ host }, index) => {
    if (isLoopback(host)) return [];
    const path = ["broker", "listeners", index, "host"];
    const message = `found ${foundText(host)}, which is open to the network, and there are no users; add access.users, or listen on 127.0.0.1`;
    return [{ ...text.valuePlace(path), path, message }];
  });
}

/** Doors that cannot both be opened: one address and port, or one name, given twice. */
function addressChecks(config: Config, at: At): Problem[] {
  const problems: Problem[] = [];
  const doors = [
    ...config.broker.listeners.map((listener, index) => ({
      ...listener,
      path: ["broker", "listeners", index] as Path,
    })),
    { ...config.web, name: undefined, path: ["web"] as Path },
  ];
  for (const [index, door] of doors.entries()) {
    const earlier = doors.slice(0, index);
    const rival = earlier.find(
      (each) => door.port !== 0 && each.port === door.port && each.host === door.host,
    );
    if (rival) {
      problems.push(
        at(
          [...door.path, "port"],
          `${door.host}:${door.port} is already taken by ${pathText(rival.path)}; give one of them another port`,
        ),
      );
    }
    if (door.name !== undefined && earlier.some((each) => each.name === door.name)) {
      problems.push(at([...door.path, "name"], `two listeners are called ${foundText(door.name)}`));
    }
  }
  return problems;
}

type At = (path: Path, message: string) => Problem;

/** Two targets that write into one folder would each take the other's files for their own. */
function folderChecks(config: Config, at: At): Problem[] {
  const problems: Problem[] = [];
  const taken = new Map<string, string>();
  for (const [name, target] of Object.entries(config.targets)) {
    if (target.type !== "file") continue;
    const folder = normalize(`${target.folder}/`);
    const other = taken.get(folder);
    if (other === undefined) taken.set(folder, name);
    else {
      const message = `the target \`${other}\` writes into the folder ${foundText(target.folder)} too; give each its own`;
      problems.push(at(["targets", name, "folder"], message));
    }
  }
  return problems;
}

/** A message that fits nowhere would wait at the door for ever, and all that came after it. */
function sizeChecks({ intake, queue }: Config, at: At): Problem[] {
  const roomMax = (queue.bytesMax - queue.reserve) / 2;
  if (intake.payloadBytesMax <= roomMax) return [];
  const message = `a payload of ${formatBytes(intake.payloadBytesMax)} would hardly fit into the store; allowed is half of queue.bytesMax less queue.reserve, ${formatBytes(roomMax)}`;
  return [at(["intake", "payloadBytesMax"], message)];
}

/** A user whose messages would pass for those of a machine that an adapter reads is not let in. */
function nameChecks({ access, devices }: Config, at: At): Problem[] {
  return Object.entries(access.users).flatMap(([user, { device }]) => {
    const named = Object.hasOwn(devices, device ?? user) ? devices[device ?? user] : undefined;
    if (!named || named.type === "mqtt") return [];
    const path = ["access", "users", user, ...(device === undefined ? [] : ["device"])];
    return [
      at(
        path,
        `\`${device ?? user}\` is a machine of \`devices\`, which Holdfast reads itself; no client may send in its name`,
      ),
    ];
  });
}

/** Channels that rules name, and targets that channels name. */
function notifyChecks({ notify, targets }: Config, at: At): Problem[] {
  const problems: Problem[] = [];
  const channels = Object.keys(notify.channels);
  for (const [name, channel] of Object.entries(notify.channels)) {
    if (channel.type !== "mqtt" || channel.target === undefined) continue;
    const path = ["notify", "channels", name, "target"];
    const target = Object.hasOwn(targets, channel.target) ? targets[channel.target] : undefined;
    if (!target) problems.push(at(path, unknownName("target", channel.target, Object.keys(targets))));
    else if (target.type !== "mqtt") {
      const message = `the target \`${channel.target}\` is of type ${target.type}, which has no topics; name one of type mqtt, or none for our own broker`;
      problems.push(at(path, message));
    }
  }
  for (const [rule, { channels: chosen = [] }] of Object.entries(notify.rules)) {
    for (const [index, name] of chosen.entries()) {
      if (channels.includes(name)) continue;
      problems.push(at(["notify", "rules", rule, "channels", index], unknownName("channel", name, channels)));
    }
  }
  return problems;
}

function commandChecks({ commands, devices }: Config, at: At): Problem[] {
  const can = new Map(
    Object.entries(devices).map(([name, device]) => [
      name,
      device.type === "mqtt" ? Object.keys(device.commands.signals) : commandedSignals(device),
    ]),
  );
  return namesOfNobody(commands, can).map(({ path, name, what, known }) => {
    return at(path, unknownName(what, name, known));
  });
}

/** One serial port has one speed, whoever hangs on its line. */
function serialChecks(config: Config, at: At): Problem[] {
  const problems: Problem[] = [];
  const first = new Map<string, { name: string; type: string; settings: string }>();
  for (const [name, device] of Object.entries(config.devices)) {
    if (!("connection" in device) || !("path" in device.connection)) continue;
    const { type, connection } = device;
    const { path, baud, parity, dataBits, stopBits } = connection;
    const settings = `${baud} ${dataBits}${parity[0]!.toUpperCase()}${stopBits}`;
    const other = first.get(path);
    if (!other) first.set(path, { name, type, settings });
    else if (type === "serial" || other.type === "serial") {
      const message = `the device \`${other.name}\` has this port, which has room for one: several instruments on one line are groups of one device`;
      problems.push(at(["devices", name, "connection", "path"], message));
    } else if (other.settings !== settings) {
      const message = `the device \`${other.name}\` on the same port has ${other.settings}, and this one ${settings}`;
      problems.push(at(["devices", name, "connection"], message));
    }
  }
  return problems;
}

/** `onUnknown: probe` for a backend that cannot be asked. */
function probeChecks(config: Config, at: At): Problem[] {
  return Object.entries(config.flows).flatMap(([name, { onUnknown, to }]) => {
    const target = Object.hasOwn(config.targets, to) ? config.targets[to] : undefined;
    // A file remembers ids, and so can a backend that says it is idempotent: those are simply sent to again.
    if (onUnknown !== "probe" || !target || target.type === "file" || target.idempotent) return [];
    if (target.type === "http" && target.hasUrl !== undefined) return [];
    const why =
      target.type === "http" ? "has no hasUrl" : `is of type ${target.type}, which has no such question`;
    const message = `\`probe\` asks the backend whether it has a message, and the target \`${to}\` ${why}; use retry or hold`;
    return [at(["flows", name, "onUnknown"], message)];
  });
}

function flowChecks(root: Record<string, unknown>, at: At): Problem[] {
  const problems: Problem[] = [];
  const flows = mapOf(root.flows);
  const targets = Object.keys(root.targets === undefined ? { outbox: {} } : mapOf(root.targets));
  if (root.flows === undefined && root.targets !== undefined && !targets.includes("outbox")) {
    problems.push(
      at(
        ["targets"],
        "there are targets but no flows, so nothing would reach them; add `flows`, each with `from` and `to`",
      ),
    );
  }
  for (const [name, value] of Object.entries(flows)) {
    const flow = mapOf(value);
    const path = ["flows", name];
    if (typeof flow.to === "string" && flow.to !== "" && !targets.includes(flow.to)) {
      problems.push(at([...path, "to"], unknownName("target", flow.to, targets)));
    }
    problems.push(...lateChecks(flows, name, flow, at));
  }
  return problems;
}

function lateChecks(
  flows: Record<string, unknown>,
  name: string,
  flow: Record<string, unknown>,
  at: At,
): Problem[] {
  const problems: Problem[] = [];
  const path = ["flows", name];
  const names = Object.keys(flows);
  if (flow.late === "divert" && flow.divertTo === undefined) {
    problems.push(
      at([...path, "late"], "`late: divert` needs `divertTo`, the name of the flow that takes late messages"),
    );
  }
  if (flow.divertTo !== undefined && flow.late !== "divert") {
    problems.push(at([...path, "divertTo"], "never used, since `late` is not `divert`"));
  }
  if (flow.late !== undefined && flow.late !== "deliver" && flow.lateAfter === undefined) {
    problems.push(at([...path, "late"], "never used, since without `lateAfter` no message is late"));
  }
  if (typeof flow.divertTo !== "string") return problems;
  if (!names.includes(flow.divertTo)) {
    problems.push(at([...path, "divertTo"], unknownName("flow", flow.divertTo, names)));
  } else {
    const circle = divertCircle(flows, name);
    // Told once, at the flow of the circle that stands first.
    if (circle && names.find((each) => circle.includes(each)) === name) {
      problems.push(at([...path, "divertTo"], `goes in a circle: ${[...circle, name].join(" → ")}`));
    }
  }
  return problems;
}

/** The flows of the circle that `name` is part of, beginning with it; null where it is in none. */
function divertCircle(flows: Record<string, unknown>, name: string): string[] | null {
  const seen = [name];
  for (;;) {
    const next = mapOf(flows[seen.at(-1)!]).divertTo;
    if (next === name) return seen;
    if (typeof next !== "string" || !Object.hasOwn(flows, next) || seen.includes(next)) return null;
    seen.push(next);
  }
}

function unknownName(what: string, name: string, names: readonly string[]): string {
  const meant = nearMiss(name, names);
  if (meant) return `found ${foundText(name)}, and there is no such ${what}; did you mean \`${meant}\`?`;
  const known = names.length === 0 ? "there are none" : `there are: ${names.slice(0, 16).join(", ")}`;
  return `found ${foundText(name)}, and there is no such ${what}; ${known}`;
}

function mapOf(value: unknown): Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? { ...value } : {};
}
