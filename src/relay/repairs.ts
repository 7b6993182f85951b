/**
 * What a person does to deliveries that do not get through by themselves, besides putting them back (relay.ts): discards
 * them, says that their target has them, has the target asked.
 *
 * Promise: each is one commit, with what the history and the record of acts say of it; it is answered after that, and
 * what stands behind in the lane goes on. Constraint: what is being sent is not decided on, and what a backend said of
 * a delivery that has gone on meanwhile is not used.
 */
import { errorText, HoldfastError } from "../core/errors.ts";
import type { Flow } from "../core/flow.ts";
import { type Outcome, unknown } from "../core/outcome.ts";
import type { Letter } from "../queue/queries-letters.ts";
import type { Querying } from "../queue/reader.ts";
import type { FoundOut, Repaired, Word } from "../queue/repair.ts";
import type { Selection } from "../queue/selection.ts";
import type { Store } from "../queue/store.ts";
import type { Target } from "../targets/target.ts";
import { givenTo } from "./given.ts";
import type { Relay } from "./relay.ts";

export interface RepairsOptions {
  readonly store: Pick<Store, "call" | "steadyMs">;
  readonly reader: Querying;
  readonly relay: Pick<Relay, "arrived">;
  readonly flows: readonly Flow[];
  readonly targets: readonly Target[];
}

export interface DeliveryName {
  readonly id: string;
  /** Needed where it is in question on more than one. */
  readonly flow?: string;
}

/** What a backend said of a delivery, and where that has put it. */
export interface Asked {
  readonly id: string;
  readonly flow: string;
  readonly target: string;
  readonly found: FoundOut["found"];
  /** In its words, or ours. */
  readonly detail: string;
  readonly state: "delivered" | "waiting" | "unknown";
}

const STATE_OF = { "has it": "delivered", "has it not": "waiting", "cannot say": "unknown" } as const;

export class Repairs {
  readonly #options: RepairsOptions;
  readonly #flows: ReadonlyMap<string, Flow>;
  readonly #targets: ReadonlyMap<string, Target>;

  constructor(options: RepairsOptions) {
    this.#options = options;
    this.#flows = new Map(options.flows.map((flow) => [flow.name, flow]));
    this.#targets = new Map(options.targets.map((target) => [target.name, target]));
  }

  discard(selection: Selection & { readonly word: Word }): Promise<Repaired> {
    return this.#repair(() => this.#options.store.call("discard", selection));
  }

  markDelivered(selection: Selection & { readonly word: Word }): Promise<Repaired> {
    return this.#repair(() => this.#options.store.call("markDelivered", selection));
  }

  async #repair(step: () => Promise<Repaired>): Promise<Repaired> {
    const repaired = await step();
    this.#options.relay.arrived(repaired.lanes, { headChanged: true });
    return repaired;
  }

  /**
   * Asks its target whether it has a delivery whose answer was lost, and does what the answer says. Throws
   * HF_NOT_FOUND, HF_DELIVERY_STATE, HF_CANNOT_ASK.
   */
  async probe(name: DeliveryName, by: string): Promise<Asked> {
    const { store, relay } = this.#options;
    const letter = await this.#one(name, ({ state }) => state === "unknown", "has no answer that was lost");
    const { flow, target } = this.#way(letter);
    if (!target.findOut) {
      throw new HoldfastError(
        "HF_CANNOT_ASK",
        `target ${target.name} cannot be asked whether it has a message`,
        { ...name, target: target.name },
      );
    }
    const given = givenTo(flow, letter.key, letter, store.steadyMs());
    // It is not cut short: a target limits its questions in time itself.
    const answer = await target
      .findOut(given, new AbortController().signal)
      .catch((error): Outcome => unknown(`it could not be asked: ${errorText(error)}`));
    const [found, said] = meaningOf(answer);
    const detail = `${said} (asked by ${by})`;
    const { lane, updatedAtMs, message } = letter;
    const result = await store.call("foundOut", {
      lane,
      seq: message.seq,
      updatedAtMs,
      found,
      detail,
      act: { who: by, what: "probeUnknown", detail: { ...name, flow: flow.name }, reason: null },
    });
    if (result.kind === "not now")
      throw notNow(name, [result.state ?? "gone"], "has gone on while it was asked");
    relay.arrived([result.lane], { headChanged: true });
    return { id: name.id, flow: flow.name, target: target.name, found, detail: said, state: STATE_OF[found] };
  }

  /** The one delivery of a message that is meant. */
  async #one(name: DeliveryName, fits: (letter: Letter) => boolean, otherwise: string): Promise<Letter> {
    const found = await this.#options.reader.query("letters", name);
    if (!found)
      throw new HoldfastError("HF_NOT_FOUND", `there is no message ${name.id} in the store`, { ...name });
    const fitting = found.filter(fits);
    if (fitting.length === 0)
      throw notNow(
        name,
        found.map(({ state }) => state),
        otherwise,
      );
    if (fitting.length > 1) {
      const flows = fitting.map(({ flow }) => flow);
      throw new HoldfastError(
        "HF_REQUEST",
        `name the flow, since it is one of several: ${flows.join(", ")}`,
        {
          ...name,
          flows,
        },
      );
    }
    const { message, ...letter } = fitting[0]!;
    const { payload } = message;
    // As it comes from another thread it is bare bytes.
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    return { ...letter, message: { ...message, payload: bytes } };
  }

  #way({ flow: name }: Letter): { readonly flow: Flow; readonly target: Target } {
    const flow = this.#flows.get(name);
    const target = flow && this.#targets.get(flow.to);
    if (flow && target) return { flow, target };
    throw new HoldfastError("HF_NOT_FOUND", `flow ${name} is not in the config any more`, { flow: name });
  }
}

function meaningOf(answer: Outcome | "send again"): readonly [found: FoundOut["found"], detail: string] {
  if (answer === "send again") return ["has it not", "the backend was asked and has it not"];
  if (answer.kind === "delivered") return ["has it", answer.detail ?? "the backend was asked and has it"];
  return ["cannot say", answer.reason];
}

function notNow({ id, flow }: DeliveryName, states: readonly string[], otherwise: string): HoldfastError {
  const where = flow === undefined ? "" : ` on flow ${flow}`;
  const now = states.length === 0 ? "no flow has it" : `it is ${[...new Set(states)].join(" and ")}`;
  return new HoldfastError("HF_DELIVERY_STATE", `message ${id}${where} ${otherwise}: ${now}`, {
    id,
    flow,
    states,
  });
}
