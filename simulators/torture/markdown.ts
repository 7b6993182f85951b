/** Pieces of Markdown reports. */
export const heading = (level: 1 | 2 | 3, text: string) => `${"#".repeat(level)} ${text}`;

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(escapeCell).join(" | ")} |`;
  return [line(head), `|${" --- |".repeat(head.length)}`, ...rows.map(line)].join("\n");
}

/** Nothing that came from elsewhere may end a cell or begin a tag. */
export const escapeCell = (text: string) => text.replaceAll("|", "\\|").replaceAll("<", "&lt;");

export const amount = (n: number, what: string) => `${n} ${what}${n === 1 ? "" : "s"}`;

/** `850 ms`, `12.3 s`, `4 min 5 s`, `3 h 20 min` */
export function timeText(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
