/** The six questions on one screen, as lines of text. Pure: no terminal, no clock. */
import { flowWords, isBuiltInFlow, isCommandFlow, targetWords } from "../core/command-message.ts";
import type { Failures } from "../queue/queries-reasons.ts";
import type { Down, Status } from "./api-client.ts";
import type { Paint } from "./io.ts";
import { age, capital, count, counted, cutTo, harmless, moment, table, width, wrap } from "./plain-words.ts";

export interface ScreenOptions {
  readonly columns: number;
  readonly wallMs: number;
  readonly down: Down | null;
  readonly paint: (style: Paint, text: string) => string;
}

/** Wider lines are harder to read, not easier. */
const COLUMNS_MAX = 120;
const COLUMNS_MIN = 60;
/** Narrower than this, the table of flows leaves out whose message is the oldest. */
const COLUMNS_WITH_DEVICE = 76;
const INDENT = "   ";
const REASONS_SHOWN = 5;
const DEVICES_SHOWN = 5;

const STATES = [
  "delivered",
  "waiting",
  "sending",
  "unknown",
  "dead",
  "expired",
  "evicted",
  "discarded",
] as const;

export function statusScreen(status: Status, options: ScreenOptions): string[] {
  const screen = new Screen(status, {
    ...options,
    columns: Math.min(Math.max(options.columns, COLUMNS_MIN), COLUMNS_MAX),
  });
  return screen.lines();
}

class Screen {
  readonly #status: Status;
  readonly #options: ScreenOptions;
  readonly #lines: string[] = [];

  constructor(status: Status, options: ScreenOptions) {
    this.#status = status;
    this.#options = options;
  }

  lines(): string[] {
    this.#headline();
    this.#question(1, "How many messages are waiting?", () => this.#waiting());
    this.#question(2, "How many are failing, and why?", () => this.#failing());
    this.#question(3, "Which workflow takes which message?", () => this.#workflows());
    this.#question(4, "Are any being retried?", () => this.#retrying());
    this.#question(5, "What state did the system reach?", () => this.#state());
    this.#question(6, "How is it repaired?", () => this.#repair());
    return this.#lines;
  }

  #headline(): void {
    const { health, boot, asOfMs } = this.#status;
    const { down, wallMs, paint } = this.#options;
    if (!health) {
      const [first = "", ...rest] = wrap(down?.sentence ?? "", this.#options.columns - 2);
      this.#lines.push(
        ...[`○ ${first}`, ...rest.map((line) => `  ${line}`)].map((line) => paint("yellow", line)),
      );
      const end = boot?.stoppedClean ? "it stopped in order" : "it did not stop in order";
      const when = `${moment(asOfMs, wallMs)}, ${age(Math.max(0, wallMs - asOfMs))} ago`;
      this.#say(`Figures are as of its last commit: ${when}; ${end}.`);
      for (const { sentence, lossy, atMs } of this.#status.salvages) {
        const text = `The start at ${moment(atMs, wallMs)} found damage: ${harmless(sentence)}.`;
        for (const line of wrap(text, this.#options.columns - 2))
          this.#lines.push(paint(lossy ? "red" : "yellow", `  ${line}`));
      }
      this.#exports();
      return;
    }
    const { gateway, version, uptimeMs, state, problems } = health;
    const running = state === "running" ? `running for ${age(uptimeMs)}` : state;
    this.#lines.push(
      `${paint("bold", gateway)} ${paint("dim", `is ${running} · Holdfast ${version} · ${moment(asOfMs, wallMs)}`)}`,
    );
    for (const { kind, name, who, reason, sinceMs } of health.pauses ?? []) {
      const since = sinceMs === null ? "" : ` since ${moment(sinceMs, wallMs)}`;
      this.#stopped(
        `${capital(kind)} ${harmless(name)} is paused by ${harmless(who)}${since}: ${harmless(reason)}`,
      );
    }
    this.#exports();
    if (problems.length === 0) {
      this.#lines.push(paint("green", "● All is well."));
      return;
    }
    for (const { severity, sentence, sinceMs } of problems) {
      const [sign, style] = severity === "alarm" ? (["✖", "red"] as const) : (["▲", "yellow"] as const);
      const text = `${harmless(sentence)} (since ${moment(sinceMs, wallMs)})`;
      const [first = "", ...rest] = wrap(capital(text), this.#options.columns - 2);
      this.#lines.push(paint(style, `${sign} ${first}`), ...rest.map((line) => paint(style, `  ${line}`)));
    }
  }

  /** What somebody has begun, and keeps messages here until it is ended. */
  #exports(): void {
    for (const { id, who, atMs, reason } of this.#status.exports ?? []) {
      const since = `since ${moment(atMs, this.#options.wallMs)}`;
      const why = reason === null ? "" : `: ${harmless(reason)}`;
      this.#stopped(`Export ${id} holds messages for another box, by ${harmless(who)} ${since}${why}`);
    }
  }

  #stopped(text: string): void {
    const { columns, paint } = this.#options;
    this.#lines.push(...wrap(`‖ ${text}`, columns).map((line) => paint("yellow", line)));
  }

  #question(number: number, title: string, answer: () => void): void {
    this.#lines.push("", this.#options.paint("bold", `${number}  ${title}`));
    answer();
  }

  #waiting(): void {
    const { flows, devices, health } = this.#status;
    const stateOf = new Map(health?.flows.map(({ flow, state }) => [flow, state]));
    const open = flows.reduce((sum, flow) => sum + flow.waiting + flow.sending + flow.unknown, 0);
    const ages = flows.flatMap(({ oldest }) => oldest?.ageMs ?? []);
    if (open === 0) this.#say("None.");
    else {
      const oldest = ages.length > 0 ? `, the oldest for ${age(Math.max(...ages))}` : "";
      this.#say(`${counted(open, "delivery", "deliveries")} not made yet${oldest}.`);
    }
    const held = flows.reduce((sum, flow) => sum + flow.held, 0);
    const [first] = this.#status.exports ?? [];
    if (first) {
      const are = counted(held, "delivery is held", "deliveries are held");
      this.#say(`${are} for another box, the longest for ${age(first.ageMs)}, and not sent from here.`);
    }
    if (flows.length === 0) return;
    const withDevice = this.#options.columns >= COLUMNS_WITH_DEVICE;
    this.#table(
      [
        { title: "flow", shrinkTo: 8 },
        ...(health ? [{ title: "is" }] : []),
        { title: "waiting", align: "right" },
        { title: "sending", align: "right" },
        { title: "unknown", align: "right" },
        { title: "oldest" },
        ...(withDevice ? [{ title: "of device", shrinkTo: 9 }] : []),
      ],
      flows
        .filter(isShown)
        .map(({ flow, waiting, sending, unknown, oldest }) => [
          flowWords(flow),
          ...(health ? [stateOf.get(flow) ?? "not in the config"] : []),
          count(waiting),
          count(sending),
          count(unknown),
          oldest ? age(oldest.ageMs) : "–",
          ...(withDevice ? [oldest ? harmless(oldest.device) : "–"] : []),
        ]),
    );
    const shown = devices.devices.slice(0, DEVICES_SHOWN);
    if (shown.length === 0) return;
    const others = devices.total - shown.length;
    const list = shown.map(({ device, open }) => `${cutTo(harmless(device), 30)} ${count(open)}`);
    const rest = others > 0 ? `, ${counted(others, "other device")}` : "";
    this.#say(`By device: ${list.join(", ")}${rest}${devices.complete ? "" : " (at least)"}.`);
  }

  #failing(): void {
    const { dead, unknown } = this.#status.failing;
    if (dead.count === 0 && unknown.count === 0) this.#say("None.");
    if (dead.count > 0) {
      this.#say(`${counted(dead.count, "dead letter")}, kept until a person decides:`);
      this.#reasons(dead);
    }
    if (unknown.count > 0) {
      const held = unknown.held > 0 ? `; ${count(unknown.held)} held for a person` : "";
      this.#say(`${count(unknown.count)} of unknown fate: sent, and the answer was lost${held}:`);
      this.#reasons(unknown);
    }
  }

  #reasons(failures: Failures, detail: (group: Failures["groups"][number]) => string = () => ""): void {
    const { groups, count: all } = failures;
    const shown = groups.slice(0, REASONS_SHOWN);
    const numbers = Math.max(...shown.map((group) => width(count(group.count))));
    const names = Math.min(20, Math.max(...shown.map(({ flow }) => width(flowWords(flow)))));
    for (const group of shown) {
      const start = `${INDENT}  ${count(group.count).padStart(numbers)} × ${cutTo(flowWords(group.flow), names).padEnd(names)}  `;
      const text = `${harmless(group.reason)}${detail(group)}`;
      this.#lines.push(start + cutTo(text, this.#options.columns - width(start)));
    }
    const others = all - shown.reduce((sum, group) => sum + group.count, 0);
    if (others > 0)
      this.#say(
        `${counted(others, "other")} for ${groups.length > shown.length ? "other" : "rarer"} reasons.`,
      );
  }

  #workflows(): void {
    const { flows, health } = this.#status;
    if (flows.length === 0) this.#say("No flow has taken a message yet.");
    for (const { flow, from, target, orderBy, version } of flows) {
      if (isBuiltInFlow(flow)) continue;
      const configured = health?.flows.find((each) => each.flow === flow);
      const order = orderBy === "none" ? "no order" : `in order by ${orderBy}`;
      const about = `(version ${configured?.version ?? version ?? "?"}, ${order})`;
      const line = `${from.join(", ") || "?"} → ${flow} → ${configured?.target ?? target ?? "?"}`;
      const room = this.#options.columns - width(INDENT);
      const dim = (text: string) => this.#options.paint("dim", text);
      if (width(line) + 1 + width(about) <= room) this.#lines.push(`${INDENT}${line} ${dim(about)}`);
      else this.#lines.push(`${INDENT}${cutTo(line, room)}`, `${INDENT}  ${dim(cutTo(about, room - 2))}`);
    }
    const commanded = flows.filter(({ flow }) => isCommandFlow(flow)).length;
    if (commanded > 0) {
      this.#say(`${counted(commanded, "device")} can be commanded: holdfast command signals, and list`);
    }
    this.#say("For one message: holdfast messages show ID");
  }

  #retrying(): void {
    const { retrying } = this.#status;
    if (retrying.count === 0) {
      this.#say("None.");
      return;
    }
    const behind = retrying.heldBack > 0 ? `; ${counted(retrying.heldBack, "other")} wait behind them` : "";
    this.#say(
      `${counted(retrying.count, "delivery", "deliveries")}${retrying.complete ? "" : ", at least"}${behind}:`,
    );
    this.#reasons(retrying, ({ attemptsMax }) =>
      attemptsMax > 0 ? ` (up to ${counted(attemptsMax, "try", "tries")})` : "",
    );
  }

  #state(): void {
    const { health } = this.#status;
    if (health && health.targets.length > 0) {
      const known = health.targets.filter(
        ({ target, state }) => !isCommandFlow(target) || state !== "unproven",
      );
      const rows = known.map((target) => [
        isBuiltInFlow(target.target) ? targetWords(target.target) : target.target,
        this.#targetState(target.state),
        this.#evidence(target),
      ]);
      this.#table(
        [{ title: "target", shrinkTo: 8 }, { title: "state" }, { title: "because", shrinkTo: 20 }],
        rows,
      );
    }
    this.#accounting();
    this.#doorAndStore();
  }

  #targetState(state: string): string {
    const style =
      state === "healthy" ? "green" : state === "unproven" ? "dim" : state === "down" ? "red" : "yellow";
    return this.#options.paint(style, state);
  }

  #evidence(target: NonNullable<Status["health"]>["targets"][number]): string {
    const { wallMs } = this.#options;
    const ago = (ms: number) => `${age(Math.max(0, this.#status.asOfMs - ms))} ago`;
    if (target.state === "down") {
      const since = target.downSinceMs === null ? "" : `away since ${moment(target.downSinceMs, wallMs)}; `;
      const next = target.nextTryInMs ? `next try in ${age(target.nextTryInMs)}` : "trying now";
      return `${since}${next}: ${harmless(target.lastError ?? "")}`;
    }
    const { lastDeliveredAtMs: delivered, lastProbeOkAtMs: probed } = target;
    if (delivered !== null && delivered >= (probed ?? 0)) return `delivered ${ago(delivered)}`;
    return probed === null ? "nothing delivered and no answer yet" : `answered a probe ${ago(probed)}`;
  }

  #accounting(): void {
    const { flows, health } = this.#status;
    const sum = (what: (typeof STATES)[number] | "accepted") =>
      flows.reduce((total, flow) => total + flow[what], 0);
    const parts = STATES.filter((state) => sum(state) > 0).map((state) => `${count(sum(state))} ${state}`);
    this.#say(`${count(sum("accepted"))} accepted by flows = ${parts.join(" + ") || "0"}`);
    const { accounting } = health ?? {};
    const { paint } = this.#options;
    const balanced = STATES.reduce((total, state) => total + sum(state), 0) === sum("accepted");
    if (accounting?.state === "mismatch" || !balanced) {
      for (const sentence of accounting?.mismatches ?? []) {
        this.#lines.push(paint("red", `${INDENT}✖ ${harmless(sentence)}`));
      }
      if (!balanced)
        this.#lines.push(paint("red", `${INDENT}✖ the states do not add up to what was accepted`));
    } else if (accounting?.state === "balanced" && accounting.checkedAtMs !== null) {
      const ago = age(Math.max(0, this.#status.asOfMs - accounting.checkedAtMs));
      this.#lines.push(paint("green", `${INDENT}✔ every message is accounted for, counted ${ago} ago`));
    } else {
      this.#lines.push(paint("dim", `${INDENT}the figures add up; the rows have not been counted`));
    }
  }

  #doorAndStore(): void {
    const { door, bytes, health } = this.#status;
    const extra = (["unrouted", "dropped", "refused"] as const)
      .filter((what) => door[what] > 0)
      .map((what) => `, ${count(door[what])} ${what}`);
    this.#say(
      `At the door: ${counted(door.accepted, "message")} taken, ${counted(door.duplicates, "duplicate")} suppressed${extra.join("")}.`,
    );
    const used = size(bytes.file - bytes.free);
    if (!health) {
      this.#say(`The store holds ${used}.`);
      return;
    }
    const { store, clock, devices } = health;
    const free = store.diskFreeBytes === null ? "" : `, ${size(store.diskFreeBytes)} free on its disk`;
    const trusted = clock.trusted ? "" : "; the clock is not set";
    const online =
      devices.known === 0
        ? "no device seen yet"
        : `${count(devices.online)} of ${counted(devices.known, "device")} online`;
    this.#say(`The store is ${store.state}: ${used} of ${size(store.bytesMax)}${free}; ${online}${trusted}.`);
  }

  #repair(): void {
    const { failing, flows } = this.#status;
    const steps: [command: string, why: string][] = [];
    if (failing.dead.count > 0) steps.push(["holdfast dead list", "see each dead letter and why"]);
    const unknown = failing.unknown.groups.map(({ flow }) => flow);
    const name = failing.dead.groups[0]?.flow ?? unknown.find((flow) => !isCommandFlow(flow));
    if (failing.dead.count > 0 || (failing.unknown.held > 0 && name !== undefined)) {
      steps.push([
        `holdfast dead retry --flow ${name ?? flows[0]?.flow}`,
        "once mended: put them back in line",
      ]);
    }
    if (unknown.some(isCommandFlow)) {
      steps.push([
        "holdfast command list --state unknown",
        "look at the machine, then: holdfast command resolve ID",
      ]);
    }
    if ((this.#status.exports ?? []).length > 0) {
      steps.push(["holdfast export list", "what is held for another box: export finish, or cancel, ends it"]);
    }
    if (!this.#status.health) steps.push(["holdfast run", "start the gateway: it goes on where it was"]);
    if (steps.length === 0) {
      this.#say("Nothing needs a person.");
      return;
    }
    const widest = Math.max(...steps.map(([command]) => width(command)));
    for (const [command, why] of steps) {
      const room = this.#options.columns - width(INDENT) - widest - 2;
      this.#lines.push(`${INDENT}${command.padEnd(widest)}  ${this.#options.paint("dim", cutTo(why, room))}`);
    }
  }

  #say(text: string): void {
    const lines = wrap(text, this.#options.columns - width(INDENT));
    this.#lines.push(...lines.map((line) => INDENT + line));
  }

  #table(head: Parameters<typeof table>[0], rows: string[][]): void {
    const columns = this.#options.columns - width(INDENT);
    const lines = table(head, rows, columns, (text) => this.#options.paint("dim", text));
    this.#lines.push(...lines.map((line) => INDENT + line));
  }
}

/** Built-in flows are there whether anybody uses them or not. */
function isShown({ flow, accepted }: Status["flows"][number]): boolean {
  return accepted > 0 || !isBuiltInFlow(flow);
}

const SIZES = ["GiB", "MiB", "KiB"] as const;

function size(bytes: number): string {
  for (const [at, unit] of SIZES.entries()) {
    const one = 2 ** (10 * (SIZES.length - at));
    if (bytes >= one) return `${(bytes / one).toFixed(bytes >= 100 * one ? 0 : 1)} ${unit}`;
  }
  return `${bytes} B`;
}
