/**
 * Corrections: a dead letter goes back in line with another payload or topic (queue/edits.ts keeps both).
 *
 * It keeps its id, its flow and its place in the lane: a new topic does not send it down another flow. Its backend gets
 * it under the id that it has rejected, marked as edited; what that may mean to a backend is among the remarks.
 */
import { HoldfastError } from "../core/errors.ts";
import { FlowMatcher } from "../core/flow.ts";
import { type JsonSet, setInJson } from "../core/json-edit.ts";
import { parseJson } from "../core/json-pointer.ts";
import type { Message } from "../core/message.ts";
import { topicNameProblem } from "../core/topic.ts";
import type { Letter } from "../queue/queries-letters.ts";
import type { Word } from "../queue/repair.ts";
import type { Store } from "../queue/store.ts";
import type { Target } from "../targets/target.ts";
import { givenTo } from "./given.ts";
import { type DeliveryName, HELD_FOR_EXPORT, Letters, type LettersOptions, notNow } from "./letters.ts";
import type { Relay } from "./relay.ts";

export interface CorrectionsOptions extends LettersOptions {
  readonly store: Pick<Store, "call" | "steadyMs">;
  readonly relay: Pick<Relay, "arrived" | "wayOf" | "pauses">;
}

/** What would come of a letter, as far as can be told without sending it. */
export interface Checked {
  readonly id: string;
  readonly flow: string;
  readonly target: string;
  /** What would be another one than now. */
  readonly changed: readonly string[];
  /** Why its target would never take it, a sentence each; what the backend itself says of it is not asked. */
  readonly problems: readonly string[];
  readonly remarks: readonly string[];
}

/** What is to be another one. Left out: as it is now. */
export interface Change {
  readonly payload?: Buffer;
  /** Into the payload, which must be JSON then. */
  readonly set?: readonly JsonSet[];
  readonly topic?: string;
  readonly contentType?: string | null;
}

export interface Edited {
  readonly id: string;
  readonly flow: string;
  readonly edit: number;
  readonly changed: readonly string[];
  /** What whoever edits should know, a sentence each. */
  readonly remarks: readonly string[];
}

export class Corrections {
  readonly #options: CorrectionsOptions;
  readonly #letters: Letters;

  constructor(options: CorrectionsOptions) {
    this.#options = options;
    this.#letters = new Letters(options);
  }

  /** Throws HF_NOT_FOUND, HF_DELIVERY_STATE, HF_REQUEST, HF_STORE_FULL. */
  async edit(name: DeliveryName, change: Change, word: Word): Promise<Edited> {
    const { store, relay } = this.#options;
    const letter = await this.#letters.one(name, isDead, "is no dead letter");
    const { target } = this.#letters.way(letter);
    const { message, changed } = changedMessage(letter.message, change);
    if (changed.length === 0)
      throw new HoldfastError("HF_REQUEST", "nothing of it would be another one", { ...name });
    const result = await store.call("edit", {
      lane: letter.lane,
      seq: message.seq,
      base: letter.edit,
      topic: message.topic,
      payload: message.payload.toString("base64"),
      contentType: message.contentType,
      changed,
      word,
      act: {
        who: word.by,
        what: "editDead",
        detail: { id: name.id, flow: letter.flow, changed },
        reason: word.why,
      },
    });
    switch (result.kind) {
      case "edited":
        relay.arrived([result.lane], { headChanged: true });
        return {
          id: name.id,
          flow: letter.flow,
          edit: result.edit,
          changed,
          remarks: remarksOn(letter, target),
        };
      case "not now":
        throw result.state === "dead"
          ? notNow(name, ["dead"], HELD_FOR_EXPORT)
          : notNow(name, [result.state ?? "gone"], "is no dead letter any more");
      case "changed":
        throw notNow(name, ["dead, with another edit"], "was edited by somebody else meanwhile");
      case "no room":
        throw new HoldfastError("HF_STORE_FULL", "the store has no room for an edit of this size");
    }
  }

  /** Nothing is sent or changed. Throws HF_NOT_FOUND, HF_DELIVERY_STATE, HF_REQUEST. */
  async check(name: DeliveryName, change: Change): Promise<Checked> {
    const { store, relay } = this.#options;
    const letter = await this.#letters.one(name, isDeadOrHeld, "is neither dead nor held");
    const { flow, target } = this.#letters.way(letter);
    const { message, changed } = changedMessage(letter.message, change);
    if (changed.length > 0 && !isDead(letter))
      throw notNow(name, [letter.state], "is no dead letter, to be edited");
    const edited = letter.edited || changed.length > 0;
    const nowMs = store.steadyMs();
    // Put back it is as old as that (queue/put-back.ts).
    const given = givenTo(flow, letter.key, { ...letter, message, edited, steadyAtMs: nowMs }, nowMs);
    const json = () => parseJson(message.payload);
    const remarks = [
      ...(relay.pauses.holds(flow, letter.key)
        ? ["it would wait: its flow, target or device is paused"]
        : []),
      ...(new FlowMatcher([flow]).match(message.topic, json).length === 0
        ? [
            `flow ${flow.name} would not take such a message by itself (from, when); put back, it goes there all the same`,
          ]
        : []),
      ...(changed.length > 0 ? remarksOn(letter, target) : []),
    ];
    const problems = target.check?.(given) ?? [];
    return { id: name.id, flow: flow.name, target: target.name, changed, problems, remarks };
  }
}

function isDeadOrHeld({ state, held }: Letter): boolean {
  return state === "dead" || held;
}

export function isDead({ state }: Letter): boolean {
  return state === "dead";
}

/** Throws HF_REQUEST for a topic that is none, and for what cannot be set. */
export function changedMessage(
  message: Message,
  change: Change,
): { readonly message: Message; readonly changed: readonly string[] } {
  const topic = change.topic ?? message.topic;
  const contentType = change.contentType === undefined ? message.contentType : change.contentType;
  const payload = setIn(change.payload ?? message.payload, change.set ?? []);
  const problem = topic === message.topic ? null : topicNameProblem(topic);
  if (problem) throw new HoldfastError("HF_REQUEST", `topic ${JSON.stringify(topic)}: ${problem}`);
  return {
    message: { ...message, topic, contentType, payload },
    changed: [
      ...(payload.equals(message.payload) ? [] : ["payload"]),
      ...(topic === message.topic ? [] : ["topic"]),
      ...(contentType === message.contentType ? [] : ["content type"]),
    ],
  };
}

function setIn(payload: Buffer, sets: readonly JsonSet[]): Buffer {
  if (sets.length === 0) return payload;
  const found = setInJson(payload.toString("utf8"), sets);
  if ("problem" in found) throw new HoldfastError("HF_REQUEST", found.problem);
  return Buffer.from(found.text);
}

export function remarksOn({ resend }: Letter, { name, idempotent }: Target): string[] {
  if (resend) {
    return [
      `an earlier answer of ${name} was lost: it may have the message as it was, and then takes the edited one for the same, or has both`,
    ];
  }
  return idempotent
    ? [
        `${name} gets it under the same id: a backend that remembers what it answered to an id may answer the same again without looking`,
      ]
    : [];
}
