/** Documents and manifests: links that lead somewhere, versions that are exact, nothing of one machine. */
import { posix } from "node:path";
import type { TextFile } from "./source-tree.ts";

/** Spelt in pieces so that this file does not complain about itself. */
const MACHINE_TRACES: readonly [string, RegExp][] = [
  ["a path of one machine", new RegExp(`(?<![\\w.-])/${"work"}/`)],
  ["a registry's host", new RegExp(`registry\\.${"npmjs"}`)],
  ["where a package was fetched from", new RegExp(`"${"resolved"}":`)],
];

/** Links of a Markdown file that lead to no file, or to no heading of it. Addresses elsewhere are not tried. */
export function linkComplaints(file: TextFile, tree: readonly TextFile[]): string[] {
  if (!file.path.endsWith(".md")) return [];
  const prose = withoutCode(file.text);
  return [...prose.matchAll(/\]\(([^)\s]+)(?:\s+"[^"]*")?\)/g)].flatMap(([, link = ""]) => {
    if (/^[a-z]+:/.test(link)) return [];
    const [name = "", anchor] = link.split("#");
    const path = name === "" ? file.path : posix.normalize(posix.join(posix.dirname(file.path), name));
    const target = tree.find((each) => each.path === path);
    const isFolder = tree.some((each) => each.path.startsWith(`${path.replace(/\/$/, "")}/`));
    if (!target) return isFolder ? [] : [`${file.path}: the link ${link} leads to no file`];
    if (anchor === undefined || !path.endsWith(".md")) return [];
    return anchorsOf(target).includes(anchor) ? [] : [`${file.path}: the link ${link} leads to no heading`];
  });
}

/** Each file of config/ is mentioned in some document. */
export function unmentionedConfigs(tree: readonly TextFile[]): string[] {
  const documents = tree.filter((file) => file.path.endsWith(".md"));
  return tree
    .filter((file) => /^config\/[^/]+\.yaml$/.test(file.path))
    .filter((file) => !documents.some((each) => each.text.includes(posix.basename(file.path))))
    .map((file) => `${file.path}: no document mentions it`);
}

export function machineComplaints(file: TextFile): string[] {
  return file.text
    .split("\n")
    .flatMap((line, at) =>
      MACHINE_TRACES.filter(([, trace]) => trace.test(line)).map(
        ([what]) => `${file.path}:${at + 1}: ${what}`,
      ),
    );
}

export function versionComplaints(file: TextFile): string[] {
  if (posix.basename(file.path) !== "package.json") return [];
  const manifest = JSON.parse(file.text) as Record<string, unknown>;
  return ["dependencies", "devDependencies", "optionalDependencies"].flatMap((group) =>
    Object.entries((manifest[group] ?? {}) as Record<string, string>)
      .filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))
      .map(([name, version]) => `${file.path}: ${name} is "${version}", not one exact version`),
  );
}

function withoutCode(markdown: string): string {
  return markdown.replace(/^(```|~~~)[\s\S]*?^\1/gm, "").replace(/`[^`\n]*`/g, "");
}

/** The anchors that a page makes of its headings: lower case, dashes for spaces, counted where repeated. */
function anchorsOf(file: TextFile): string[] {
  const seen = new Map<string, number>();
  const prose = file.text.replace(/^(```|~~~)[\s\S]*?^\1/gm, "");
  return [...prose.matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm)].map(([, heading = ""]) => {
    const words = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    const slug = words.replace(/[^\p{L}\p{N}\s_-]/gu, "").replace(/\s/g, "-");
    const times = seen.get(slug) ?? 0;
    seen.set(slug, times + 1);
    return times === 0 ? slug : `${slug}-${times}`;
  });
}
