/**
 * Where a YAML text is nested too deeply, found before it is parsed: the parser's time grows with the square of
 * the depth, so that a few hundred kilobytes of `- - - -` or `[[[[` would keep it busy for minutes.
 *
 * Counts what can nest without taking room: brackets, and the marks `-`, `?` and `:` of one line outside of
 * brackets. What is nested by indentation takes as much text as the square of its depth, and is left to the reader.
 */
import { CST, Lexer } from "yaml";

/** The offset of the first bracket or mark beyond `depthMax`, or null. */
export function nestedTooDeeplyAt(text: string, depthMax: number): number | null {
  let at = 0;
  let brackets = 0;
  let marks = 0;
  let scalarNext = false;
  for (const token of new Lexer().lex(text)) {
    if (token === CST.SCALAR) {
      scalarNext = true;
      continue;
    }
    if (token === CST.DOCUMENT || token === CST.FLOW_END) continue;
    if (!scalarNext) {
      if (token === "[" || token === "{") brackets++;
      else if (token === "]" || token === "}") brackets = Math.max(0, brackets - 1);
      else if (token === "\n" || token === "\r\n") marks = 0;
      else if (brackets === 0 && (token === "-" || token === "?" || token === ":")) marks++;
      if (brackets > depthMax || marks > depthMax) return at;
    }
    scalarNext = false;
    at += token.length;
  }
  return null;
}
