/** Finds the one delivery that a person means by a message's id, and where it would go. */
import { HoldfastError } from "../core/errors.ts";
import type { Letter } from "../queue/queries-letters.ts";
import type { Querying } from "../queue/reader.ts";
import type { Relay, Way } from "./relay.ts";

export interface LettersOptions {
  readonly reader: Querying;
  readonly relay: Pick<Relay, "wayOf">;
}

export interface DeliveryName {
  readonly id: string;
  /** Needed where it is in question on more than one. */
  readonly flow?: string;
}

export class Letters {
  readonly #options: LettersOptions;

  constructor(options: LettersOptions) {
    this.#options = options;
  }

  /** Throws HF_NOT_FOUND, HF_DELIVERY_STATE (`otherwise` says what it is not), HF_REQUEST where it is one of several. */
  async one(name: DeliveryName, fits: (letter: Letter) => boolean, otherwise: string): Promise<Letter> {
    const { id } = name;
    const found = await this.#options.reader.query("letters", name);
    if (!found) throw new HoldfastError("HF_NOT_FOUND", `there is no message ${id} in the store`, { id });
    const fitting = found.filter(fits);
    const [letter] = fitting;
    const states = found.map(({ state }) => state);
    if (!letter) throw notNow(name, states, otherwise);
    if (fitting.length > 1) {
      const flows = fitting.map(({ flow }) => flow);
      const message = `message ${id} is meant on one flow: name which of ${flows.join(", ")}`;
      throw new HoldfastError("HF_REQUEST", message, { id, flows });
    }
    const { payload } = letter.message;
    // As it comes from another thread it is bare bytes.
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    return { ...letter, message: { ...letter.message, payload: bytes } };
  }

  /** Throws HF_NOT_FOUND where its flow was taken out of the config. */
  way({ flow: name }: Pick<Letter, "flow">): Way {
    const way = this.#options.relay.wayOf(name);
    if (way) return way;
    throw new HoldfastError("HF_NOT_FOUND", `flow ${name} is not in the config any more`, { flow: name });
  }
}

export const HELD_FOR_EXPORT = "is held for an export (holdfast export list)";

export function notNow(
  { id, flow }: DeliveryName,
  states: readonly string[],
  otherwise: string,
): HoldfastError {
  const where = flow === undefined ? "" : ` on flow ${flow}`;
  const now = states.length === 0 ? "no such flow has it" : `it is ${[...new Set(states)].join(" and ")}`;
  return new HoldfastError("HF_DELIVERY_STATE", `message ${id}${where} ${otherwise}: ${now}`, {
    id,
    flow,
    states,
  });
}
