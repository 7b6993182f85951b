/**
 * Regular expressions of the config, run on what machines send. Pure.
 *
 * Promise: no pattern can hang the gateway, whatever it is and whatever comes: each runs in V8's engine for
 * linear time (flag `l`), where a match costs the frame's length times the pattern's, both bounded. The usual
 * engine needs seconds for `^(a+)+$` on forty characters, and hours for sixty.
 *
 * Traded away: what cannot be had in linear time (lookahead, backreferences, `(a{9}){9}`) is refused when the
 * config is read. The engine has to be switched on, for good; that lets `l` be used and changes nothing else but that
 * V8 takes no code any more that was compiled before: so it is switched on with the first pattern, where there is one.
 */
import { setFlagsFromString } from "node:v8";

export const PATTERN_CHARS_MAX = 500;

let isOn = false;

/** Throws where the text is no pattern, or none for linear time. */
export function linearPattern(source: string): RegExp {
  if (!isOn) setFlagsFromString("--enable-experimental-regexp-engine");
  isOn = true;
  return new RegExp(source, "l");
}

/** Why `source` cannot be used; null where it can. */
export function patternProblem(source: string): string | null {
  try {
    linearPattern(source);
    return null;
  } catch (error) {
    const why = (error as Error).message;
    if (why.includes("linear time")) {
      return "it cannot be run in linear time: no lookahead, no backreference, no repetition of a repetition by number";
    }
    return `it is no regular expression: ${why.slice(why.lastIndexOf("/l: ") + 4)}`;
  }
}

/** The names of its groups. */
export function groupNames(source: string): string[] {
  return [...source.matchAll(/\(\?<([\p{ID_Start}$_][\p{ID_Continue}$]*)>/gu)].map(([, name]) => name!);
}
