/**
 * What the page knows and keeps asking: the gateway's status, when the gateway says that something has changed
 * (following.ts), at most once a second; once a second where nobody says so.
 *
 * States of the connection:
 *   connecting  no answer yet
 *   up          the last question was answered
 *   down        it was not: since when and why; what is shown is as of before, and asking goes on
 *
 * A gateway that comes back under another boot was restarted, and the page says so; nothing has to be loaded
 * again. Asking takes a tenth of the time at most, and none while nobody looks at the page.
 */
import { computed, signal } from "@preact/signals";
import { api, NoAnswer, Refusal, type StatusAnswer, said } from "./api.ts";
import { browserClock } from "./browser-clock.ts";
import { follow, following, onAnyChange, QUIET_MS, unfollow } from "./following.ts";
import type { LiveTarget } from "./sentences.ts";
import { askWhoIsHere, visitor } from "./visitor.ts";

const ASK_EVERY_MS = 1000;
/** After a question nobody answered; a gateway that starts should be seen soon. */
const ASK_AGAIN_MS = 1000;
const ASKING_SHARE_MAX = 1 / 10;
/** Rates are over this long. */
const RATE_OVER_MS = 10_000;

export type Connection =
  | { readonly kind: "connecting" }
  | { readonly kind: "up" }
  | { readonly kind: "down"; readonly sinceMs: number; readonly why: string };

export const connection = signal<Connection>({ kind: "connecting" });
export const status = signal<StatusAnswer | null>(null);
/** Where the gateway asks who is there. */
export const loginNeeded = signal(false);
/** The browser's wall clock, moving once a second. */
export const nowMs = signal(browserClock.wallMs());
/** What the page itself saw happen, newest last. */
export const seen = signal<readonly Seen[]>([]);

export interface Seen {
  readonly atMs: number;
  readonly sentence: string;
}

const SEEN_MAX = 200;

interface Sample {
  readonly monoMs: number;
  readonly taken: number;
  readonly delivered: number;
  readonly byFlow: ReadonlyMap<string, { readonly accepted: number; readonly delivered: number }>;
}

const samples = signal<readonly Sample[]>([]);
/** When the status on the page was received, on the mono clock: countdowns run from there. */
let receivedAtMonoMs = 0;
let boot: string | undefined;

/** What was `ms` when the status was answered, is this now. */
function countdown(ms: number): number {
  // Reading it makes whoever shows a countdown move with it.
  nowMs.value;
  return Math.max(0, ms - (browserClock.monoMs() - receivedAtMonoMs));
}

/** What was so old when the status was answered is this old now. */
export function aged(ms: number): number {
  nowMs.value;
  return ms + (browserClock.monoMs() - receivedAtMonoMs);
}

export function liveTarget(name: string | null): LiveTarget | undefined {
  const found = status.value?.health.targets.find(({ target }) => target === name);
  return (
    found && { ...found, nextTryNowInMs: found.nextTryInMs === null ? null : countdown(found.nextTryInMs) }
  );
}

/** Per second over the last ten seconds; null before two looks. */
function rate(pick: (sample: Sample) => number | undefined): number | null {
  const all = samples.value;
  const [first, last] = [all[0], all.at(-1)];
  if (!first || !last || last.monoMs - first.monoMs < ASK_EVERY_MS / 2) return null;
  const [from, to] = [pick(first), pick(last)];
  return from === undefined || to === undefined
    ? null
    : Math.max(0, ((to - from) * 1000) / (last.monoMs - first.monoMs));
}

export const takenRate = computed(() => rate(({ taken }) => taken));
export const deliveredRate = computed(() => rate(({ delivered }) => delivered));
export const flowRates = (flow: string) => ({
  accepted: rate(({ byFlow }) => byFlow.get(flow)?.accepted),
  delivered: rate(({ byFlow }) => byFlow.get(flow)?.delivered),
});

export function noteSeen(sentence: string): void {
  seen.value = [...seen.value, { atMs: browserClock.wallMs(), sentence }].slice(-SEEN_MAX);
}

/** Begins asking; goes on until the page is left. */
export function keepAsking(): void {
  const tick = () => {
    nowMs.value = browserClock.wallMs();
    if (following.value) nothingChanged();
    browserClock.after(1000, tick);
  };
  tick();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) unfollow();
    else wake();
  });
  onAnyChange(() => {
    changed = true;
    onChanged();
  });
  void askOn();
}

let wake: () => void = () => {};
let changed = false;
let onChanged: () => void = () => {};

/** Asks now rather than in its turn: after an act of the operator. */
export const askNow = () => wake();

async function askOn(): Promise<never> {
  for (;;) {
    const beganMs = browserClock.monoMs();
    changed = false;
    await askOnce();
    const tookMs = browserClock.monoMs() - beganMs;
    const pauseMs =
      connection.value.kind === "down"
        ? ASK_AGAIN_MS
        : Math.max(ASK_EVERY_MS - tookMs, tookMs / ASKING_SHARE_MAX);
    await pause(pauseMs);
    // Nothing was said to have changed in that time, so what is shown is so.
    if (following.value && !changed) await pause(QUIET_MS - pauseMs, true);
  }
}

/** For so long, or until somebody wants an answer now; not over while nobody looks at the page. */
function pause(ms: number, untilChanged = false): Promise<void> {
  return new Promise((resolve) => {
    const timer = document.hidden ? null : browserClock.after(ms, resolve);
    wake = () => {
      timer?.cancel();
      resolve();
    };
    onChanged = untilChanged ? wake : () => {};
  });
}

async function askOnce(): Promise<void> {
  try {
    const answer = await api.status();
    if (loginNeeded.value || visitor.value === null) await askWhoIsHere();
    loginNeeded.value = false;
    received(answer.value, answer.boot);
    follow();
  } catch (error) {
    if (error instanceof Refusal && error.problem.status === 401) {
      loginNeeded.value = true;
      unfollow();
      status.value = null;
      connection.value = { kind: "up" };
      return;
    }
    unfollow();
    if (connection.value.kind === "down") return;
    const why = error instanceof NoAnswer ? error.message : said(error);
    connection.value = { kind: "down", sinceMs: browserClock.wallMs(), why };
    samples.value = [];
    noteSeen(`The gateway stopped answering this page (${why}).`);
  }
}

function take(sample: Sample): void {
  samples.value = [...samples.value, sample].filter(({ monoMs }) => sample.monoMs - monoMs <= RATE_OVER_MS);
}

/** While the gateway is followed, no word means that figures are what they were. */
function nothingChanged(): void {
  const last = samples.value.at(-1);
  const monoMs = browserClock.monoMs();
  if (last && monoMs - last.monoMs > 1.5 * ASK_EVERY_MS) take({ ...last, monoMs });
}

function received(value: StatusAnswer, from: string): void {
  const before = connection.value;
  if (boot !== undefined && boot !== from) {
    samples.value = [];
    noteSeen("The gateway was restarted; this page is connected again.");
  } else if (before.kind === "down") {
    noteSeen("The gateway answers this page again.");
  }
  boot = from;
  receivedAtMonoMs = browserClock.monoMs();
  take({
    monoMs: receivedAtMonoMs,
    taken: value.door.accepted,
    delivered: value.flows.reduce((sum, flow) => sum + flow.delivered, 0),
    byFlow: new Map(value.flows.map(({ flow, accepted, delivered }) => [flow, { accepted, delivered }])),
  });
  status.value = value;
  connection.value = { kind: "up" };
}
