/** What a soak has to say, as one value: what box, under what load, the checks with their limits, and its rows. */
import { writeFileSync } from "node:fs";
import { type Box, boxTable } from "../torture/box.ts";
import { escapeCell, heading, table, timeText } from "../torture/markdown.ts";
import type { SoakResult } from "./soak.ts";
import { type SoakCheck, type SoakRow, warmUpMs } from "./soak-verdict.ts";

/** Markdown shows this many rows at most, evenly chosen; JSON has all. */
const ROWS_SHOWN_MAX = 40;

export interface SoakReport extends SoakResult {
  readonly report: "holdfast soak";
  /** Of this layout. */
  readonly version: 1;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Messages a second that were asked for. */
  readonly rate: number;
  readonly seed: number;
  readonly box: Box;
}

export function writeSoakReport(report: SoakReport, file: string): void {
  writeFileSync(file, file.endsWith(".json") ? `${JSON.stringify(report, null, 2)}\n` : soakMarkdown(report));
}

export function soakMarkdown(report: SoakReport): string {
  const { checks, findings, figures, rows, tookMs } = report;
  const verdict = report.held ? "it held" : "it did not hold";
  const brokenOff = report.interrupted ? " Broken off before its time." : "";
  return `${[
    heading(1, `Holdfast soak: ${verdict}`),
    `Begun ${report.startedAt}, ${timeText(tookMs)} at ${report.rate} messages a second, seed ${report.seed}.${brokenOff}`,
    heading(2, "Limits"),
    `Growth is the line that fits best what was measured after a warm-up of ${timeText(warmUpMs(tookMs))}.`,
    table(
      ["", "found", "limit", ""],
      checks.map((check) => [check.what, foundText(check), limitText(check), markOf(check)]),
    ),
    ...(findings.length === 0
      ? []
      : [heading(2, "What was found"), findings.map((text) => `- ${escapeCell(text)}`).join("\n")]),
    heading(2, "The box"),
    boxTable(report.box),
    heading(2, "Figures"),
    table(
      ["", ""],
      Object.entries(figures).map(([name, value]) => [name, String(value)]),
    ),
    heading(2, "Rows"),
    table(
      [
        "at",
        "sent",
        "open",
        "ack p50",
        "ack p99",
        "RSS",
        "heap",
        "handles",
        "threads",
        "store",
        "WAL",
        "loop p99",
        "",
      ],
      thinned(rows).map(cellsOf),
    ),
  ].join("\n\n")}\n`;
}

export function foundText({ found, unit }: SoakCheck): string {
  if (found === null) return "not measured";
  return `${Number.isInteger(found) ? found : found.toFixed(1)} ${unit}`.trim();
}

export const limitText = ({ limit, unit }: SoakCheck) => `${limit} ${unit}`.trim();

function markOf({ what, met, found, limit }: SoakCheck): string {
  if (met === null) return "?";
  if (!met) return "**above**";
  // Steeper than its limit, and no more than what a run of this length may differ by.
  return found !== null && found > limit && what.includes("grows") ? "within its allowance" : "held";
}

function thinned(rows: readonly SoakRow[]): readonly SoakRow[] {
  const every = Math.max(1, Math.ceil(rows.length / ROWS_SHOWN_MAX));
  return rows.filter((_, at) => at % every === 0 || at === rows.length - 1);
}

function cellsOf(row: SoakRow): string[] {
  const mib = (bytes: number | null) => (bytes === null ? "?" : `${(bytes / 2 ** 20).toFixed(1)} MiB`);
  const orNone = (value: number | null) => (value === null ? "?" : String(value));
  return [
    timeText(row.atMs),
    String(row.sent),
    orNone(row.open),
    `${row.ackP50Ms} ms`,
    `${row.ackP99Ms} ms`,
    mib(row.rssBytes),
    mib(row.heapUsedBytes),
    orNone(row.handles),
    orNone(row.threads),
    mib(row.storeBytes),
    mib(row.walBytes),
    row.loopP99Ms === null ? "?" : `${row.loopP99Ms} ms`,
    row.events.join(", "),
  ];
}
