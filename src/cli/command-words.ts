/** Commands in words: one of them, a list, what can be commanded, and the audit trail. */
import type { CommandValue, OfferedSignal } from "../core/command.ts";
import type { CommandState } from "../core/command-message.ts";
import type { CommandRow, CommandView, TrailRow } from "../queue/queries-commands.ts";
import type { CliIo, Paint } from "./io.ts";

/** Where standard output is no terminal. */
const COLUMNS_DEFAULT = 100;

const COLOURS: Readonly<Partial<Record<CommandState, Paint>>> = {
  verified: "green",
  acknowledged: "green",
  failed: "red",
  unknown: "yellow",
  expired: "yellow",
};

/** What each kind of entry in a command's history says. */
const KINDS: Readonly<Record<string, string>> = {
  sending: "about to be sent",
  sent: "sent",
  outage: "could not be sent",
  acknowledged: "acknowledged",
  verified: "verified",
  dead: "failed",
  unknown: "its answer was lost",
  held: "held for a person",
  duplicate: "came again",
  cancelled: "cancelled",
  delivered: "done",
};

export async function commandStory(io: CliIo, view: CommandView): Promise<string[]> {
  const [{ harmless, moment }, { systemClock }] = await Promise.all([
    import("./plain-words.ts"),
    import("../core/clock.ts"),
  ]);
  const now = systemClock.wallMs();
  const { device, signal, value, state, detail, by, door, reason, expiresInMs } = view;
  const dim = (text: string) => io.paint("dim", text);
  const why = reason === null ? "" : `, because: ${reason}`;
  const conditions = view.preconditions.map((each) => `${each.signal} ${each.is} ${shown(each.value)}`);
  const lines = [
    `${io.paint("bold", harmless(`${device} ${signal} ${shown(value)}`.trim()))} ${dim("is")} ${painted(io, state)}${detail === null ? "" : `: ${harmless(detail)}`}`,
    dim(`  id      ${view.id}`),
    dim(harmless(`  asked   by ${by} over ${door}, ${moment(view.queuedAtMs, now)}${why}`)),
  ];
  if (conditions.length > 0) lines.push(dim(harmless(`  if      ${conditions.join(" and ")}`)));
  if (expiresInMs !== null) lines.push(dim(`  expires in ${Math.ceil(expiresInMs / 1000)} s`));
  for (const { atMs, kind, detail: said } of view.history) {
    const words = KINDS[kind] ?? kind;
    lines.push(dim(harmless(`  ${moment(atMs, now)}  ${words}${said === null ? "" : `: ${said}`}`)));
  }
  if (state === "unknown") lines.push("", ...whatToDo(view));
  return lines;
}

function whatToDo({ id, needsPerson }: CommandView): string[] {
  const first = needsPerson
    ? "It waits for a person: look at the machine, and say what came of it."
    : "It is being found out what came of it. Somebody who has looked at the machine can say so:";
  return [first, `  holdfast command resolve ${id} --done --reason "seen to run"`];
}

export async function commandTable(io: CliIo, rows: readonly CommandRow[]): Promise<string[]> {
  if (rows.length === 0) return ["No commands."];
  const [{ harmless, moment, table }, { systemClock }] = await Promise.all([
    import("./plain-words.ts"),
    import("../core/clock.ts"),
  ]);
  const now = systemClock.wallMs();
  const head = [
    { title: "asked" },
    { title: "device", shrinkTo: 8 },
    { title: "signal", shrinkTo: 8 },
    { title: "value", shrinkTo: 6 },
    { title: "state" },
    { title: "id" },
    { title: "evidence or reason", shrinkTo: 18 },
  ];
  const lines = rows.map(({ queuedAtMs, device, signal, value, state, id, detail }) =>
    [moment(queuedAtMs, now), device, signal, shown(value), state, id, detail ?? ""].map(harmless),
  );
  return table(head, lines, io.stdout.columns ?? COLUMNS_DEFAULT, (text) => io.paint("dim", text));
}

export async function trailTable(io: CliIo, rows: readonly TrailRow[]): Promise<string[]> {
  if (rows.length === 0) return ["No entries."];
  const [{ harmless, moment, table }, { systemClock }] = await Promise.all([
    import("./plain-words.ts"),
    import("../core/clock.ts"),
  ]);
  const now = systemClock.wallMs();
  const head = [
    { title: "when" },
    { title: "by", shrinkTo: 8 },
    { title: "over" },
    { title: "device", shrinkTo: 8 },
    { title: "signal", shrinkTo: 8 },
    { title: "value", shrinkTo: 6 },
    { title: "what" },
    { title: "detail", shrinkTo: 18 },
  ];
  const lines = rows.map(({ atMs, by, door, device, signal, value, event, detail }) =>
    [moment(atMs, now), by, door, device ?? "–", signal ?? "–", shown(value), event, detail ?? ""].map(
      harmless,
    ),
  );
  return table(head, lines, io.stdout.columns ?? COLUMNS_DEFAULT, (text) => io.paint("dim", text));
}

export async function signalTable(
  io: CliIo,
  found: {
    readonly devices: readonly {
      device: string;
      signals: readonly Omit<OfferedSignal, "ttlMs" | "onUnknown">[];
    }[];
  },
): Promise<string[]> {
  if (found.devices.length === 0) return ["No device takes commands. docs/commands.md says how one does."];
  const { harmless, table } = await import("./plain-words.ts");
  const head = [
    { title: "device", shrinkTo: 10 },
    { title: "signal", shrinkTo: 10 },
    { title: "takes" },
    { title: "within", shrinkTo: 8 },
    { title: "class", shrinkTo: 6 },
    { title: "twice is once" },
    { title: "can be seen" },
  ];
  const rows = found.devices.flatMap(({ device, signals }) =>
    signals.map(({ signal, type, unit, min, max, idempotent, verifiable, class: of }) => {
      const range = min === undefined && max === undefined ? "" : `${min ?? ""} … ${max ?? ""}`;
      const within = `${range}${unit === undefined ? "" : ` ${unit}`}`.trim();
      return [device, signal, type, within, of ?? "", yes(idempotent), yes(verifiable)].map(harmless);
    }),
  );
  return table(head, rows, io.stdout.columns ?? COLUMNS_DEFAULT, (text) => io.paint("dim", text));
}

function yes(is: boolean): string {
  return is ? "yes" : "no";
}

function painted(io: CliIo, state: CommandState): string {
  const style = COLOURS[state];
  return style ? io.paint(style, state) : state;
}

function shown(value: CommandValue): string {
  return value === null ? "" : JSON.stringify(value);
}
