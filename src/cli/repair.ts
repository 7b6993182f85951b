/** Repairs in steps, as commands ask for them: each step is one request, and one commit of the gateway. */
import { HoldfastError } from "../core/errors.ts";
import type { GatewayClient } from "./api-client.ts";
import type { CliIo } from "./io.ts";

/** Taken by one request: a long commit would keep machines waiting. */
const STEP = 1000;
/** On how many flows a message is at most thought to be dead: each counts against the limit of a step. */
const FLOWS = 5;

export interface WhichOptions {
  readonly data?: string;
  readonly flow?: string;
  readonly group?: string;
  readonly all?: boolean;
}

export interface Which {
  readonly ids: readonly string[];
  readonly flow?: string;
  readonly group?: string;
  readonly all?: true;
}

/** An id that was named and of which nothing was taken, and what its deliveries are. */
interface Left {
  readonly id: string;
  readonly states: readonly string[];
}

export interface Done {
  readonly count: number;
  readonly left: readonly Left[];
}

/** Throws HF_USAGE where nothing, or too much, is named. */
export function whichOf(ids: readonly string[], { flow, group, all }: WhichOptions): Which {
  if (all && (flow !== undefined || group !== undefined || ids.length > 0)) {
    throw new HoldfastError("HF_USAGE", "--all stands alone: it takes every flow and every dead letter");
  }
  if (!all && flow === undefined && group === undefined && ids.length === 0) {
    throw new HoldfastError(
      "HF_USAGE",
      "name the messages, a flow with --flow, a reason with --group, or --all",
    );
  }
  return { ids, flow, group, ...(all ? { all } : {}) };
}

/**
 * All of them, step by step and oldest first. A step goes on after the one before, so that what is put back and dies
 * again meanwhile is not met a second time. `what` is the answer's own word for how many.
 */
export async function inSteps(
  io: CliIo,
  gateway: GatewayClient,
  path: string,
  what: string,
  { ids, ...which }: Which,
  more: object,
): Promise<Done> {
  let count = 0;
  const left: Left[] = [];
  const ask = async (body: object) => {
    const answer = (await gateway.ask("POST", path, { ...which, ...more, ...body })) as Record<
      string,
      unknown
    >;
    count += answer[what] as number;
    left.push(...((answer.left as Left[] | undefined) ?? []));
    return (answer.next as number | null | undefined) ?? null;
  };
  for (let at = 0; at < ids.length; at += STEP) {
    await ask({ ids: ids.slice(at, at + STEP), limit: FLOWS * STEP });
  }
  if (ids.length > 0) return { count, left };
  for (let next = await ask({ limit: STEP }); next !== null; next = await ask({ limit: STEP, after: next })) {
    if (!io.json) io.note(`${count} so far …`);
  }
  return { count, left };
}

export interface Words {
  /** After how many: `put back in line`. */
  readonly done: string;
  /** Where nothing was. */
  readonly none: string;
}

/** Says what was done (in words, unless JSON was asked for), and of what was named and not taken, why. Nothing of what was named: an answer that is a no. */
export async function sayDone(io: CliIo, { count, left }: Done, { ids }: Which, words: Words): Promise<void> {
  if (ids.length > 0 && count === 0) io.exitCode = 1;
  if (io.json) return;
  const { counted, harmless } = await import("./plain-words.ts");
  io.print(count > 0 ? `${counted(count, "delivery", "deliveries")} ${words.done}` : words.none);
  for (const { id, states } of left) {
    const why =
      states.length === 0 ? "there is no such message" : `it is ${[...new Set(states)].join(" and ")}`;
    io.print(`  not ${harmless(id)}: ${why}`);
  }
}
