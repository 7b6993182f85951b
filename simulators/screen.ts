/**
 * A terminal without a library: sentences that stay and scroll, and below them a few lines that are drawn
 * anew in place. Where the output is no terminal, only the sentences are printed, and whoever draws is told
 * (`live`) so that figures can become sentences now and then.
 */
import { stripVTControlCharacters } from "node:util";

export interface Screen {
  /** True where `draw` shows anything. */
  readonly live: boolean;
  readonly columns: number;
  /** A line that stays. */
  say(text: string): void;
  /** The lines at the bottom, in place of those drawn before. */
  draw(lines: readonly string[]): void;
  /** Leaves the last drawing where it is, or takes it away, and gives the cursor back. */
  end(keep?: boolean): void;
}

interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const HIDE_CURSOR = "\u001b[?25l";
const SHOW_CURSOR = "\u001b[?25h";
const ERASE_BELOW = "\u001b[J";
const WIDTH_MAX = 80;

export function openScreen(out: Output): Screen {
  const columns = Math.min(out.columns ?? WIDTH_MAX, WIDTH_MAX);
  if (!out.isTTY) {
    return {
      live: false,
      columns,
      say: (text) => void out.write(`${text}\n`),
      draw: () => {},
      end: () => {},
    };
  }
  let drawn: readonly string[] = [];
  let hidden = false;
  const up = () => (drawn.length > 0 ? `\r\u001b[${drawn.length}A` : "");
  // One write for each change, so that nothing flickers.
  const render = (above: string, lines: readonly string[]) => {
    const cut = lines.map((line) => cutTo(line, columns));
    const start = hidden ? "" : HIDE_CURSOR;
    hidden = true;
    out.write(`${start}${up()}${ERASE_BELOW}${above}${cut.map((line) => `${line}\n`).join("")}`);
    drawn = cut;
  };
  return {
    live: true,
    columns,
    say: (text) => render(`${text}\n`, drawn),
    draw: (lines) => render("", lines),
    end(keep = true) {
      if (!keep) out.write(`${up()}${ERASE_BELOW}`);
      drawn = [];
      if (hidden) out.write(SHOW_CURSOR);
      hidden = false;
    },
  };
}

/** Cuts a line to so many visible characters; colours survive. A line that is too long would wrap and spoil the redraw. */
export function cutTo(line: string, columns: number): string {
  if (stripVTControlCharacters(line).length <= columns) return line;
  let visible = 0;
  let cut = "";
  // Escape sequences have no width and are kept whole.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what this looks for
  for (const [part] of line.matchAll(/\u001b\[[0-9;?]*[A-Za-z]|./gsu)) {
    if (part.startsWith("\u001b")) cut += part;
    else if (visible < columns - 1) {
      cut += part;
      visible++;
    }
  }
  return `${cut}…`;
}

/** `text` broken into lines of at most `width` characters, further ones indented. */
export function wrap(text: string, width: number, indent = ""): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const room = lines.length === 0 ? width : width - indent.length;
    if (line !== "" && line.length + 1 + word.length > room) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines.map((each, at) => (at === 0 ? each : indent + each)).join("\n");
}

const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/** A bar of `width` characters, filled by `part` of 1, on a track. */
export function bar(part: number, width: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, part)) * width * 8);
  const full = "█".repeat(Math.floor(eighths / 8)) + EIGHTHS[eighths % 8];
  return full.padEnd(width, "░");
}

const LEVELS = "▁▂▃▄▅▆▇█";

/** All values as a line of at most `width` small columns; each column is the highest of those it stands for. */
export function sparkline(values: readonly number[], width: number): string {
  const perColumn = Math.max(1, Math.ceil(values.length / width));
  const shown = Array.from({ length: Math.ceil(values.length / perColumn) }, (_, column) =>
    Math.max(...values.slice(column * perColumn, (column + 1) * perColumn)),
  );
  const max = Math.max(1, ...shown);
  return shown
    .map((value) => LEVELS[Math.round((value / max) * (LEVELS.length - 1))])
    .join("")
    .padEnd(width);
}
