/** What a torture run has to say, as one value: what box, what was tried, what held, what was found, what was not tried. */
import { writeFileSync } from "node:fs";
import { type Box, boxTable } from "./box.ts";
import { amount, escapeCell, heading, table, timeText } from "./markdown.ts";
import type { Skipped, TortureResult, Tried } from "./torture.ts";

export interface TortureReport extends TortureResult {
  readonly report: "holdfast torture";
  /** Of this layout. */
  readonly version: 1;
  /** ISO 8601. */
  readonly startedAt: string;
  /** What was asked for: "10 minutes", "3 cycles each". */
  readonly asked: string;
  readonly seed: number;
  readonly box: Box;
  readonly skipped: readonly Skipped[];
  /** For each finding, the command that repeats it. */
  readonly repeat: readonly { readonly trial: string; readonly finding: string; readonly command: string }[];
}

export function makeReport(
  facts: Pick<TortureReport, "startedAt" | "asked" | "seed" | "box" | "skipped">,
  result: TortureResult,
): TortureReport {
  return {
    report: "holdfast torture",
    version: 1,
    ...facts,
    ...result,
    repeat: result.tried.flatMap(({ trial, findings }) =>
      findings.map(({ text, seed, cycles }) => ({
        trial,
        finding: text,
        command: repeatCommand(trial, seed, cycles),
      })),
    ),
  };
}

/** The command line that runs the visit again in which something was found. */
export function repeatCommand(trial: string, seed: number, cycles: number): string {
  return `./holdfast torture --only ${trial} --seed ${seed} --cycles ${Math.max(1, cycles)}`;
}

/** One sentence for the whole. */
export function closingSentence(result: Pick<TortureResult, "tried" | "interrupted">): string {
  const of = (wanted: Tried["result"]) => result.tried.filter((each) => each.result === wanted);
  const [held, found, failed] = [of("held"), of("found"), of("failed")];
  const cycles = result.tried.reduce((sum, each) => sum + each.cycles, 0);
  const parts = [
    `${amount(held.length, "trial")} held`,
    ...(found.length > 0 ? [`something was found in ${names(found)}`] : []),
    ...(failed.length > 0 ? [`${names(failed)} could not be done`] : []),
    ...(result.interrupted ? ["the run was broken off"] : []),
  ];
  return `${parts.join("; ")}. ${amount(cycles, "fault")} in all.`;
}

const names = (tried: readonly Tried[]) => tried.map(({ trial }) => trial).join(", ");

export function writeReport(report: TortureReport, file: string): void {
  const text = file.endsWith(".json") ? `${JSON.stringify(report, null, 2)}\n` : markdown(report);
  writeFileSync(file, text);
}

export function markdown(report: TortureReport): string {
  const verdict = report.tried.some(({ result }) => result === "found")
    ? "something was found"
    : report.held
      ? "it held"
      : "not everything could be tried";
  const { tried, skipped } = report;
  return `${[
    heading(1, `Holdfast torture: ${verdict}`),
    closingSentence(report),
    `Begun ${report.startedAt}, took ${timeText(report.tookMs)}, asked for: ${report.asked}. Seed ${report.seed}.`,
    heading(2, "The box"),
    boxTable(report.box),
    heading(2, "What was tried"),
    table(
      ["trial", "result", "cycles", "time"],
      tried.map((each) => [each.trial, resultText(each), String(each.cycles), timeText(each.tookMs)]),
    ),
    ...foundSection(report),
    heading(2, "What was not tried"),
    skipped.length === 0
      ? "Nothing was left out."
      : table(
          ["trial", "why", "how to get it"],
          skipped.map(({ trial, why, howToGet }) => [trial, why, howToGet ?? ""]),
        ),
    heading(2, "Each trial"),
    ...tried.flatMap(trialSection),
  ].join("\n\n")}\n`;
}

function resultText({ result, findings, findingsNotKept }: Tried): string {
  if (result === "found") return `**found: ${findings.length + findingsNotKept}**`;
  return result === "held" ? "held" : `**${result}**`;
}

function foundSection({ tried }: TortureReport): string[] {
  const withSomething = tried.filter(({ findings, failures }) => findings.length + failures.length > 0);
  if (withSomething.length === 0) return [];
  return [
    heading(2, "What was found"),
    ...withSomething.flatMap(({ trial, findings, findingsNotKept, failures }) => {
      const bySeed = Map.groupBy(findings, ({ seed }) => seed);
      return [
        heading(3, trial),
        ...[...bySeed].map(([seed, group]) => {
          const doubt = group[0]!.brokenOff
            ? "\n\nThe run was broken off meanwhile, which may be the reason; run it again to be sure."
            : "";
          return `${list(group.map(({ text }) => text))}\n\nAgain: \`${repeatCommand(trial, seed, group[0]!.cycles)}\`${doubt}`;
        }),
        ...(findingsNotKept > 0 ? [`And ${findingsNotKept} more.`] : []),
        ...(failures.length > 0 ? [`Could not be done:\n\n${list(failures)}`] : []),
      ];
    }),
  ];
}

const list = (lines: readonly string[]) =>
  lines.map((line) => `- ${escapeCell(line).replaceAll("\n", "\n  ")}`).join("\n");

function trialSection(tried: Tried): string[] {
  const figures = Object.entries(tried.figures);
  return [
    heading(3, tried.trial),
    tried.about,
    `Promise: ${tried.promise}`,
    ...(figures.length > 0
      ? [
          table(
            ["figure", ""],
            figures.map(([name, value]) => [name, figureText(value)]),
          ),
        ]
      : []),
  ];
}

const figureText = (value: number) => (Number.isInteger(value) ? String(value) : value.toFixed(2));
