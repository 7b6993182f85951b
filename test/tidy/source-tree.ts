/** The checkout as the tidy checks see it: paths, texts, and of TypeScript files what the parser says. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAst } from "vitest/node";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A file by its path from the root of the checkout, with forward slashes. */
export interface TextFile {
  readonly path: string;
  readonly text: string;
}

/** Something that one file says of another: an import in any form, or a URL beside it (a worker's file). */
export interface Reference {
  readonly specifier: string;
  readonly kind: "import" | "url";
  readonly line: number;
}

/** A node of the syntax tree, as loosely as the checks need it. */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly [key: string]: unknown;
}

export interface SourceFile extends TextFile {
  readonly references: readonly Reference[];
  /** Texts of all string literals. */
  readonly strings: readonly string[];
  /** Every node, parents before children. */
  readonly nodes: readonly SyntaxNode[];
  lineOf(node: SyntaxNode): number;
}

/** Made by tools, by running, or not ours. */
const NOT_LOOKED_AT = new Set([".git", "node_modules", "dist", "data", "coverage"]);

const BINARY = /\.(png|jpg|ico|gz|db|woff2|wasm)$/;

export function readTree(): TextFile[] {
  const files: TextFile[] = [];
  const walk = (folder: string) => {
    for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
      if (NOT_LOOKED_AT.has(entry.name) || entry.name.endsWith(".tmp")) continue;
      const path = posix.join(folder, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (entry.isFile() && !BINARY.test(path)) {
        files.push({ path, text: readFileSync(join(ROOT, path), "utf8") });
      }
    }
  };
  walk("");
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

export function parseSource({ path, text }: TextFile): SourceFile {
  const nodes: SyntaxNode[] = [];
  collect(parseAst(text, { lang: path.endsWith("x") ? "tsx" : "ts" }, path), nodes);
  const lineOf = (node: SyntaxNode) => text.slice(0, node.start).split("\n").length;
  const references: Reference[] = [];
  for (const node of nodes) {
    for (const [kind, specifier] of referencesOf(node)) {
      references.push({ kind, specifier, line: lineOf(node) });
    }
  }
  return { path, text, nodes, references, strings: nodes.flatMap(literal), lineOf };
}

/** The path that a relative specifier in `from` means. */
export function resolveFrom(from: string, specifier: string): string {
  return posix.normalize(posix.join(dirname(from), specifier));
}

function collect(value: unknown, into: SyntaxNode[]): void {
  if (Array.isArray(value)) {
    for (const each of value) collect(each, into);
  } else if (value !== null && typeof value === "object") {
    if ("type" in value && typeof value.type === "string") into.push(value as unknown as SyntaxNode);
    for (const each of Object.values(value)) collect(each, into);
  }
}

function literal(node: SyntaxNode | undefined): string[] {
  return node?.type === "Literal" && typeof node.value === "string" ? [node.value] : [];
}

/** `./store-thread.${ending}`, for code that runs from .ts and from .js alike: the source is the .ts. */
function eitherEnding(node: SyntaxNode): string[] {
  if (node.type !== "TemplateLiteral") return [];
  const [before, after, ...more] = (node.quasis as { value: { cooked: string } }[]).map(
    (each) => each.value.cooked,
  );
  return before?.endsWith(".") && after === "" && more.length === 0 ? [`${before}ts`] : [];
}

function referencesOf(node: SyntaxNode): ["import" | "url", string][] {
  switch (node.type) {
    case "ImportDeclaration":
    case "ExportNamedDeclaration":
    case "ExportAllDeclaration":
    case "ImportExpression":
    case "TSImportType":
      return literal(node.source as SyntaxNode).map((text) => ["import", text]);
    case "NewExpression": {
      // new URL("./x-thread.ts", import.meta.url), where the name may be chosen between spellings.
      if ((node.callee as SyntaxNode).name !== "URL") return [];
      const inside: SyntaxNode[] = [];
      collect((node.arguments as SyntaxNode[])[0], inside);
      return inside
        .flatMap((each) => [...literal(each), ...eitherEnding(each)])
        .filter((text) => text.startsWith(".") && text.endsWith(".ts") && text !== ".ts")
        .map((text) => ["url", text]);
    }
    default:
      return [];
  }
}
