/** Figures, times and texts as people read them, on a terminal and on the page alike. Pure; runs in a browser too. */

/** `1,204` */
export function count(n: number): string {
  return n.toLocaleString("en-US");
}

/** `1 message`, `1,204 messages` */
export function counted(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** As at the beginning of a sentence. */
export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
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
 * Text that came from a machine or a backend, made harmless: what could move the cursor, change colours or turn
 * the reading direction is shown as its picture (␛), so that a device's name cannot draw on the operator's screen.
 */
export function harmless(text: string): string {
  return text.toWellFormed().replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    const code = character.codePointAt(0)!;
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : code === 0x7f ? "␡" : "�";
  });
}
