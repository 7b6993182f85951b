/** What is wrong, as a list that people and programs can read: a stable kind, a sentence, and since when. Pure. */

import { flowWords, isBuiltInFlow, isCommandFlow, targetWords } from "../core/command-message.ts";
import { count, counted } from "../core/plain-words.ts";
import { formatBytes, formatDuration } from "../core/units.ts";
import type { Pause } from "../queue/pauses.ts";
import type { OpenExport } from "../queue/queries-held.ts";
import { type Facts, type HealthReport, pauseOf } from "./health.ts";
import type { HealthConfig } from "./schema.ts";
import { failureSentence, silenceSentence } from "./silence.ts";
import type { ReadFacts } from "./sources.ts";

export const PROBLEM_SEVERITY = {
  "accounting-mismatch": "alarm",
  "store-failed": "alarm",
  "store-full": "alarm",
  "messages-lost": "alarm",
  blind: "attention",
  "target-down": "attention",
  "target-stalled": "attention",
  "flow-stalled": "attention",
  "flow-held": "attention",
  "flow-paused": "attention",
  "flow-unconfigured": "attention",
  "dead-letters": "attention",
  "unknown-waiting": "attention",
  "export-held": "attention",
  "device-silent": "attention",
  "device-failing": "attention",
  "disk-low": "attention",
  "clock-untrusted": "attention",
  "notify-failing": "attention",
  "store-salvaged": "attention",
} as const;

export type ProblemKind = keyof typeof PROBLEM_SEVERITY;

export interface Problem {
  /** `kind` or `kind:subject`: the same problem at another time has the same key. */
  readonly key: string;
  readonly kind: ProblemKind;
  readonly severity: "alarm" | "attention";
  /** The flow, target, device or export it is about. */
  readonly subject: string | null;
  readonly sentence: string;
  /** Wall clock, epoch ms, of when it was first seen in this run. */
  readonly sinceMs: number;
}

type Parts = Pick<HealthReport, "flows" | "targets" | "pauses" | "store" | "accounting">;

interface Context {
  readonly config: HealthConfig;
  /** Flows that have had unknowns for longer than `stalledAfter`. */
  readonly unknownLong: readonly string[];
  readonly silent: readonly ReadFacts[];
  readonly failing: readonly ReadFacts[];
  /** Since when each problem has been there, by key. */
  readonly since: ReadonlyMap<string, number>;
}

type Found = [kind: ProblemKind, subject: string | null, sentence: string];

export function describeProblems(parts: Parts, facts: Facts, context: Context): Problem[] {
  const found: Found[] = [
    ...ofAccounting(parts),
    ...ofStore(parts, facts, context.config),
    ...ofSalvages(facts),
    ...ofTargets(parts),
    ...ofFlows(parts, context),
    ...ofLeftFlows(facts),
    ...ofExports(facts, context.config),
    ...context.silent.map((device): Found => ["device-silent", device.device, silenceSentence(device)]),
    ...context.failing.map((device): Found => ["device-failing", device.device, failureSentence(device)]),
  ];
  for (const { channel, reason, waiting } of facts.channels) {
    const left = waiting === 0 ? "" : `; ${counted(waiting, "alert waits", "alerts wait")} to be told`;
    found.push([
      "notify-failing",
      channel,
      `channel ${channel} does not take notifications: ${reason}${left}`,
    ]);
  }
  if (facts.blind !== null) {
    found.push(["blind", null, `the store cannot be read, so its figures are not known: ${facts.blind}`]);
  }
  if (!facts.clockTrusted) {
    found.push([
      "clock-untrusted",
      null,
      "the wall clock is not set: dates are wrong, order and ages are not",
    ]);
  }
  return found
    .map(([kind, subject, sentence]): Problem => {
      const key = subject === null ? kind : `${kind}:${subject}`;
      const severity = PROBLEM_SEVERITY[kind];
      return { key, kind, severity, subject, sentence, sinceMs: context.since.get(key) ?? facts.wallMs };
    })
    .sort((a, b) => (a.severity === b.severity ? 0 : a.severity === "alarm" ? -1 : 1));
}

function ofAccounting({ accounting }: Parts): Found[] {
  if (accounting.state !== "mismatch") return [];
  const [first = "", ...others] = accounting.mismatches;
  const more = others.length === 0 ? "" : ` (and ${count(others.length)} more)`;
  return [["accounting-mismatch", null, `messages are not accounted for: ${first}${more}`]];
}

function ofStore({ store }: Parts, facts: Facts, config: HealthConfig): Found[] {
  const found: Found[] = [];
  if (facts.store.kind === "failed") {
    found.push([
      "store-failed",
      null,
      `the store has failed, nothing is acknowledged: ${facts.store.error.message}`,
    ]);
  }
  if (facts.store.kind === "full") {
    const free = store.diskFreeBytes === null ? "" : `, ${formatBytes(store.diskFreeBytes)} free on its disk`;
    const used =
      store.usedBytes === null
        ? ""
        : ` (${formatBytes(store.usedBytes)} of ${formatBytes(store.bytesMax)} used${free})`;
    found.push(["store-full", null, `the store has no room: senders wait for their acknowledgement${used}`]);
  }
  if (store.diskFreeBytes !== null && store.diskFreeBytes < config.diskFreeMin) {
    found.push([
      "disk-low",
      null,
      `the disk of the data folder has ${formatBytes(store.diskFreeBytes)} left`,
    ]);
  }
  return found;
}

/** Told until somebody moves the folder away, which says that it has been seen. */
function ofSalvages({ overview }: Facts): Found[] {
  return (overview?.salvages ?? []).map(({ folder, lossy, sentence }) => [
    lossy ? "messages-lost" : "store-salvaged",
    folder,
    `a start found damage: ${sentence} (told until that folder is moved away)`,
  ]);
}

function ofTargets({ targets, flows }: Parts): Found[] {
  return targets.flatMap(({ target, state, lastError }): Found[] => {
    if (state === "down") {
      const waiting = flows
        .filter((flow) => flow.target === target)
        .reduce((sum, { figures }) => sum + (figures ? figures.waiting + figures.sending : 0), 0);
      const stored =
        waiting === 0
          ? ""
          : `; ${counted(waiting, "message is", "messages are")} stored here and ${waiting === 1 ? "waits" : "wait"}`;
      return [["target-down", target, `${targetWords(target)} is away: ${lastError}${stored}`]];
    }
    return state === "stalled"
      ? [
          [
            "target-stalled",
            target,
            `${targetWords(target)} takes nothing, though nothing says that it is away`,
          ],
        ]
      : [];
  });
}

function ofFlows({ flows, targets, pauses }: Parts, { config, unknownLong }: Context): Found[] {
  return flows.flatMap(({ flow, target, state, figures }): Found[] => {
    const found: Found[] = [];
    const down = targets.some((report) => report.target === target && report.state === "down");
    // What an export keeps here has a problem of its own.
    const oldest = figures?.oldestFree;
    if (state === "paused" && oldest && oldest.ageMs >= config.stalledAfter) {
      const pause = pauseOf({ name: flow, to: target }, pauses);
      found.push(["flow-paused", flow, pausedSentence(flow, figures.waiting, config.stalledAfter, pause)]);
    }
    const pausedDevice = pauses.find(({ kind, name }) => kind === "device" && name === oldest?.device);
    if ((state === "stalled" || state === "held") && oldest && pausedDevice) {
      found.push(["flow-paused", flow, deviceSentence(flow, pausedDevice)]);
    } else if (state === "stalled" && oldest && !down) {
      found.push([
        "flow-stalled",
        flow,
        `${flowTitle(flow)} is stalled at message ${oldest.id} of ${oldest.device}`,
      ]);
    } else if (state === "held" && oldest && !down) {
      found.push([
        "flow-held",
        flow,
        `${flowTitle(flow)} goes on, but message ${oldest.id} of ${oldest.device} does not get through`,
      ]);
    }
    // Of a command that failed its sender has been told; there is nothing to mend and send again.
    if (figures && figures.dead > 0 && !isCommandFlow(flow)) {
      found.push([
        "dead-letters",
        flow,
        `${flowTitle(flow)} has ${counted(figures.dead, "dead letter")}, for a person to decide on`,
      ]);
    }
    if (figures && unknownLong.includes(flow)) {
      found.push([
        "unknown-waiting",
        flow,
        `${flowTitle(flow)} has ${counted(figures.unknown, "delivery", "deliveries")} whose answer was lost`,
      ]);
    }
    return found;
  });
}

function pausedSentence(
  flow: string,
  waiting: number,
  longerThanMs: number,
  pause: Pause | undefined,
): string {
  const what = pause?.kind === "target" ? `, as target ${pause.name} is,` : "";
  const waits = `${counted(waiting, "message waits", "messages wait")}, for longer than ${formatDuration(longerThanMs)}`;
  return `${flowTitle(flow)} is paused${what} by ${wordOf(pause)}: ${waits}`;
}

function deviceSentence(flow: string, pause: Pause): string {
  return `${flowTitle(flow)} holds what device ${pause.name} has sent, which is paused by ${wordOf(pause)}`;
}

function wordOf(pause: Pause | undefined): string {
  if (!pause) return "somebody";
  return pause.sinceMs === null ? "the config" : `${pause.who} (${pause.reason})`;
}

/** A flow that was taken out of the config keeps what waits in it, and nobody delivers that. */
function ofLeftFlows({ overview, flows }: Facts): Found[] {
  const configured = new Set(flows.map(({ name }) => name));
  return (overview?.flows ?? []).flatMap(({ flow, waiting, sending, unknown }): Found[] => {
    const open = waiting + sending + unknown;
    return open > 0 && !configured.has(flow)
      ? [
          [
            "flow-unconfigured",
            flow,
            `${counted(open, "message waits", "messages wait")} in ${flowTitle(flow)}, which is not in the config any more`,
          ],
        ]
      : [];
  });
}

/** Nothing of it is sent from here before somebody says what became of it. */
function ofExports({ overview }: Facts, { exportHeldAfter }: HealthConfig): Found[] {
  return (overview?.exports ?? [])
    .filter(({ ageMs }) => ageMs >= exportHeldAfter)
    .map((held) => {
      const { id, who, reason } = held;
      const since = `holds messages back for longer than ${formatDuration(exportHeldAfter)}`;
      const sentence = `export ${id} by ${who} (${reason ?? "no reason given"}) ${since}: ${waysToEnd(held)}`;
      return ["export-held", id, sentence];
    });
}

/** What ends it, by the state that it is in. */
function waysToEnd({ id, state }: OpenExport): string {
  const cancel = `holdfast export cancel ${id} --reason … has them go on here`;
  switch (state) {
    case "holding":
      return `its file was not written to the end; holdfast export fetch ${id} FILE does that, ${cancel}`;
    case "held":
      return `once the other box has them, holdfast export finish RECEIPT ends it; ${cancel}`;
    case "moved":
      return "ending it was broken off; holdfast export finish RECEIPT, once more, goes on with that";
    case "cancelled":
      return `cancelling it was broken off; holdfast export cancel ${id} --reason …, once more, goes on with that`;
  }
}

function flowTitle(flow: string): string {
  return isBuiltInFlow(flow) ? `the flow of ${flowWords(flow)}` : `flow ${flow}`;
}
