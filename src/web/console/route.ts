/** Where in the page one is, kept in the address behind `#`, so that a place can be bookmarked and shared. */
import { signal } from "@preact/signals";

export const SCREENS = [
  "overview",
  "messages",
  "dead",
  "jobs",
  "devices",
  "commands",
  "notifications",
  "activity",
] as const;
export type Screen = (typeof SCREENS)[number];

export interface Route {
  readonly screen: Screen;
  /** What comes after the screen: a message's id. */
  readonly subject: string | null;
  readonly params: Readonly<Record<string, string>>;
}

export const route = signal<Route>(parse(""));

export function followAddress(): void {
  const follow = () => {
    route.value = parse(location.hash);
  };
  addEventListener("hashchange", follow);
  follow();
}

export function parse(hash: string): Route {
  const [path = "", search = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [name = "", subject] = path.split("/", 2);
  const screen = SCREENS.find((each) => each === name) ?? "overview";
  return {
    screen,
    subject: subject ? decode(subject) : null,
    params: Object.fromEntries(new URLSearchParams(search)),
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function addressOf(
  screen: Screen,
  subject?: string,
  params: Record<string, string | undefined> = {},
): string {
  const given = Object.entries(params).filter((entry): entry is [string, string] => Boolean(entry[1]));
  const search = given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
  return `#/${screen}${subject === undefined ? "" : `/${encodeURIComponent(subject)}`}${search}`;
}

export function go(address: string): void {
  location.hash = address;
}
