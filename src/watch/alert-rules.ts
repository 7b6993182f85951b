/**
 * Which of the things that can be told are so, by the rules of the config and the report of health. Pure.
 *
 * The report is the only truth: a rule about a problem asks whether health lists it, and a rule with a threshold reads
 * a figure of the report. What the report cannot say is not taken for well: a condition of which nothing is known, or
 * whose figure lies between its two thresholds, stays as it was.
 */
import { flowWords, isCommandFlow } from "../core/command-message.ts";
import { age, counted } from "../core/plain-words.ts";
import { formatBytes } from "../core/units.ts";
import type { HealthReport } from "./health.ts";
import type { Problem, ProblemKind } from "./problems.ts";
import type { NotifyConfig, RuleName } from "./schema.ts";

/** The rules about problems, and which. What is told by a figure of its own is not among them. */
const PROBLEMS_OF = {
  targets: ["target-down", "target-stalled"],
  flows: ["flow-stalled", "flow-held", "flow-unconfigured", "unknown-waiting"],
  exports: ["export-held"],
  accounting: ["accounting-mismatch"],
  store: ["store-failed", "store-full", "messages-lost", "store-salvaged", "blind"],
  clock: ["clock-untrusted"],
  devices: ["device-silent", "device-failing"],
  channels: ["notify-failing"],
} as const satisfies Partial<Record<RuleName, readonly ProblemKind[]>>;

export type Severity = Problem["severity"];

export interface Condition {
  /** Of the problem, or `<rule>:<subject>`: the same condition at another time has the same key. */
  readonly key: string;
  readonly rule: RuleName;
  readonly subject: string | null;
  readonly severity: Severity;
  readonly sentence: string;
  /** `between`: neither bad enough to be told nor good enough to be over. */
  readonly state: "on" | "between";
}

type Rules = NotifyConfig["rules"];
type Report = Pick<HealthReport, "problems" | "flows" | "targets" | "store" | "accounting" | "door">;

/** What is so now, by key. */
export function conditionsOf(report: Report, rules: Rules): Map<string, Condition> {
  const all = [
    ...ofProblems(report.problems),
    ...ofBacklog(report, rules.backlog),
    ...ofDeadLetters(report, rules.deadLetters),
    ...ofDisk(report, rules.disk),
  ];
  return new Map(
    all
      .filter(({ rule, subject }) => {
        const { enabled, only, except } = rules[rule];
        if (!enabled) return false;
        return subject === null || ((!only || only.includes(subject)) && !except.includes(subject));
      })
      .map((condition) => [condition.key, condition]),
  );
}

/** Whether the report has nothing to say of a condition that was so: it is then not over, it is not known. */
export function isUnclear(
  { key, rule, subject }: Pick<Condition, "key" | "rule" | "subject">,
  { door, accounting, targets, store }: Report,
): boolean {
  // The store could not be read, or has not been yet.
  if (door === null && key !== "blind") return true;
  if (rule === "accounting") return accounting.state === "unchecked";
  if (rule === "disk") return store.diskFreeBytes === null;
  // Neither well nor away, as after a start.
  if (rule === "targets")
    return targets.some(({ target, state }) => target === subject && state === "unproven");
  return false;
}

function ofProblems(problems: readonly Problem[]): Condition[] {
  return problems.flatMap(({ key, kind, subject, severity, sentence }) => {
    const rule = (Object.keys(PROBLEMS_OF) as (keyof typeof PROBLEMS_OF)[]).find((name) =>
      (PROBLEMS_OF[name] as readonly ProblemKind[]).includes(kind),
    );
    return rule ? [{ key, rule, subject, severity, sentence, state: "on" as const }] : [];
  });
}

function ofBacklog({ flows }: Report, { above, clearAt }: Rules["backlog"]): Condition[] {
  return flows.flatMap(({ flow, figures }): Condition[] => {
    const ageMs = figures?.oldest?.ageMs ?? 0;
    const open = figures ? figures.waiting + figures.sending : 0;
    const sentence = `the oldest message for ${flowWords(flow)} has waited for ${age(ageMs)}; ${counted(open, "message is", "messages are")} stored here and ${open === 1 ? "waits" : "wait"}`;
    return condition("backlog", flow, sentence, ageMs > above, ageMs > clearAt);
  });
}

/** Of a command that failed its sender has been told. */
function ofDeadLetters({ flows }: Report, { above, clearAt }: Rules["deadLetters"]): Condition[] {
  return flows.flatMap(({ flow, figures }): Condition[] => {
    if (isCommandFlow(flow)) return [];
    const dead = figures?.dead ?? 0;
    const sentence = `flow ${flowWords(flow)} has ${counted(dead, "dead letter")}, for a person to decide on`;
    return condition("deadLetters", flow, sentence, dead > above, dead > clearAt);
  });
}

function ofDisk({ store }: Report, { below, clearAt }: Rules["disk"]): Condition[] {
  const free = store.diskFreeBytes;
  if (free === null) return [];
  const sentence = `the disk of the data folder has ${formatBytes(free)} left`;
  return condition("disk", null, sentence, free < below, free < clearAt);
}

function condition(
  rule: RuleName,
  subject: string | null,
  sentence: string,
  isOn: boolean,
  isBetween: boolean,
): Condition[] {
  if (!isOn && !isBetween) return [];
  const key = subject === null ? rule : `${rule}:${subject}`;
  return [{ key, rule, subject, severity: "attention", sentence, state: isOn ? "on" : "between" }];
}
