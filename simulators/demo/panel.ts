/** What the demo draws below its sentences: figures in, lines of at most 80 columns out. Pure. */
import type { Verdict } from "../oracle.ts";
import type { RigFigures } from "../rig.ts";
import { bar, sparkline, wrap } from "../screen.ts";

export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";
export type Painter = (style: Style, text: string) => string;

export interface PanelInput {
  readonly figures: RigFigures;
  /** How many were waiting at each look so far, oldest first. */
  readonly waitingHistory: readonly number[];
  /** By the oracle, as of now. */
  readonly doubled: number;
  readonly outOfOrder: number;
  readonly elapsedMs: number;
  readonly scene: string;
}

const COLUMN = 24;
const FINDINGS_SHOWN_MAX = 5;
const BAR_WIDTH = 30;
const CURVE_WIDTH = 30;

export function panel(input: PanelInput, paint: Painter): string[] {
  const { figures, waitingHistory } = input;
  const waiting = figures.gateway?.open ?? 0;
  const peak = Math.max(1, ...waitingHistory);
  const ruler = paint("dim", "─".repeat(78));
  const good = (ok: boolean, text: string) => paint(ok ? "green" : "red", text);
  return [
    ` ${ruler}`,
    row(
      paint("bold", `${figures.machines} machines${figures.wired > 0 ? `, ${figures.wired} on wires` : ""}`),
      paint("bold", "gateway"),
      paint("bold", "backend"),
      true,
    ),
    row(
      figures.machinesUp === figures.machines
        ? paint("green", "all connected")
        : paint("yellow", `${figures.machinesUp} connected`),
      figures.gatewayUp ? paint("green", "up") : paint("red", "DOWN (killed)"),
      backendText(figures.backend, paint),
    ),
    row(`${n(figures.sent)} sent`, `${n(waiting)} waiting on disk`, `${n(figures.arrived)} arrived`),
    row(
      `${n(figures.acked)} acknowledged`,
      `${n(figures.gateway?.duplicates ?? 0)} duplicates stopped`,
      good(input.doubled === 0, `${n(input.doubled)} arrived twice`),
    ),
    row(
      `${n(figures.repeats)} sent again`,
      `${n(figures.gateway?.dead ?? 0)} dead`,
      good(input.outOfOrder === 0, `${n(input.outOfOrder)} out of order`),
    ),
    ...(figures.wired > 0 ? [wiredRow(figures, paint)] : []),
    "",
    `  waiting  ${paint(waiting > 0 ? "yellow" : "dim", bar(waiting / peak, BAR_WIDTH))}  ${paint("dim", sparkline(waitingHistory, CURVE_WIDTH))}`,
    `  ${accounting(figures, paint)}`,
    ` ${ruler}`,
    `  ${paint("dim", `${clockText(input.elapsedMs)}  ${input.scene}`)}`,
  ];
}

/** A sentence of the story, with its time in front, in lines of at most `columns`. */
export function narration(
  event: { readonly atMs: number; readonly text: string; readonly weight: "scene" | "more" },
  columns: number,
  paint: Painter,
): string {
  const indent = " ".repeat(8);
  const lines = wrap(event.text, columns - indent.length - 1).split("\n");
  const time = paint("dim", clockText(event.atMs).padStart(6));
  const text = lines.map((line) => (event.weight === "scene" ? paint("bold", line) : line));
  return `${event.weight === "scene" ? "\n" : ""}${time}  ${text.join(`\n${indent}`)}`;
}

/** The figures in one line, for an output that cannot be redrawn. */
export function plainFigures(
  input: RigFigures & { readonly atMs: number; readonly doubled: number; readonly outOfOrder: number },
  paint: Painter,
): string {
  const { sent, acked, arrived, gateway, gatewayUp, backend, doubled, outOfOrder } = input;
  const facts = [
    `sent ${n(sent)}`,
    `acknowledged ${n(acked)}`,
    `waiting ${n(gateway?.open ?? 0)}`,
    `arrived ${n(arrived)}`,
    `twice ${n(doubled)}`,
    `out of order ${n(outOfOrder)}`,
    ...(gatewayUp ? [] : ["gateway DOWN"]),
    ...(backend === "there" ? [] : [`backend ${backend}`]),
  ];
  return paint("dim", `${clockText(input.atMs).padStart(6)}  ${facts.join(", ")}`);
}

/** The end of the story. */
export function verdictLines(
  input: {
    readonly kept: boolean;
    readonly drained: boolean;
    readonly verdict: Verdict;
    readonly figures: RigFigures;
  },
  paint: Painter,
): string[] {
  const { kept, drained, verdict, figures } = input;
  const { counts } = verdict;
  const { sent, acked, arrived, unackedButArrived, repeatsSent, suppressedByBackend } = verdict.figures;
  const line = (label: string, value: number, note: string, good?: boolean) => {
    const text = `${n(value).padStart(9)}  ${label.padEnd(14)}`;
    const mark = good === undefined ? " " : good ? paint("green", "✓") : paint("red", "✗");
    return ` ${mark} ${text}${paint("dim", note)}`;
  };
  const stopped = figures.gateway?.duplicates ?? 0;
  return [
    "",
    paint("bold", " The oracle holds what the machines were promised against what arrived:"),
    line("sent", sent, `and ${n(repeatsSent)} of them again, as duplicates`),
    line("acknowledged", acked, "each one on disk before its answer"),
    line("arrived", arrived, unackedButArrived > 0 ? `${n(unackedButArrived)} of them unacknowledged` : ""),
    line("stopped", stopped, `duplicates by the gateway, ${n(suppressedByBackend)} by the backend`),
    ...(figures.wired > 0
      ? [line("readings", figures.readings, "of machines on wires: numbers without a hole")]
      : []),
    line("lost", counts.lost, "acknowledged, and never arrived", counts.lost === 0),
    line("doubled", counts.doubled, "took effect twice", counts.doubled === 0),
    line("out of order", counts.outOfOrder, "within each machine", counts.outOfOrder === 0),
    ...(counts.altered + counts.stranger > 0
      ? [line("altered", counts.altered + counts.stranger, "or never sent by any machine", false)]
      : []),
    ...verdict.findings.slice(0, FINDINGS_SHOWN_MAX).map(({ detail }) => paint("red", `     ${detail}`)),
    `   ${accounting(figures, paint)}`,
    "",
    ending(kept, drained, paint),
    paint("dim", " Read on: README.md · docs/simulators.md · ./holdfast simulate --list"),
  ];
}

function wiredRow({ wired, wiredUp, readings }: RigFigures, paint: Painter): string {
  const off = wired - wiredUp;
  const state = off === 0 ? "on wires: all read" : paint("yellow", `on wires: ${off} switched off`);
  return row(state, "", `${n(readings)} readings arrived`);
}

function ending(kept: boolean, drained: boolean, paint: Painter): string {
  if (!kept) {
    return paint("red", " ✗ The promise was not kept. Please report this with the output of --json.");
  }
  return drained
    ? paint("green", " ✓ The promise was kept: through an outage, a power cut and lost answers.")
    : paint("yellow", " ✗ Nothing is lost, but not all had arrived in time: this computer is busy.");
}

/** The invariant, with the gateway's own figures put in. */
export function accounting(figures: RigFigures, paint: Painter): string {
  const own = figures.gateway;
  if (!own) return paint("dim", "accepted = delivered + waiting + dead …");
  const parts = [`delivered ${n(own.delivered)}`, `waiting ${n(own.open)}`, `dead ${n(own.dead)}`];
  for (const state of ["expired", "evicted", "discarded"] as const) {
    if (own[state] > 0) parts.push(`${state} ${n(own[state])}`);
  }
  const mark = own.balanced ? paint("green", "✓") : paint("red", "✗ does not add up");
  return `accepted ${n(own.accepted)} = ${parts.join(" + ")}  ${mark}`;
}

export const n = (value: number) => value.toLocaleString("en-US");

/** 0:07 */
export function clockText(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function backendText(state: string, paint: Painter): string {
  if (state === "there") return paint("green", "there");
  return state === "away" ? paint("red", "AWAY") : paint("yellow", state);
}

function row(left: string, middle: string, right: string, arrows = false): string {
  const gap = arrows ? " ──▶ " : "     ";
  return `  ${pad(left)}${gap}${pad(middle)}${gap}${right}`;
}

/** Pads to the column by what is seen, not by the escape sequences of colours. */
function pad(text: string): string {
  const visible = visibleLength(text);
  return text + " ".repeat(Math.max(0, COLUMN - visible));
}

function visibleLength(text: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what this looks for
  return text.replace(/\u001b\[[0-9;]*m/g, "").length;
}
