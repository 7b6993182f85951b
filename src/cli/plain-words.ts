/** How words are set on a terminal: widths, lines and tables. Pure. */
import { stripVTControlCharacters } from "node:util";

export { age, capital, count, counted, harmless, moment } from "../core/plain-words.ts";

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
