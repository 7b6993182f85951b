/**
 * What every device has in the config, whatever it speaks: where it stands, the topics and the shape of its
 * messages, and what is held of them while the store has no room. And what can be wrong with that though each
 * key is right.
 */
import { z } from "zod";
import { missingValues, topicLevel, topicTemplate, usesSignal } from "./topic-template.ts";

/** What `{signal}` and `{group}` are in the topic of a gap record. */
export const GAP = "gap";

export const deviceKeys = {
  place: z
    .strictObject({
      site: topicLevel.optional().describe("For `{site}` in the topic."),
      area: topicLevel.optional().describe("For `{area}` in the topic."),
      line: topicLevel.optional().describe("For `{line}` in the topic."),
    })
    .prefault({})
    .describe("Where the machine stands."),
  topic: topicTemplate
    .default("{device}/{signal}")
    .describe(
      "Topic of its messages: `{site}`, `{area}`, `{line}`, `{device}`, `{group}`, `{signal}`. In a message of a whole poll `{signal}` is the group's name.",
    ),
  message: z
    .enum(["poll", "signal"])
    .default("poll")
    .describe("One message for all readings of one poll of a group, or one for each signal."),
  hold: z
    .strictObject({
      messagesMax: z.int().min(1).max(1_000_000).default(1000).describe("How many messages are held."),
      keep: z
        .enum(["newest", "oldest"])
        .default("newest")
        .describe("Which are kept when there are more; the others are counted in a gap record."),
    })
    .prefault({})
    .describe("Messages held in memory while the store has no room."),
};

export interface MapProblem {
  readonly path: readonly string[];
  readonly message: string;
}

interface Topics {
  readonly topic: string;
  readonly place: Readonly<Partial<Record<"site" | "area" | "line", string>>>;
  readonly message: "poll" | "signal";
  readonly groups: Readonly<Record<string, unknown>>;
}

export function topicProblems({ topic, place, message, groups }: Topics): MapProblem[] {
  const missing = missingValues(topic, { ...place, device: "x", group: "x", signal: "x" });
  if (missing.length > 0) {
    const [first] = missing;
    return [{ path: ["topic"], message: `{${first}} needs \`place.${first}\`` }];
  }
  const many = message === "signal" || Object.keys(groups).length > 1;
  if (many && !usesSignal(topic) && !(message === "poll" && topic.includes("{group}"))) {
    return [{ path: ["topic"], message: "without {signal} all its messages would have one topic" }];
  }
  return [];
}

/** Signals of all groups: each name once, and none that stands for something else. */
export function signalProblems(
  all: readonly { readonly signal: string; readonly path: readonly string[] }[],
): MapProblem[] {
  const problems: MapProblem[] = [];
  for (const [signal, [, ...others]] of Map.groupBy(all, (each) => each.signal)) {
    for (const { path } of others) problems.push({ path, message: `two signals are called \`${signal}\`` });
  }
  for (const { signal, path } of all) {
    if (signal !== GAP) continue;
    problems.push({ path, message: `\`${GAP}\` stands for gap records in topics; choose another name` });
  }
  return problems;
}
