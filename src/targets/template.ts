/**
 * Templates for topics and URLs: `{topic}`, `{device}`, `{gateway}`, `{flow}`, `{id}` stand for the
 * message's own; everything else is itself.
 */
import { z } from "zod";
import type { TargetDelivery } from "./target.ts";

export const PLACEHOLDERS = ["topic", "device", "gateway", "flow", "id"] as const;
export type Placeholder = (typeof PLACEHOLDERS)[number];

/** Why `text` is no template, or null where it is one. */
export function templateProblem(text: string, allowed: readonly string[] = PLACEHOLDERS): string | null {
  for (const [whole, name] of text.matchAll(/\{([^{}]*)\}/g)) {
    if (!allowed.includes(name!)) {
      const known = allowed.map((each) => `{${each}}`).join(", ");
      return `${whole} is not known here; known: ${known}`;
    }
  }
  return /[{}]/.test(text.replaceAll(/\{[^{}]*\}/g, "")) ? "it has a brace without its partner" : null;
}

export const template = (allowed: readonly string[] = PLACEHOLDERS) =>
  z
    .string()
    .min(1)
    .superRefine((text, context) => {
      const problem = templateProblem(text, allowed);
      if (problem) context.addIssue({ code: "custom", message: problem, input: text });
    });

export type TemplateValues = Readonly<Record<Placeholder, string>>;

export function templateValues(delivery: TargetDelivery, gateway: string): TemplateValues {
  const { message, flow } = delivery;
  return { topic: message.topic, device: message.device, gateway, flow, id: message.id };
}

/** A template taken apart once, filled in for each message. */
export class Template {
  readonly #literals: string[] = [];
  readonly #names: Placeholder[] = [];

  constructor(text: string) {
    const problem = templateProblem(text);
    if (problem) throw new Error(`template ${JSON.stringify(text)}: ${problem}`);
    let from = 0;
    for (const match of text.matchAll(/\{([^{}]*)\}/g)) {
      this.#literals.push(text.slice(from, match.index));
      this.#names.push(match[1] as Placeholder);
      from = match.index + match[0].length;
    }
    this.#literals.push(text.slice(from));
  }

  /** True where every message gives the same text. */
  get constant(): boolean {
    return this.#names.length === 0;
  }

  uses(name: Placeholder): boolean {
    return this.#names.includes(name);
  }

  render(values: TemplateValues, encode: (value: string, name: Placeholder) => string): string {
    let text = this.#literals[0]!;
    for (const [at, name] of this.#names.entries()) {
      text += encode(values[name], name) + this.#literals[at + 1]!;
    }
    return text;
  }
}
