/** The config's reference for people: tables of every key, what it takes, its default and its meaning. */
import { bareSchemas, defOf, type Schema, schemaMeta } from "./schema-walk.ts";
import { allowedWords, defaultOf, isOptional } from "./schema-words.ts";

interface Row {
  readonly key: string;
  readonly takes: string;
  readonly fallback: string;
  readonly meaning: string;
}

interface Section {
  readonly title: string;
  readonly about: string;
  readonly rows: Row[];
}

/** One section per top-level key, as Markdown; the options of a target's type, and the like, in their own. */
export function schemaTables(root: Schema): string {
  return topSections(root).map(sectionText).join("\n");
}

function topSections(root: Schema): Section[] {
  const shape = defOf(bareSchemas(root)[0]!).shape ?? {};
  return Object.entries(shape).flatMap(([key, schema]) => {
    const section: Section = { title: `\`${key}\``, about: schemaMeta(schema).description ?? "", rows: [] };
    const tables: Tables = { rows: section.rows, later: [], cut: 0 };
    describeHolder(schema, key, tables);
    return [section, ...tables.later];
  });
}

interface Tables {
  readonly rows: Row[];
  /** Sections that come behind this one. */
  readonly later: Section[];
  /** How much of a key's path the section's title says already. */
  readonly cut: number;
}

/** Rows for what stands below `path`; variants told apart by a discriminator become sections of their own. */
function describeHolder(schema: Schema, path: string, tables: Tables): void {
  const bare = bareSchemas(schema);
  const discriminator = discriminatorOf(schema);
  if (discriminator !== undefined) {
    for (const option of bare) describeVariant(option, path, discriminator, tables);
    return;
  }
  const alternatives = bare.filter((each) => defOf(each).type === "object").length > 1;
  for (const each of bare) {
    const def = defOf(each);
    if (def.type === "object") {
      for (const [key, inner] of Object.entries(def.shape!)) {
        describeKey(inner, `${path}.${key}`, tables, alternatives);
      }
    } else if (def.type === "record") {
      describeHolder(def.valueType!, `${path}.<name>`, tables);
    } else if (def.type === "array") {
      describeHolder(def.element!, `${path}[]`, tables);
    }
  }
}

function describeVariant(option: Schema, path: string, discriminator: string, { later }: Tables): void {
  const values = [...(option._zod.propValues?.[discriminator] ?? [])].map(String).join(" or ");
  const section: Section = { title: `\`${path}\` with \`${discriminator}: ${values}\``, about: "", rows: [] };
  later.push(section);
  const tables: Tables = { rows: section.rows, later, cut: path.length + 1 };
  for (const [key, inner] of Object.entries(defOf(option).shape ?? {})) {
    if (key !== discriminator) describeKey(inner, `${path}.${key}`, tables, false);
  }
}

function describeKey(schema: Schema, path: string, tables: Tables, alternative: boolean): void {
  const key = path.slice(tables.cut);
  // Two shapes of one place may share a key: told once.
  if (tables.rows.some((row) => row.key === key)) return;
  const fallback = fallbackText(schema);
  tables.rows.push({
    key,
    takes: schemaMeta(schema).secret ? "text, kept secret" : allowedWords(schema),
    fallback: alternative && fallback === REQUIRED ? "one of these" : fallback,
    meaning: schemaMeta(schema).description ?? "",
  });
  describeHolder(schema, path, tables);
}

function discriminatorOf(schema: Schema): string | undefined {
  let inner: Schema | undefined = schema;
  while (inner) {
    const def = defOf(inner);
    if (def.discriminator !== undefined) return def.discriminator;
    inner = def.innerType ?? (def.type === "pipe" ? def.in : undefined);
  }
  return undefined;
}

const REQUIRED = "**required**";

function fallbackText(schema: Schema): string {
  const fallback = defaultOf(schema);
  if (!fallback) return isOptional(schema) ? "none" : REQUIRED;
  const { value } = fallback;
  // What is made of parts has its defaults beside the parts, or in its description.
  if (value !== null && typeof value === "object")
    return isEmpty(value) && Array.isArray(value) ? "`[]`" : "";
  const written = JSON.stringify(value);
  // A text without its quotes, unless there is nothing between them or what YAML reads in quotes alone: "\r\n".
  return `\`${typeof value === "string" && written === `"${value}"` && value !== "" ? value : written}\``;
}

const isEmpty = (value: object) => Object.keys(value).length === 0;

function sectionText({ title, about, rows }: Section): string {
  const lines = [`### ${title}`, ""];
  if (about) lines.push(about, "");
  if (rows.length > 0) {
    lines.push("| key | takes | default | meaning |", "| --- | --- | --- | --- |");
    for (const { key, takes, fallback, meaning } of rows) {
      lines.push(`| \`${key}\` | ${cell(takes)} | ${cell(fallback)} | ${cell(meaning)} |`);
    }
    lines.push("");
  }
  return lines.join("\n");
}

/** Safe inside a table: no cell ends early, and a `<` is no tag (inside `code` it is none anyway). */
function cell(text: string): string {
  const spans = text.replaceAll("|", "\\|").replaceAll("\n", " ").split("`");
  return spans.map((span, at) => (at % 2 === 0 ? span.replaceAll("<", "&lt;") : span)).join("`");
}
