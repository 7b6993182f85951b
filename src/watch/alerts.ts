/**
 * Alerts: what has been so for long enough to be told, until it has been over for long enough. Pure but for its own
 * memory; the time is passed in.
 *
 *   (nothing) ──so──▶ pending ──for──▶ raised ──over for `clearAfter`──▶ resolved, and forgotten
 *                        └──over──▶ (nothing)   └──again within it──▶ still raised, nothing is told
 *
 * An alert is told when it is raised, again every `remindEvery`, and once when it is resolved. One that comes and goes
 * faster than `clearAfter` is one alert. Times are of the steady clock, so that a wall clock that jumps raises and
 * resolves nothing, and so that an alert that a restart took over goes on with the time it had.
 *
 * Taken over from an earlier run, an alert is not resolved before this run has had the time to see what that one saw.
 */
import { type Condition, conditionsOf, isUnclear, type Severity } from "./alert-rules.ts";
import type { HealthReport } from "./health.ts";
import type { NotifyConfig, RuleName } from "./schema.ts";

export interface Alert {
  /** Of this alert alone: when the same comes again later it has another. */
  readonly id: string;
  readonly key: string;
  readonly rule: RuleName;
  readonly subject: string | null;
  readonly severity: Severity;
  /** As of when it was last so. */
  readonly sentence: string;
  /** Wall clock, epoch ms: since when it was so. */
  readonly sinceMs: number;
  /** Steady: when it was last told. */
  readonly toldSteadyMs: number;
  readonly reminders: number;
  /** Steady: since when it is over, while it is not sure yet; null while it is so. */
  readonly overSteadyMs: number | null;
}

export type AlertEvent = "raised" | "reminder" | "resolved";

export interface Happening {
  readonly event: AlertEvent;
  readonly alert: Alert;
}

export interface AlertsOptions {
  readonly rules: NotifyConfig["rules"];
  /** Raised in an earlier run. */
  readonly raised: readonly Alert[];
  /** Steady: before it nothing of these is resolved. */
  readonly settledSteadyMs: number;
  readonly newId: () => string;
}

export class Alerts {
  readonly #options: AlertsOptions;
  readonly #raised = new Map<string, Alert>();
  /** Raised by an earlier run. */
  readonly #takenOver: ReadonlySet<string>;
  /** Steady: since when something is so that was not so for long enough yet. */
  readonly #pending = new Map<string, { readonly steadyMs: number; readonly wallMs: number }>();

  constructor(options: AlertsOptions) {
    this.#options = options;
    for (const alert of options.raised) this.#raised.set(alert.key, alert);
    this.#takenOver = new Set(options.raised.map(({ id }) => id));
  }

  raised(): Alert[] {
    return [...this.#raised.values()];
  }

  look(report: HealthReport, steadyMs: number, wallMs: number): Happening[] {
    const now = conditionsOf(report, this.#options.rules);
    const happenings: Happening[] = [];
    for (const alert of this.#raised.values()) {
      const happening = this.#follow(alert, now.get(alert.key), report, steadyMs);
      if (happening) happenings.push(happening);
    }
    for (const key of this.#pending.keys()) if (now.get(key)?.state !== "on") this.#pending.delete(key);
    for (const condition of now.values()) {
      if (condition.state !== "on" || this.#raised.has(condition.key)) continue;
      const happening = this.#await(condition, steadyMs, wallMs);
      if (happening) happenings.push(happening);
    }
    return happenings;
  }

  #follow(
    alert: Alert,
    condition: Condition | undefined,
    report: HealthReport,
    steadyMs: number,
  ): Happening | null {
    const { rules, settledSteadyMs } = this.#options;
    const { enabled, clearAfter, remindEvery } = rules[alert.rule];
    if (condition || (enabled && isUnclear(alert, report))) {
      const { severity, sentence } = condition?.state === "on" ? condition : alert;
      const due = remindEvery > 0 && steadyMs - alert.toldSteadyMs >= remindEvery;
      // Not known is neither so nor over: it stays where it was.
      const overSteadyMs = condition ? null : alert.overSteadyMs;
      const still = { ...alert, severity, sentence, overSteadyMs };
      const told = due ? { ...still, toldSteadyMs: steadyMs, reminders: alert.reminders + 1 } : still;
      this.#raised.set(alert.key, told);
      return due ? { event: "reminder", alert: told } : null;
    }
    const overSteadyMs = alert.overSteadyMs ?? steadyMs;
    this.#raised.set(alert.key, { ...alert, overSteadyMs });
    const isSettled = !this.#takenOver.has(alert.id) || steadyMs >= settledSteadyMs;
    if (steadyMs - overSteadyMs < clearAfter || !isSettled) return null;
    this.#raised.delete(alert.key);
    return { event: "resolved", alert: { ...alert, overSteadyMs } };
  }

  #await(condition: Condition, steadyMs: number, wallMs: number): Happening | null {
    const { key, rule, subject, severity, sentence } = condition;
    const began = this.#pending.get(key) ?? { steadyMs, wallMs };
    this.#pending.set(key, began);
    if (steadyMs - began.steadyMs < this.#options.rules[rule].for) return null;
    this.#pending.delete(key);
    const alert: Alert = {
      id: this.#options.newId(),
      key,
      rule,
      subject,
      severity,
      sentence,
      sinceMs: began.wallMs,
      toldSteadyMs: steadyMs,
      reminders: 0,
      overSteadyMs: null,
    };
    this.#raised.set(key, alert);
    return { event: "raised", alert };
  }
}
