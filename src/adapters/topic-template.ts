/**
 * Topics of readings, in the fashion of ISA-95: `{site}/{area}/{line}/{device}/{signal}`. Everything that is not
 * a placeholder is itself.
 */
import { z } from "zod";
import { topicNameProblem } from "../core/topic.ts";

const PLACEHOLDERS = ["site", "area", "line", "device", "group", "signal"] as const;
type Placeholder = (typeof PLACEHOLDERS)[number];

export type TopicValues = Readonly<Partial<Record<Placeholder, string>>>;

export const topicTemplate = z.string().superRefine((text, context) => {
  const problem = templateProblem(text);
  if (problem) context.addIssue({ code: "custom", message: problem, input: text });
});

/** One level of a topic: what a place or a signal may be called. */
export const topicLevel = z
  .string()
  .regex(
    /^[^/+#{}\p{Cc}\ufffd]{1,64}$/u,
    "expected one level of a topic: at most 64 characters, no / + # { }",
  );

/** Which of the placeholders of `text` have no value. */
export function missingValues(text: string, values: TopicValues): Placeholder[] {
  return placeholdersOf(text).filter((name) => values[name] === undefined);
}

export function usesSignal(text: string): boolean {
  return placeholdersOf(text).includes("signal");
}

export function renderTopic(text: string, values: TopicValues): string {
  return text.replaceAll(/\{([a-z]+)\}/g, (_, name: Placeholder) => values[name] ?? "");
}

function placeholdersOf(text: string): Placeholder[] {
  return [...text.matchAll(/\{([a-z]+)\}/g)].map(([, name]) => name as Placeholder);
}

function templateProblem(text: string): string | null {
  for (const [whole, name] of text.matchAll(/\{([^{}]*)\}/g)) {
    if (!PLACEHOLDERS.includes(name as Placeholder)) {
      return `${whole} is not known here; known: ${PLACEHOLDERS.map((each) => `{${each}}`).join(", ")}`;
    }
  }
  const filled = text.replaceAll(/\{[^{}]*\}/g, "x");
  if (/[{}]/.test(filled)) return "it has a brace without its partner";
  const problem = topicNameProblem(filled);
  return problem === null ? null : `it makes no topic: ${problem}`;
}
