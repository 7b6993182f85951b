/**
 * `${…}` in the config's values: what comes from the environment or from a secret file.
 *
 *     ${VAR}            the variable; it must be set
 *     ${VAR:-text}      the variable where it is set and not empty, else the text (which may be empty)
 *     ${file:/a/path}   what the file holds, without one line break at its end
 *     $${               a plain ${
 *
 * What was put in is never looked at again, so a password may hold any character. A `$` that no `{` follows
 * is itself. The values are secrets until proven otherwise: no problem text names them.
 */
import { resolve } from "node:path";
import { readTextFile } from "./text-file.ts";

export interface Sources {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Relative files are looked for from here. */
  readonly folder: string;
}

export interface Interpolated {
  readonly text: string;
  /** True where `${…}` stood in the text. */
  readonly changed: boolean;
  /** True where some of it came out of a file. */
  readonly fromFile: boolean;
  readonly problems: readonly string[];
}

/** A secret is a line or a key, not a data set. */
export const SECRET_FILE_BYTES_MAX = 64 * 2 ** 10;

const EXPRESSION = /\$\$\{|\$\{([^}]*)(\}?)/g;
const VARIABLE = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s;

export function interpolate(text: string, sources: Sources): Interpolated {
  const problems: string[] = [];
  let changed = false;
  let fromFile = false;
  const result = text.replaceAll(EXPRESSION, (written: string, inner: string | undefined, end: string) => {
    if (inner === undefined) return "${";
    changed = true;
    if (end === "") {
      problems.push(`${written} has no closing }; write $\${ for a plain \${`);
      return "";
    }
    if (inner.startsWith("file:")) {
      fromFile = true;
      return secretFile(written, inner.slice("file:".length), sources.folder, problems);
    }
    return variable(written, inner, sources.env, problems);
  });
  return { text: result, changed, fromFile, problems };
}

function variable(written: string, inner: string, env: Sources["env"], problems: string[]): string {
  if (inner.includes("${")) {
    problems.push(`${written} stands inside another \${…}, and they cannot be nested`);
    return "";
  }
  const match = VARIABLE.exec(inner);
  if (!match) {
    problems.push(
      `${written} is not understood; allowed are \${VAR}, \${VAR:-default} and \${file:/path}, and $\${ for a plain \${`,
    );
    return "";
  }
  const [, name, fallback] = match;
  const value = env[name!];
  if (fallback !== undefined) return value === undefined || value === "" ? fallback : value;
  if (value === undefined) {
    problems.push(`the environment variable ${name} is not set; set it, or give a default: \${${name}:-…}`);
  }
  return value ?? "";
}

function secretFile(written: string, name: string, folder: string, problems: string[]): string {
  const fail = (why: string) => {
    problems.push(`${written}: ${why}`);
    return "";
  };
  if (name.trim() === "") return fail("it names no file");
  const read = readTextFile(resolve(folder, name.trim()), SECRET_FILE_BYTES_MAX);
  if (read.kind === "problem") return fail(read.problem);
  const text = read.text.replace(/\r?\n$/, "");
  return text === "" ? fail("the file is empty") : text;
}
