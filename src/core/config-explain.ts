/**
 * What a schema found wrong with a config, said to the person who wrote it: the place, what was found, what is
 * allowed, and what was probably meant. Never says a secret, nor what a `${…}` stands for.
 */
import type { core } from "zod";
import { type ConfigText, type Path, type Problem, pathText } from "./config-text.ts";
import { nearMiss } from "./near-miss.ts";
import { withoutPassword } from "./redact.ts";
import { safeParse } from "./safe-parse.ts";
import { bareSchemas, defOf, isSecretAt, knownKeys, type Schema, schemasAt, valueAt } from "./schema-walk.ts";
import { allowedWords, choicesOf, oneOf } from "./schema-words.ts";

type Issue = core.$ZodIssue;

export interface Checked<T> {
  readonly data: T | undefined;
  /** The value as read, with filled-in numbers as numbers. */
  readonly value: unknown;
  readonly problems: readonly Problem[];
}

const FOUND_CHARS_MAX = 60;
/** Explaining one takes a search for what was meant; nobody reads on after so many. */
const PROBLEMS_EXPLAINED_MAX = 200;
/** How many keys are named where an unknown one has no near miss. */
const KEYS_NAMED_MAX = 16;

/** Holds a text's value against a schema. A text without any (empty, or all comments) is an empty map. */
export function checkAgainst<T extends Schema>(schema: T, text: ConfigText): Checked<core.output<T>> {
  // Without zod's own sentences: an issue has a message only where the schema's author wrote one.
  const parse = (value: unknown) => safeParse(schema, value, { error: () => "" });
  let value = text.value ?? {};
  let result = parse(value);
  const readings = result.success ? [] : misreadPaths(result.error.issues, text);
  if (readings.length > 0) {
    value = structuredClone(value);
    for (const path of readings) putAt(value, path, text.filled(path)!.reading);
    result = parse(value);
  }
  if (result.success) return { data: result.data, value, problems: [] };
  const explainer = new Explainer(schema, text, value);
  const problems: Problem[] = [];
  for (const issue of result.error.issues) {
    if (problems.length >= PROBLEMS_EXPLAINED_MAX) break;
    problems.push(...explainer.explain(issue));
  }
  return { data: undefined, value, problems };
}

/** Where text from a variable stands, unquoted, and the schema might rather take the number it spells. */
function misreadPaths(issues: readonly Issue[], text: ConfigText): Path[] {
  return issues.map((issue) => issue.path as Path).filter((path) => text.filled(path)?.reading !== undefined);
}

function putAt(root: unknown, path: Path, value: unknown): void {
  const holder = valueAt(root, path.slice(0, -1)) as Record<string | number, unknown>;
  holder[path.at(-1)!] = value;
}

class Explainer {
  readonly #root: Schema;
  readonly #text: ConfigText;
  readonly #value: unknown;

  constructor(root: Schema, text: ConfigText, value: unknown) {
    this.#root = root;
    this.#text = text;
    this.#value = value;
  }

  explain(issue: Issue, above: Path = []): Problem[] {
    const path = [...above, ...(issue.path as Path)];
    switch (issue.code) {
      case "unrecognized_keys":
        return issue.keys.slice(0, PROBLEMS_EXPLAINED_MAX).map((key) => this.#unknownKey(path, key));
      case "invalid_union":
        return this.#noOption(issue, path);
      case "invalid_key":
        return [this.#at("key", path, `the name \`${path.at(-1)}\`: ${this.#nameWords(issue.issues, path)}`)];
      case "invalid_element":
        return issue.issues.flatMap((inner) => this.explain(inner, path));
      default:
        return [this.#wrongValue(issue, path)];
    }
  }

  #at(which: "key" | "value", path: Path, message: string): Problem {
    const place = which === "key" ? this.#text.keyPlace(path) : this.#text.valuePlace(path);
    return { ...place, path, message };
  }

  #unknownKey(path: Path, key: string): Problem {
    const known = knownKeys(schemasAt(this.#root, path, this.#value), valueAt(this.#value, path));
    const meant = nearMiss(key, known) ?? nearMissElsewhere(this.#root, key);
    const hint = meant === null ? `; allowed here: ${listKeys(known)}` : `; did you mean \`${meant}\`?`;
    return this.#at("key", [...path, key], `unknown key \`${key}\`${hint}`);
  }

  /** Takes the option that the value comes nearest to: not of another type altogether, then fewest issues. */
  #noOption(issue: core.$ZodIssueInvalidUnion, path: Path): Problem[] {
    if ("discriminator" in issue && issue.discriminator !== undefined) return [this.#wrongValue(issue, path)];
    const near = issue.errors
      .filter((errors) => !errors.some((inner) => inner.path.length === 0 && isTypeIssue(inner)))
      .toSorted((a, b) => a.length - b.length)[0];
    return near ? near.flatMap((inner) => this.explain(inner, path)) : [this.#wrongValue(issue, path)];
  }

  #wrongValue(issue: Issue, path: Path): Problem {
    const schemas = schemasAt(this.#root, path, this.#value);
    const found = valueAt(this.#value, path);
    const allowed = allowedText(issue, schemas);
    if (issue.message !== "") return this.#authorsWords(issue, path, found);
    if (found === undefined) {
      return this.#at("key", path, `\`${path.at(-1)}\` is missing; allowed is ${allowed}`);
    }
    return this.#at(
      "value",
      path,
      `found ${this.#found(path, found)}; allowed is ${allowed}${this.#advice(issue, path, found, schemas)}`,
    );
  }

  /** The schema's author said it better than could be made up here. */
  #authorsWords(issue: Issue, path: Path, found: unknown): Problem {
    if (found === undefined) {
      const missing = issue.code === "custom" ? "" : `\`${path.at(-1)}\` is missing: `;
      return this.#at("key", path, missing + issue.message);
    }
    if (isHolder(found)) return this.#at("value", path, issue.message);
    const meant = typeof found === "string" ? nearMiss(found, optionsOf(issue) ?? []) : null;
    const hint = meant === null || this.#text.filled(path) ? "" : `; did you mean \`${meant}\`?`;
    return this.#at("value", path, `found ${this.#found(path, found)}: ${issue.message}${hint}`);
  }

  #advice(issue: Issue, path: Path, found: unknown, schemas: readonly Schema[]): string {
    if (found === null && this.#text.lostToComment(path)) {
      return "; a # after a space begins a comment, so put the value in quotes";
    }
    const filled = this.#text.filled(path) !== undefined;
    if (issue.code === "invalid_type" && issue.expected === "string" && !isHolder(found) && !filled) {
      return found === null ? "" : "; put it in quotes to make it text";
    }
    if (typeof found !== "string" || filled || isSecretAt(this.#root, path, this.#value)) return "";
    if (issue.code === "invalid_type" && issue.expected === "boolean") {
      if (/^(yes|on|y)$/i.test(found)) return "; did you mean `true`?";
      if (/^(no|off|n)$/i.test(found)) return "; did you mean `false`?";
    }
    if (issue.code === "invalid_type" && /^(number|int)$/.test(issue.expected) && /^[\d.]+$/.test(found)) {
      return "; leave the quotes out to make it a number";
    }
    const meant = nearMiss(found, optionsOf(issue) ?? choicesOf(schemas) ?? []);
    return meant === null ? "" : `; did you mean \`${meant}\`?`;
  }

  #found(path: Path, value: unknown): string {
    const filled = this.#text.filled(path);
    const secret = isSecretAt(this.#root, path, this.#value);
    // A number where the schema knows of no secret: the operator needs it, and nobody puts a password there.
    if (filled && typeof value === "number" && !filled.fromFile && !secret) {
      return `${value} (from ${filled.written})`;
    }
    if (filled) return `what ${filled.written} stands for (${value === "" ? "nothing" : "not shown"})`;
    if (secret) return "a secret (not shown)";
    return foundText(value);
  }

  #nameWords(issues: readonly Issue[], path: Path): string {
    const said = issues.map((issue) => issue.message).find((message) => message !== "");
    if (said) return said;
    const record = schemasAt(this.#root, path.slice(0, -1), this.#value).flatMap((each) => bareSchemas(each));
    const keyType = record.map((schema) => defOf(schema).keyType).find((type) => type !== undefined);
    return `allowed is ${keyType ? allowedText(issues[0]!, [keyType]) : "another name"}`;
  }
}

/** What an operator would see in the file. */
export function foundText(value: unknown): string {
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a map";
  if (typeof value !== "string") return String(value);
  const text = withoutPassword(value);
  return JSON.stringify(text.length > FOUND_CHARS_MAX ? `${text.slice(0, FOUND_CHARS_MAX)}…` : text);
}

const isHolder = (value: unknown) => typeof value === "object" && value !== null;
const isTypeIssue = (issue: Issue) => issue.code === "invalid_type" || issue.code === "invalid_union";

/** The discriminators of a union that none of them fitted. */
function optionsOf(issue: Issue): string[] | null {
  return issue.code === "invalid_union" && "options" in issue ? (issue.options ?? []).map(String) : null;
}

function allowedText(issue: Issue, schemas: readonly Schema[]): string {
  const options = optionsOf(issue);
  if (options) return oneOf(options);
  if (issue.code === "too_small" && issue.origin === "string" && issue.minimum === 1) {
    return "text that is not empty";
  }
  if (issue.code === "invalid_format" && issue.pattern && issue.format === "regex") {
    return `text that matches ${issue.pattern}`;
  }
  if (issue.code === "not_multiple_of") return `a multiple of ${issue.divisor}`;
  return [...new Set(schemas.map(allowedWords))].join(", or ") || "something else";
}

function listKeys(keys: readonly string[]): string {
  if (keys.length === 0) return "none";
  return keys.slice(0, KEYS_NAMED_MAX).join(", ") + (keys.length > KEYS_NAMED_MAX ? ", …" : "");
}

/** A key that stands one level too high: `listeners` where `broker.listeners` is meant. */
function nearMissElsewhere(root: Schema, key: string): string | null {
  const holders = knownKeys([root]).filter((outer) => knownKeys(schemasAt(root, [outer], {})).includes(key));
  return holders.length === 1 ? pathText([holders[0]!, key]) : null;
}
