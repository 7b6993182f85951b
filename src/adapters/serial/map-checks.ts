/**
 * What is wrong with an instrument's config though each of its keys is right: fields that nothing fills,
 * checksums that cannot stand where they are said to, commands that nothing could be known of. Pure.
 */
import { type MapProblem, signalProblems, topicProblems } from "../device-keys.ts";
import { BINARY_BYTES } from "./fields.ts";
import { groupNames } from "./pattern.ts";
import type { CommandConfig, FieldConfig, GroupConfig, SerialDeviceConfig } from "./schema.ts";

type Path = readonly string[];

export function mapProblems(device: SerialDeviceConfig): MapProblem[] {
  const groups = Object.entries(device.groups);
  const signals = groups.flatMap(([group, { fields }]) => {
    return Object.keys(fields).map((signal) => ({ signal, path: ["groups", group, "fields", signal] }));
  });
  return [
    ...framingProblems(device),
    ...groups.flatMap(([name, group]) => groupProblems(device, group, ["groups", name])),
    ...signalProblems(signals),
    ...Object.entries(device.commands).flatMap(([name, command]) => {
      return commandProblems(device, command, ["commands", name]);
    }),
    ...topicProblems(device),
    ...silenceProblems(device),
  ];
}

function framingProblems({ framing, connection, encoding }: SerialDeviceConfig): MapProblem[] {
  const problems: MapProblem[] = [];
  const { checksum } = framing;
  const at = (...keys: string[]) => ["framing", "checksum", ...keys];
  if (framing.type === "length" || framing.type === "gap") {
    if (checksum?.place === "after") {
      problems.push({ path: at("place"), message: "this framing has no end that it could stand behind" });
    }
    if (checksum?.covers.end || (checksum?.covers.start && framing.type === "gap")) {
      problems.push({ path: at("covers"), message: "this framing has no such character" });
    }
  } else if (checksum?.covers.start && framing.start === undefined) {
    problems.push({ path: at("covers"), message: "this framing has no start" });
  }
  if (checksum?.place === "after" && checksum.separator !== undefined) {
    problems.push({ path: at("separator"), message: "the end stands between content and checksum already" });
  }
  if (checksum?.encoding === "binary" && connection.dataBits === 7) {
    problems.push({ path: at("encoding"), message: "a line with 7 data bits carries no binary bytes" });
  }
  if (encoding === "utf8" && connection.dataBits === 7) {
    problems.push({ path: ["encoding"], message: "a line with 7 data bits carries ASCII alone" });
  }
  return problems;
}

function groupProblems(device: SerialDeviceConfig, group: GroupConfig, path: Path): MapProblem[] {
  const problems: MapProblem[] = [];
  const { request, error, event, match, separator, fields } = group;
  if (error !== undefined && !request) {
    problems.push({
      path: [...path, "error"],
      message: "nothing is asked here that could be answered with no",
    });
  }
  if (event && request) {
    problems.push({ path: [...path, "event"], message: "an answer that is asked for is no event" });
  }
  if (event && group.report !== undefined)
    problems.push({ path: [...path, "report"], message: EVENT_REPORT });
  if (request?.framed) problems.push(...framedProblems(device, [...path, "request", "framed"]));
  const names = match === undefined ? [] : groupNames(match);
  for (const [signal, field] of Object.entries(fields)) {
    const at = [...path, "fields", signal];
    problems.push(
      ...placeProblems(signal, field, { names, separator }, at),
      ...typeProblems(field, group, at),
    );
  }
  return problems;
}

interface Known {
  readonly names: readonly string[];
  readonly separator: string | undefined;
}

function placeProblems(
  signal: string,
  field: FieldConfig,
  { names, separator }: Known,
  path: Path,
): MapProblem[] {
  const problems: MapProblem[] = [];
  const say = (key: string, message: string) => problems.push({ path: [...path, key], message });
  const { group, column, at, length, type, unit, unitFrom } = field;
  const binary = type in BINARY_BYTES;
  const places = [group, column, at].filter((each) => each !== undefined).length;
  const known = names.length > 0 ? `has ${names.map((name) => `\`${name}\``).join(", ")}` : "names no group";
  if (places > 1) problems.push({ path, message: "`group`, `column` and `at` exclude each other" });
  else if (column !== undefined && separator === undefined) say("column", "the group has no `separator`");
  else if (at !== undefined && length === undefined && !binary) say("at", "it needs `length`");
  else if (at !== undefined && length !== undefined && binary) {
    say("length", `a \`${type}\` takes ${BINARY_BYTES[type]} bytes, whatever is said here`);
  } else if (at === undefined && binary) say("type", `\`${type}\` is binary: it needs \`at\``);
  else if (at === undefined && column === undefined && !names.includes(group ?? signal)) {
    const message = `the group's \`match\` has no part called \`${group ?? signal}\`: it ${known}`;
    if (group === undefined) problems.push({ path, message: `${message}; or say \`column\` or \`at\`` });
    else say("group", message);
  }
  if (length !== undefined && at === undefined) say("length", "this goes with `at`");
  if (unitFrom !== undefined && unit !== undefined) say("unitFrom", "`unit` says it already");
  if (unitFrom !== undefined && !names.includes(unitFrom)) say("unitFrom", `the group's \`match\` ${known}`);
  return problems;
}

function typeProblems(
  { type, values, scale, offset, report }: FieldConfig,
  group: GroupConfig,
  path: Path,
): MapProblem[] {
  const problems: MapProblem[] = [];
  const say = (key: string, message: string) => problems.push({ path: [...path, key], message });
  const isNumber = type !== "text" && values === undefined;
  if (values !== undefined && type !== "number" && type !== "text") {
    say("values", `a \`${type}\` is no text that could stand for something`);
  }
  if ((!isNumber || type === "degrees") && (scale !== undefined || offset !== undefined)) {
    say(scale === undefined ? "offset" : "scale", "this is no number that could be scaled");
  }
  if (scale === 0) say("scale", "every value would be the same");
  if (!isNumber && (report?.deadband !== undefined || report?.deadbandPercent !== undefined)) {
    say("report", "a text has no deadband: every change is reported");
  }
  if (group.event && report !== undefined) {
    say("report", EVENT_REPORT);
  }
  return problems;
}

const EVENT_REPORT = "each event is reported, or one that is like the last would be lost";

function framedProblems({ framing }: SerialDeviceConfig, path: Path): MapProblem[] {
  if (framing.type !== "gap" || framing.checksum) return [];
  return [{ path, message: "this framing has nothing that could be put around it" }];
}

function commandProblems(device: SerialDeviceConfig, command: CommandConfig, path: Path): MapProblem[] {
  const problems: MapProblem[] = [];
  const say = (key: string, message: string) => problems.push({ path: [...path, key], message });
  const { send, value, answer, readBack, framed, answerMeans } = command;
  if (value && !send.includes("{value}"))
    say("send", "it has no {value}, and so the value would not be sent");
  if (!value && send.includes("{value}"))
    say("send", "it has a {value}, and `value` does not say what that may be");
  if (value?.type === "number" && value.min > value.max) say("value", "`min` is above `max`");
  if (answer === undefined && !readBack) {
    say("send", "nothing would tell whether it was done: it needs `answer`, or `readBack`");
  }
  if (answer === undefined && answerMeans === "done") say("answerMeans", "there is no `answer`");
  if (framed) problems.push(...framedProblems(device, [...path, "framed"]));
  if (!readBack) return problems;
  const owner = Object.values(device.groups).find(({ fields }) => Object.hasOwn(fields, readBack.signal));
  if (!owner) say("readBack", `there is no signal \`${readBack.signal}\``);
  else if (owner.event) say("readBack", `\`${readBack.signal}\` is an event's: it has no value afterwards`);
  if (!value && readBack.value === undefined) {
    say("readBack", "the command has no value that it could be held against: it needs `value`");
  }
  return problems;
}

/** What is asked for is known to be silent by its timeout. */
function silenceProblems({ silence, groups }: SerialDeviceConfig): MapProblem[] {
  if (silence === undefined || Object.values(groups).some(({ request }) => !request)) return [];
  return [
    { path: ["silence"], message: "all its groups are asked for, and their `timeout` tells its silence" },
  ];
}
