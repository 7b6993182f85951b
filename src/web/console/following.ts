/**
 * The gateway says what changes, as it changes (GET /v1/stream), and screens that show it ask for it again.
 *
 * States: following, or not. Not while nobody looks at the page, since a browser has few connections for all its pages;
 * and not while the stream breaks: then everybody asks now and then, as if there were none. It is tried again after
 * the gateway has answered, later each time that it broke at once.
 */
import { signal } from "@preact/signals";
import { browserClock } from "./browser-clock.ts";

/** While it is so, what has not been said to change has not changed. */
export const following = signal(false);
/** What is asked for all the same: what no message is told of, and a line that broke without a word. */
export const QUIET_MS = 15_000;

const AGAIN_MS_MIN = 2000;
const AGAIN_MS_MAX = 60_000;

/** Parts of the report, and kinds of events; null for all of them. */
type Changed = ReadonlySet<string> | null;
type Listener = (changed: Changed) => void;

const listeners = new Set<Listener>();
let source: EventSource | null = null;
let lastId: string | null = null;
let againMs = AGAIN_MS_MIN;
let notBeforeMs = 0;

/** Calls it for changes of these; an effect: until it is undone. */
export function onChange(of: readonly string[], call: () => void): () => void {
  const listener: Listener = (changed) => {
    if (changed === null || of.some((each) => changed.has(each))) call();
  };
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Calls it for whatever changes. */
export function onAnyChange(call: () => void): void {
  listeners.add(call);
}

function tell(changed: Changed): void {
  for (const listener of listeners) listener(changed);
}

/** The gateway has answered: follow it, where that is not done yet. */
export function follow(): void {
  if (source || document.hidden || browserClock.monoMs() < notBeforeMs) return;
  const after = lastId === null ? "" : `&after=${lastId}`;
  const opened = new EventSource(`/v1/stream?brief=true${after}`);
  source = opened;
  opened.addEventListener("hello", ({ data }) => {
    following.value = true;
    againMs = AGAIN_MS_MIN;
    lastId = (JSON.parse(data) as { lastId: string }).lastId;
    // Between the last answer and now anything may have changed.
    tell(null);
  });
  opened.addEventListener("event", ({ data, lastEventId }) => {
    lastId = lastEventId;
    tell(new Set(["event", (JSON.parse(data) as { kind: string }).kind]));
  });
  opened.addEventListener("changed", ({ data }) => tell(new Set((JSON.parse(data) as { of: string[] }).of)));
  opened.onerror = () => {
    if (source !== opened) return;
    notBeforeMs = browserClock.monoMs() + againMs;
    againMs = Math.min(againMs * 2, AGAIN_MS_MAX);
    unfollow();
    // Why it broke, the answer says: the gateway is gone, or asks who is there.
    tell(null);
  };
}

export function unfollow(): void {
  source?.close();
  source = null;
  following.value = false;
}
