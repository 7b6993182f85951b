/** Habits of the code: time and chance passed in, nothing left over, names that say something. */
import type { SourceFile, SyntaxNode, TextFile } from "./source-tree.ts";

export const LINES_AIM = 200;
export const LINES_MAX = 400;

/** The only files that touch the system's clocks and generators. */
const TIME_AND_CHANCE = ["src/core/clock.ts", "src/core/random.ts"];

/** What else may, and why. */
export const TIME_EXCEPTIONS: readonly { file: string; what: string; why: string }[] = [
  "Date.now",
  "performance.now",
  "setTimeout",
].map((what) => ({
  file: "src/web/console/browser-clock.ts",
  what,
  why: "the page's clocks are the browser's",
}));

const NAKED_MEMBERS = ["Date.now", "Math.random", "performance.now", "process.hrtime", "AbortSignal.timeout"];
const NAKED_CALLS = ["setTimeout", "setInterval"];
const NAKED_MODULES = ["node:timers", "node:timers/promises", "node:perf_hooks"];

/** Names that could stand for anything. */
const DRAWERS = "index types utils util helpers helper common misc lib shared stuff".split(" ");

// Spelt in two pieces so that this file does not complain about itself.
const LEFTOVERS = new RegExp(
  `\\b(${["TO", "FIX", "XX", "HA"].map((a, i) => a + ["DO", "ME", "X", "CK"][i]).join("|")})\\b`,
);

export function timeComplaints(file: SourceFile, used = new Set<string>()): string[] {
  if (!/^(src|simulators)\//.test(file.path) || TIME_AND_CHANCE.includes(file.path)) return [];
  // Simulators live in real time, but their chance has a seed.
  const counts = (what: string) => file.path.startsWith("src/") || what === "Math.random";
  const found: [SyntaxNode, string][] = [];
  for (const node of file.nodes) {
    const name = memberName(node);
    if (NAKED_MEMBERS.includes(name)) found.push([node, name]);
    if (node.type === "CallExpression" && NAKED_CALLS.includes(lastName(node.callee as SyntaxNode))) {
      found.push([node, lastName(node.callee as SyntaxNode)]);
    }
    if (node.type === "NewExpression" && (node.callee as SyntaxNode).name === "Date") {
      if ((node.arguments as unknown[]).length === 0) found.push([node, "new Date()"]);
    }
    if (node.type === "ImportDeclaration") {
      const module = String((node.source as SyntaxNode).value);
      if (NAKED_MODULES.includes(module)) found.push([node, module]);
    }
  }
  return found.flatMap(([node, what]) => {
    if (!counts(what)) return [];
    const exception = TIME_EXCEPTIONS.find((each) => each.file === file.path && each.what === what);
    if (exception) used.add(`${exception.file} ${exception.what}`);
    return exception
      ? []
      : [`${file.path}:${file.lineOf(node)}: ${what} instead of a Clock or Random passed in`];
  });
}

export function leftoverComplaints(file: TextFile): string[] {
  return file.text
    .split("\n")
    .flatMap((line, at) =>
      LEFTOVERS.test(line) ? [`${file.path}:${at + 1}: left over: ${LEFTOVERS.exec(line)?.[0]}`] : [],
    );
}

export function codeComplaints(file: SourceFile): string[] {
  const complaints: string[] = [];
  const complain = (node: SyntaxNode, words: string) =>
    complaints.push(`${file.path}:${file.lineOf(node)}: ${words}`);
  const mayPrint = !file.path.startsWith("src/") || /^src\/(main\.ts|cli\/)/.test(file.path);
  const isTest = file.path.startsWith("test/");
  const mayParse = isTest || file.path === "src/core/safe-parse.ts";
  for (const node of file.nodes) {
    if (node.type === "DebuggerStatement") complain(node, "debugger");
    if (node.type === "ExportDefaultDeclaration" && file.path.includes("/")) {
      complain(node, "a default export; exports are named here");
    }
    if (node.type === "MemberExpression" && !mayPrint && (node.object as SyntaxNode).name === "console") {
      complain(node, "console; the log is core/logger.ts, answers to people are printed by the cli");
    }
    if (
      node.type === "CallExpression" &&
      !mayParse &&
      chain(node.callee as SyntaxNode).includes(".safeParse")
    )
      complain(node, "a schema's own safeParse; core/safe-parse.ts bears whatever comes");
    if (node.type !== "CallExpression" || !isTest) continue;
    const callee = node.callee as SyntaxNode;
    // it.only("…"), and it.only.each(…)("…") through the chain.
    for (const word of ["only", "skip", "todo", "fails"]) {
      if (isTestChain(callee) && chain(callee).split(".").includes(word))
        complain(node, `a test with .${word}`);
    }
    if (callee.type === "MemberExpression" && /^(skipIf|runIf)$/.test(lastName(callee))) {
      const condition = file.text.slice(node.start, node.end as number);
      if (!condition.includes(".present") || !/\bcapability\(/.test(file.text)) {
        complain(node, `${lastName(callee)} without a capability, so that nobody is told what is skipped`);
      }
    }
  }
  return complaints;
}

export function nameComplaints({ path }: TextFile): string[] {
  if (!/^(src|simulators|test|tools|config)\//.test(path)) return [];
  const parts = path.split("/");
  const stems = parts.map((part) => part.replace(/(\.test|\.config)?\.[a-z0-9]+$/, ""));
  return stems.flatMap((stem, at) => {
    // npm chose this one.
    if (/^package(-lock)?\.json$/.test(parts[at] ?? "")) return [];
    return [
      ...(/^[a-z0-9]+(-[a-z0-9]+)*$/.test(stem) ? [] : [`${path}: "${parts[at]}" is not kebab-case`]),
      ...(DRAWERS.includes(stem) ? [`${path}: "${stem}" is a drawer, not a name`] : []),
    ];
  });
}

export function lengthOf({ text }: TextFile): number {
  return text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
}

export function lengthComplaints(file: TextFile): string[] {
  const lines = lengthOf(file);
  return lines > LINES_MAX
    ? [`${file.path}: ${lines} lines; ${LINES_MAX} is the most, ${LINES_AIM} the aim`]
    : [];
}

/** "Date.now" for that expression, also behind globalThis; "" for anything else. */
function memberName(node: SyntaxNode): string {
  return node.type === "MemberExpression" ? chain(node).replace(/^globalThis\./, "") : "";
}

function lastName(node: SyntaxNode): string {
  return chain(node).split(".").pop() ?? "";
}

function isTestChain(node: SyntaxNode): boolean {
  return /^(it|test|describe|suite)\./.test(chain(node));
}

/** "it.only.each" for that expression, through the calls inside it. */
function chain(node: SyntaxNode | undefined): string {
  if (!node) return "";
  if (node.type === "Identifier") return String(node.name);
  if (node.type === "MemberExpression") {
    return `${chain(node.object as SyntaxNode)}.${(node.property as SyntaxNode).name ?? ""}`;
  }
  if (node.type === "CallExpression") return chain(node.callee as SyntaxNode);
  return "";
}
