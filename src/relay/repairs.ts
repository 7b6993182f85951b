/**
 * What a person does to deliveries that do not get through by themselves, besides putting them back (relay.ts): discards
 * them, says that their target has them, has the target asked.
 *
 * Promise: each is one commit, with what the history and the record of acts say of it; it is answered after that, and
 * what stands behind in the lane goes on. Constraint: what is being sent is not decided on, and what a backend said of
 * a delivery that has gone on meanwhile is not used.
 */
import { errorText, HoldfastError } from "../core/errors.ts";
import { type Outcome, unknown } from "../core/outcome.ts";
import type { Letter } from "../queue/queries-letters.ts";
import type { FoundOut, Repaired, Word } from "../queue/repair.ts";
import type { Selection } from "../queue/selection.ts";
import type { Store } from "../queue/store.ts";
import { Corrections } from "./corrections.ts";
import { givenTo } from "./given.ts";
import { type DeliveryName, HELD_FOR_EXPORT, Letters, type LettersOptions, notNow } from "./letters.ts";
import type { Relay } from "./relay.ts";

export interface RepairsOptions extends LettersOptions {
  readonly store: Pick<Store, "call" | "steadyMs">;
  readonly relay: Pick<Relay, "arrived" | "wayOf" | "pauses">;
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
  readonly #letters: Letters;
  readonly corrections: Corrections;

  constructor(options: RepairsOptions) {
    this.#options = options;
    this.#letters = new Letters(options);
    this.corrections = new Corrections(options);
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
    const fits = ({ state }: Letter) => state === "unknown";
    const letter = await this.#letters.one(name, fits, "has no answer that was lost");
    if (letter.exported) throw notNow(name, [letter.state], HELD_FOR_EXPORT);
    const { flow, target } = this.#letters.way(letter);
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
}

function meaningOf(answer: Outcome | "send again"): readonly [found: FoundOut["found"], detail: string] {
  if (answer === "send again") return ["has it not", "the backend was asked and has it not"];
  if (answer.kind === "delivered") return ["has it", answer.detail ?? "the backend was asked and has it"];
  return ["cannot say", answer.reason];
}
