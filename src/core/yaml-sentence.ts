/** What is wrong with a YAML text, said to somebody who does not know YAML's own words. */
import type { YAMLError } from "yaml";

export function yamlSentence(error: YAMLError, text: string): string {
  const [start] = error.pos;
  switch (error.code) {
    case "TAB_AS_INDENT":
      return "a tab indents this line; YAML takes spaces only";
    case "BAD_INDENT":
      return error.message.startsWith("Flow")
        ? "a list or map that was opened with [ or { is not closed, or goes on at the left margin"
        : "this line is indented differently from the others of its group";
    case "MULTIPLE_DOCS":
      return "a second document begins here (---); one file holds one config";
    case "BAD_ALIAS":
      return "a value that begins with * must stand in quotes";
    case "BAD_SCALAR_START":
      return `a value cannot begin with ${text[start] ?? "this character"}; put it in quotes`;
    case "BLOCK_AS_IMPLICIT_KEY":
      return "a value with `: ` in it must stand in quotes";
    case "MULTILINE_IMPLICIT_KEY":
    case "MISSING_CHAR":
      return missingChar(error.message);
    case "RESOURCE_EXHAUSTION":
      return "nested too deeply";
    case "TAG_RESOLVE_FAILED":
      return `tags such as ${/![^\s]*/.exec(text.slice(start))?.[0] ?? "!this"} mean nothing here; for text that begins with ! use quotes`;
    case "UNEXPECTED_TOKEN":
      if (text[start] === "{" && text[start - 1] === "$") {
        return `\${…} inside { } or [ ] must stand in quotes`;
      }
      return `not valid YAML here: ${firstLower(error.message)}`;
    default:
      return `not valid YAML: ${firstLower(error.message)}`;
  }
}

function missingChar(message: string): string {
  if (message.includes("quote")) return "a closing quote is missing";
  if (message.startsWith("Implicit")) return "a `:` is missing after this key";
  return `not valid YAML: ${firstLower(message)}`;
}

const firstLower = (text: string) => text.charAt(0).toLowerCase() + text.slice(1);
