/**
 * The torture runner: takes trials in turn, each for its share of the time and with a fresh seed, until the time
 * is over, and keeps the book of what was tried, what held and what was found.
 *
 * Promise: every trial gets at least one cycle; a trial that hangs is given up after a bounded time; whatever a
 * trial leaves behind on this machine (folders, mounts, processes) is taken away and said. What a trial found
 * comes with the seed that repeats it: the n-th visit of a run has the seed `seed + n`, so that a run of that
 * trial alone, begun with that seed, begins with that visit.
 *
 * What it trades away: a cycle is never cut short by the clock, so a run ends a little late rather than with
 * half a trial.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Clock, sleep } from "../../src/core/clock.ts";
import { errorText } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import { takeAway } from "./left-behind.ts";
import { type MeansName, means } from "./means.ts";
import type { Trial, TrialReport } from "./trial.ts";

/** One visit lasts at most this long, so that a long run takes every trial often. */
const VISIT_MS_MAX = 5 * 60_000;
/** How long one cycle may take, and what a visit does after its share, before it is told to end… */
const OVERTIME_MS_MAX = 10 * 60_000;
/** …and before nobody waits for it any more. */
const ENDING_MS_MAX = 60_000;
/** Findings kept of each trial; further ones are counted. */
const FINDINGS_KEPT = 50;
/** How far a visit has come, where its trial says nothing itself. */
const TOLD_EVERY_MS = 30_000;

export interface TortureOptions {
  readonly trials: readonly Trial[];
  /** How long to go on; or a number of cycles, after which each trial has had its turn. */
  readonly until: { readonly ms: number } | { readonly cycles: number };
  readonly seed: number;
  /** On the disk that is to be tried. */
  readonly dir: string;
  readonly clock: Clock;
  readonly script?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly report: (event: TortureEvent) => void;
  readonly signal: AbortSignal;
  /** How long a cycle, or a visit beyond its share, may take, and beyond that until the visit has ended. */
  readonly overtimeMs?: number;
  readonly endingMs?: number;
}

export type TortureEvent =
  | { readonly event: "visit"; readonly trial: string; readonly seed: number; readonly forMs: number | null }
  | { readonly event: "say"; readonly trial: string; readonly text: string; readonly cycles: number }
  | {
      readonly event: "visited";
      readonly trial: string;
      readonly seed: number;
      readonly cycles: number;
      readonly tookMs: number;
      readonly findings: readonly string[];
      readonly failure: string | null;
    };

export interface TrialFinding {
  readonly text: string;
  readonly seed: number;
  readonly cycles: number;
  /** True where the run was broken off in this visit: what it found may be due to that. */
  readonly brokenOff: boolean;
}

/** What became of one trial, over all its visits. */
export interface Tried {
  readonly trial: string;
  readonly about: string;
  readonly promise: string;
  readonly visits: number;
  readonly cycles: number;
  readonly tookMs: number;
  readonly figures: Readonly<Record<string, number>>;
  readonly findings: readonly TrialFinding[];
  /** Further ones. */
  readonly findingsNotKept: number;
  /** Times it could not do what it set out to do, in words. */
  readonly failures: readonly string[];
  /** The last two only where the run was broken off: before its turn, or while it had found something. */
  readonly result: "held" | "found" | "failed" | "not reached" | "in doubt";
}

export interface Skipped {
  readonly trial: string;
  readonly about: string;
  readonly why: string;
  readonly howToGet: string | null;
}

export interface TortureResult {
  readonly tried: readonly Tried[];
  readonly interrupted: boolean;
  readonly tookMs: number;
  /** True where nothing was found, nothing failed and something was tried. */
  readonly held: boolean;
}

/** Which of the trials this machine can do, and why not the others. */
export function sortOut(
  trials: readonly Trial[],
  asked: { readonly only?: readonly string[]; readonly skip?: readonly string[] },
  has: (name: MeansName) => {
    readonly present: boolean;
    readonly missing: string;
    readonly howToGet: string;
  } = means,
): { readonly able: Trial[]; readonly skipped: Skipped[] } {
  const able: Trial[] = [];
  const skipped: Skipped[] = [];
  for (const trial of trials) {
    const { name, about, needs } = trial;
    if (asked.only && !asked.only.includes(name)) continue;
    if (asked.skip?.includes(name)) {
      skipped.push({ trial: name, about, why: "left out as asked (--skip)", howToGet: null });
      continue;
    }
    const lacking = needs.map((need) => has(need)).filter(({ present }) => !present);
    if (lacking.length === 0) able.push(trial);
    else {
      skipped.push({
        trial: name,
        about,
        why: lacking.map(({ missing }) => missing).join("; "),
        howToGet: lacking.map(({ howToGet }) => howToGet).join("; "),
      });
    }
  }
  return { able, skipped };
}

export async function torture(options: TortureOptions): Promise<TortureResult> {
  const { trials, until, seed, clock, signal } = options;
  const books = new Map(trials.map((trial) => [trial, new Book(trial)]));
  const startedMs = clock.monoMs();
  const leftMs = () => ("ms" in until ? startedMs + until.ms - clock.monoMs() : 0);
  let visit = 0;
  for (let round = 0; !signal.aborted; round++) {
    let visited = 0;
    for (const [at, trial] of trials.entries()) {
      if (signal.aborted) break;
      const book = books.get(trial)!;
      // Later rounds take no trial whose shortest visit would end far beyond the time.
      if (round > 0 && book.cycleMs > leftMs()) continue;
      const forMs =
        "ms" in until ? Math.max(0, Math.min(VISIT_MS_MAX, leftMs() / (trials.length - at))) : null;
      const cyclesMax = "cycles" in until ? until.cycles : Number.POSITIVE_INFINITY;
      book.add(await runVisit(options, trial, { seed: (seed + visit++) % 2 ** 31, forMs, cyclesMax }));
      visited++;
    }
    if (visited === 0 || "cycles" in until || leftMs() <= 0) break;
  }
  const tried = [...books.values()].map((book) => book.tried());
  return {
    tried,
    interrupted: signal.aborted,
    tookMs: Math.round(clock.monoMs() - startedMs),
    held: tried.every(({ result }) => result === "held") && tried.length > 0,
  };
}

interface Visit extends TrialReport {
  readonly seed: number;
  readonly tookMs: number;
  readonly failure: string | null;
  readonly brokenOff: boolean;
}

async function runVisit(
  options: TortureOptions,
  trial: Trial,
  { seed, forMs, cyclesMax }: { seed: number; forMs: number | null; cyclesMax: number },
): Promise<Visit> {
  const {
    clock,
    report,
    signal,
    script,
    env,
    overtimeMs = OVERTIME_MS_MAX,
    endingMs = ENDING_MS_MAX,
  } = options;
  report({ event: "visit", trial: trial.name, seed, forMs });
  const dir = mkdtempSync(join(options.dir, `${trial.name}-`));
  const startedMs = clock.monoMs();
  const stop = new AbortController();
  const over = new AbortController();
  const give = () => stop.abort(signal.reason);
  if (signal.aborted) give();
  else signal.addEventListener("abort", give, { once: true });
  let asked = 0;
  let patientFromMs = startedMs + (forMs ?? 0);
  let toldMs = startedMs;
  const say = (text: string) => {
    toldMs = clock.monoMs();
    report({ event: "say", trial: trial.name, text, cycles: asked });
  };
  const running = trial.run({
    dir,
    seed,
    random: seededRandom(seed),
    clock,
    another: (cycles) => {
      asked = cycles;
      patientFromMs = Math.max(patientFromMs, clock.monoMs());
      if (stop.signal.aborted) return false;
      if (cycles === 0) return true;
      if (clock.monoMs() - toldMs > TOLD_EVERY_MS)
        say(forMs === null ? `of ${cyclesMax}` : `${Math.round((clock.monoMs() - startedMs) / 1000)} s`);
      return cycles < cyclesMax && (forMs === null || clock.monoMs() - startedMs < forMs);
    },
    script,
    env,
    say,
    signal: stop.signal,
  });
  const watched = watchOver(running, {
    clock,
    stop,
    over: over.signal,
    leftMs: () => patientFromMs + overtimeMs - clock.monoMs(),
    endingMs,
  });
  const outcome: Omit<Visit, "seed" | "tookMs" | "brokenOff"> = await watched.then(
    (done) => ({ ...done, failure: null }),
    (error: unknown) => ({ cycles: asked, figures: {}, findings: [], failure: errorText(error) }),
  );
  over.abort();
  signal.removeEventListener("abort", give);
  const left = await takeAway(dir);
  rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
  const failure = [
    outcome.failure ?? [],
    left.length > 0 && !signal.aborted ? `it left behind: ${left.join(", ")}` : [],
  ]
    .flat()
    .join("; ");
  const visit: Visit = {
    ...outcome,
    // A trial that gave up because the run did has not failed.
    failure: failure === "" || (signal.aborted && outcome.failure !== null) ? null : failure,
    seed,
    tookMs: clock.monoMs() - startedMs,
    brokenOff: signal.aborted,
  };
  const { cycles, findings } = visit;
  report({
    event: "visited",
    trial: trial.name,
    seed,
    cycles,
    tookMs: Math.round(visit.tookMs),
    findings,
    failure: visit.failure,
  });
  return visit;
}

/** Tells a trial that does not end to end, and stops waiting where it does not do that either. */
async function watchOver<T>(
  running: Promise<T>,
  o: { clock: Clock; stop: AbortController; over: AbortSignal; leftMs: () => number; endingMs: number },
): Promise<T> {
  const hangs = (async () => {
    for (
      let leftMs = o.leftMs();
      leftMs > 0 && !o.over.aborted && !o.stop.signal.aborted;
      leftMs = o.leftMs()
    ) {
      await Promise.race([sleep(o.clock, leftMs, o.over), aborted(o.stop.signal)]);
    }
    const overdue = !o.stop.signal.aborted;
    if (overdue && !o.over.aborted) o.stop.abort(new Error("it took too long"));
    await sleep(o.clock, o.endingMs, o.over);
    if (o.over.aborted) return new Promise<never>(() => {});
    throw new Error(`it did not end within ${o.endingMs / 1000} s of being told to`);
  })();
  hangs.catch(() => {});
  const result = await Promise.race([running, hangs]);
  const { reason } = o.stop.signal;
  if (reason instanceof Error && reason.message === "it took too long") throw reason;
  return result;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

class Book {
  readonly #trial: Trial;
  #visits = 0;
  #cycles = 0;
  #tookMs = 0;
  #figures: Record<string, number> = {};
  readonly #findings: TrialFinding[] = [];
  #notKept = 0;
  readonly #failures: string[] = [];

  constructor(trial: Trial) {
    this.#trial = trial;
  }

  /** What a cycle takes on average. */
  get cycleMs(): number {
    return this.#tookMs / Math.max(1, this.#cycles);
  }

  add({ seed, cycles, figures, findings, failure, tookMs, brokenOff }: Visit): void {
    this.#visits++;
    this.#cycles += cycles;
    this.#tookMs += tookMs;
    this.#figures = mergedFigures(this.#figures, figures);
    for (const text of findings) {
      if (this.#findings.length < FINDINGS_KEPT) this.#findings.push({ text, seed, cycles, brokenOff });
      else this.#notKept++;
    }
    if (failure !== null && this.#failures.length < FINDINGS_KEPT)
      this.#failures.push(`seed ${seed}: ${failure}`);
  }

  tried(): Tried {
    const { name, about, promise } = this.#trial;
    const found = this.#findings.some(({ brokenOff }) => !brokenOff) || this.#notKept > 0;
    const result = found
      ? "found"
      : this.#failures.length > 0
        ? "failed"
        : this.#findings.length > 0
          ? "in doubt"
          : this.#cycles === 0
            ? "not reached"
            : "held";
    return {
      trial: name,
      about,
      promise,
      visits: this.#visits,
      cycles: this.#cycles,
      tookMs: Math.round(this.#tookMs),
      figures: this.#figures,
      findings: this.#findings,
      findingsNotKept: this.#notKept,
      failures: this.#failures,
      result,
    };
  }
}

/**
 * Figures of several visits as one: of what has Max, Median, a percentile (P99) or PerHour in its name the greatest
 * stays, of what has Min the least; everything else is a count and adds up.
 */
export function mergedFigures(
  before: Readonly<Record<string, number>>,
  more: Readonly<Record<string, number>>,
): Record<string, number> {
  const merged = { ...before };
  for (const [name, value] of Object.entries(more)) {
    const known = merged[name];
    if (known === undefined) merged[name] = value;
    else if (/Max|Median|P\d\d|PerHour/.test(name)) merged[name] = Math.max(known, value);
    else if (/Min($|[A-Z])/.test(name)) merged[name] = Math.min(known, value);
    else merged[name] = known + value;
  }
  return merged;
}
