/** Repairs of many or one, as questions to be answered with a yes: what it is about, in figures, and what comes of it. */
import { counted, harmless } from "../../core/plain-words.ts";
import type { Progress, Question } from "./acting.tsx";
import { api, type RepairSelection, type RepairStep, type Stepped } from "./api.ts";

/** Done by one request, so that no commit becomes long. */
const STEP = 1000;
/** Of ids: each may be on several flows. */
const ROWS_MAX = 5 * STEP;

export type Asked = Omit<Question, "onClose">;

/** Does a repair step by step until there is no more of it, or it is stopped; answers with how many. */
async function inSteps(
  selection: RepairSelection,
  { tell, stopped }: Progress,
  send: (step: RepairStep) => Promise<Stepped & { readonly count: number }>,
): Promise<number> {
  let done = 0;
  const { ids } = selection;
  const parts = ids === undefined ? [selection] : partsOf(ids).map((part) => ({ ...selection, ids: part }));
  for (const part of parts) {
    let after: number | null | undefined;
    while (after !== null && !stopped()) {
      const { count, next } = await send({ ...part, after, limit: ids === undefined ? STEP : ROWS_MAX });
      done += count;
      after = next;
      tell(`${done} so far …`);
    }
  }
  return done;
}

const partsOf = (ids: readonly string[]) =>
  Array.from({ length: Math.ceil(ids.length / STEP) }, (_, at) => ids.slice(at * STEP, (at + 1) * STEP));

const came = (n: number, { stopped }: Progress, sentence: string) =>
  `${stopped() ? "Stopped. " : ""}${n === 0 ? "None needed it any more." : sentence}`;

export async function retry(selection: RepairSelection, progress: Progress): Promise<string> {
  const n = await inSteps(selection, progress, async (step) => {
    const { redriven, ...rest } = await api.retry(step);
    return { count: redriven, ...rest };
  });
  const sentence = `${n} put back in line, in order and under ${n === 1 ? "its id" : "their ids"}. What becomes of ${n === 1 ? "it" : "them"} is shown as it happens.`;
  return came(n, progress, sentence);
}

export async function discard(selection: RepairSelection, progress: Progress, why: string): Promise<string> {
  const n = await inSteps(selection, progress, async (step) => {
    const { discarded, ...rest } = await api.discard(step, why);
    return { count: discarded, ...rest };
  });
  return came(n, progress, `${n} discarded, on record with your reason.`);
}

export async function markDelivered(
  selection: RepairSelection,
  progress: Progress,
  evidence: string,
): Promise<string> {
  const n = await inSteps(selection, progress, async (step) => {
    const { delivered, ...rest } = await api.markDelivered(step, evidence);
    return { count: delivered, ...rest };
  });
  return came(n, progress, `${n} marked as delivered, on record with your evidence.`);
}

/** How many a repair is about: dead letters, and deliveries that are held because their answer was lost. */
export async function figuresOf(selection: RepairSelection): Promise<string> {
  const { flow, group } = selection;
  const [{ count, complete }, { reasons }] = await Promise.all([
    api.estimate({ kind: "redrive", ...selection }),
    api.dead({ flow, limit: 1 }),
  ]);
  const matching = reasons.groups.filter(({ reason }) => reason === group);
  const dead = group === undefined ? reasons.count : matching.reduce((sum, each) => sum + each.count, 0);
  const held = Math.max(0, count - dead);
  const most = complete ? "" : "At least ";
  const letters = counted(Math.min(dead, count), "dead letter");
  const lost = counted(held, "held delivery whose answer was lost", "held deliveries whose answer was lost");
  return `${most}${letters} and ${lost}`;
}

/** `of flow mes, for the reason “HTTP 422”` */
export function ofWhich({ flow, group, ids }: RepairSelection): string {
  const parts = [
    ...(ids === undefined ? [] : ["that you chose"]),
    ...(flow === undefined ? [] : [`of flow ${flow}`]),
    ...(group === undefined ? [] : [`for the reason “${harmless(group)}”`]),
  ];
  return parts.length === 0 ? "of every flow" : parts.join(", ");
}

export function retryQuestion(selection: RepairSelection): Asked {
  return {
    title: "Put these back in line?",
    yes: "Retry",
    prepare: async () => (
      <p>
        <b>{await figuresOf(selection)}</b>, {ofWhich(selection)}, go back in line, in order and under their
        ids, as fast as their target takes them. Those that fail again come back here.
      </p>
    ),
    act: (progress) => retry(selection, progress),
  };
}

export function discardQuestion(selection: RepairSelection): Asked {
  return {
    title: "Give these up?",
    yes: "Discard",
    why: { label: "Why they are given up" },
    prepare: async () => (
      <p>
        <b>{await figuresOf(selection)}</b>, {ofWhich(selection)}, will not be sent.{" "}
        <b>Nothing brings them back.</b> They stay on record as discarded, and what stands behind a held one
        goes on.
      </p>
    ),
    act: (progress, why) => discard(selection, progress, why),
  };
}

export function deliveredQuestion(selection: RepairSelection): Asked {
  return {
    title: "Does the backend have these?",
    yes: "Mark as delivered",
    why: { label: "What shows that the backend has them" },
    children: (
      <p>
        Those {ofWhich(selection)} that wait for a person because their answer was lost count as delivered,
        and are not sent again. What the backend has rejected is left alone. Look into the backend first.
      </p>
    ),
    act: (progress, evidence) => markDelivered(selection, progress, evidence),
  };
}
