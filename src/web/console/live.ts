/**
 * What the page knows and keeps asking: the gateway's status, once a second.
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
    browserClock.after(1000, tick);
  };
  tick();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) wake();
  });
  void askOn();
}

let wake: () => void = () => {};

/** Asks now rather than in its turn: after an act of the operator. */
export const askNow = () => wake();

async function askOn(): Promise<never> {
  for (;;) {
    const beganMs = browserClock.monoMs();
    await askOnce();
    const tookMs = browserClock.monoMs() - beganMs;
    const pauseMs =
      connection.value.kind === "down"
        ? ASK_AGAIN_MS
        : Math.max(ASK_EVERY_MS - tookMs, tookMs / ASKING_SHARE_MAX);
    await new Promise<void>((resolve) => {
      const timer = document.hidden ? null : browserClock.after(pauseMs, resolve);
      wake = () => {
        timer?.cancel();
        resolve();
      };
    });
  }
}

async function askOnce(): Promise<void> {
  try {
    const answer = await api.status();
    if (loginNeeded.value || visitor.value === null) await askWhoIsHere();
    loginNeeded.value = false;
    received(answer.value, answer.boot);
  } catch (error) {
    if (error instanceof Refusal && error.problem.status === 401) {
      loginNeeded.value = true;
      status.value = null;
      connection.value = { kind: "up" };
      return;
    }
    if (connection.value.kind === "down") return;
    const why = error instanceof NoAnswer ? error.message : said(error);
    connection.value = { kind: "down", sinceMs: browserClock.wallMs(), why };
    samples.value = [];
    noteSeen(`The gateway stopped answering this page (${why}).`);
  }
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
  const sample: Sample = {
    monoMs: receivedAtMonoMs,
    taken: value.door.accepted,
    delivered: value.flows.reduce((sum, flow) => sum + flow.delivered, 0),
    byFlow: new Map(value.flows.map(({ flow, accepted, delivered }) => [flow, { accepted, delivered }])),
  };
  samples.value = [...samples.value, sample].filter(
    ({ monoMs }) => receivedAtMonoMs - monoMs <= RATE_OVER_MS,
  );
  status.value = value;
  connection.value = { kind: "up" };
}
