/** Figures, times and texts as people read them on a terminal. Pure. */
import { stripVTControlCharacters } from "node:util";

/** `1,204` */
export function count(n: number): string {
  return n.toLocaleString("en-US");
}

/** `1 message`, `1,204 messages` */
export function counted(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** `12 s`, `3 min 12 s`, `2 h 14 min`, `5 d 3 h`: the two largest units, because no one needs the third. */
export function age(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return "less than 1 s";
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([n]) => n > 0);
  return parts
    .slice(first, first + 2)
    .filter(([n]) => n > 0)
    .map(([n, unit]) => `${n} ${unit}`)
    .join(" ");
}

/** Local time: `14:02:31` where that is today, else `2026-06-01 14:02:31`. */
export function moment(wallMs: number, nowWallMs: number): string {
  const date = new Date(wallMs);
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(":");
  const day = (d: Date) => [d.getFullYear(), twoDigits(d.getMonth() + 1), twoDigits(d.getDate())].join("-");
  const shownDay = day(date);
  return shownDay === day(new Date(nowWallMs)) ? time : `${shownDay} ${time}`;
}

function twoDigits(n: number): string {
  return String(n).padStart(2, "0");
}

/**
 * Text that came from a machine or a backend, fit for a terminal: what could move the cursor or change
 * colours is shown as its picture (␛), so that a device's name cannot draw on the operator's screen.
 */
export function harmless(text: string): string {
  return text.toWellFormed().replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    const code = character.codePointAt(0)!;
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : code === 0x7f ? "␡" : "�";
  });
}

/** How many columns a text takes; colours take none. */
export function width(text: string): number {
  return [...stripVTControlCharacters(text)].length;
}

/** Cut to so many columns, with `…` at the end where something is missing. For texts without colours. */
export function cutTo(text: string, columns: number): string {
  if (width(text) <= columns) return text;
  return `${[...text].slice(0, Math.max(0, columns - 1)).join("")}…`;
}

/** Broken at spaces into lines of at most so many columns; a longer word stays whole. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && width(line) + 1 + width(word) > columns) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
  /** Gives way where the table is too wide: cut with `…`, down to this. */
  readonly shrinkTo?: number;
}

/** Rows under their titles, at most `columns` wide. Colours may be in the cells of columns that do not shrink. */
export function table(
  head: readonly Column[],
  rows: readonly (readonly string[])[],
  columns: number,
  paintHead: (text: string) => string = (text) => text,
): string[] {
  const gap = 2;
  const widths = head.map(({ title }, at) =>
    Math.max(width(title), ...rows.map((row) => width(row[at] ?? ""))),
  );
  let over = widths.reduce((sum, each) => sum + each + gap, -gap) - columns;
  for (const [at, { shrinkTo }] of head.entries()) {
    if (over <= 0 || shrinkTo === undefined) continue;
    const given = Math.min(over, Math.max(0, widths[at]! - shrinkTo));
    widths[at]! -= given;
    over -= given;
  }
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, at) => {
        const fitted = width(cell) > widths[at]! ? cutTo(cell, widths[at]!) : cell;
        const padding = " ".repeat(widths[at]! - width(fitted));
        return head[at]!.align === "right" ? padding + fitted : fitted + padding;
      })
      .join(" ".repeat(gap))
      .trimEnd();
  return [paintHead(line(head.map(({ title }) => title))), ...rows.map(line)];
}
