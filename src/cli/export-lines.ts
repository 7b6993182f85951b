/**
 * An export's file, read line by line with bounded memory. Throws HF_IMPORT with file and line for what is no such
 * file, is cut off, or is not what was exported.
 */
import { createReadStream, existsSync } from "node:fs";
import { createInterface } from "node:readline";
import type { z } from "zod";
import { errorText, HoldfastError } from "../core/errors.ts";
import { chained, messageProblem } from "../core/export-content.ts";
import {
  EXPORT_FORMAT,
  EXPORT_FORMAT_VERSION,
  type ExportEnd,
  type ExportHead,
  type ExportMessage,
  exportEnd,
  exportHead,
  exportMessage,
} from "../core/export-file.ts";
import { counted } from "../core/plain-words.ts";
import { safeParse } from "../core/safe-parse.ts";

/** Of one line: a payload of 16 MiB in base64, with an edit of it. */
const LINE_CHARS_MAX = 64 * 2 ** 20;

export type ExportPart =
  | { readonly kind: "head"; readonly head: ExportHead }
  | { readonly kind: "message"; readonly message: ExportMessage; readonly line: number }
  | { readonly kind: "end"; readonly end: ExportEnd };

export async function* partsOf(file: string): AsyncGenerator<ExportPart> {
  if (!existsSync(file)) throw new HoldfastError("HF_NOT_FOUND", `there is no file ${file}`, { file });
  const lines = createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY });
  let head: ExportHead | undefined;
  let end: ExportEnd | undefined;
  let count = 0;
  let sum = "";
  let at = 0;
  const wrong = (problem: string) =>
    new HoldfastError("HF_IMPORT", `${file}, line ${at}: ${problem}`, { file, line: at });
  for await (const text of lines) {
    at += 1;
    if (text.trim() === "") continue;
    if (text.length > LINE_CHARS_MAX) throw wrong("it is too long for a message");
    const value = parsed(text, wrong);
    if (end) throw wrong("something follows the end of the export");
    if (!head) {
      head = headOf(value, wrong);
      sum = head.export;
      yield { kind: "head", head };
    } else if (isObject(value) && value.end === true) {
      end = fitting(exportEnd, value, wrong);
      if (end.count !== count)
        throw wrong(
          `the end speaks of ${counted(end.count, "message")}, and the file has ${counted(count, "message")}`,
        );
      if (end.sum !== sum)
        throw wrong("the sum of all lines is another one: they are not those that were exported");
      yield { kind: "end", end };
    } else {
      const message = fitting(exportMessage, value, wrong);
      const problem = messageProblem(message);
      if (problem) throw wrong(`message ${message.id}: ${problem}`);
      count += 1;
      sum = chained(sum, message.sum);
      yield { kind: "message", message, line: at };
    }
  }
  if (!head) throw new HoldfastError("HF_IMPORT", `${file} is empty`, { file });
  if (!end) {
    const message = `${file} is cut off after line ${at} (${counted(count, "message")}): its last line is missing`;
    throw new HoldfastError("HF_IMPORT", message, { file, line: at });
  }
}

function parsed(text: string, wrong: (problem: string) => HoldfastError): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw wrong(`it is no JSON, or was cut off (${errorText(error)})`);
  }
}

function headOf(value: unknown, wrong: (problem: string) => HoldfastError): ExportHead {
  if (!isObject(value) || value.format !== EXPORT_FORMAT) {
    throw wrong(`this is no export of Holdfast: its first line has no "format": "${EXPORT_FORMAT}"`);
  }
  if (value.version !== EXPORT_FORMAT_VERSION) {
    throw wrong(
      `it has version ${value.version} of the format, and this Holdfast reads ${EXPORT_FORMAT_VERSION}`,
    );
  }
  return fitting(exportHead, value, wrong);
}

function fitting<S extends z.ZodType>(
  schema: S,
  value: unknown,
  wrong: (problem: string) => HoldfastError,
): z.output<S> {
  const found = safeParse(schema, value);
  if (found.success) return found.data;
  const problems = found.error.issues.map(
    ({ path, message }) => `${path.join(".") || "the line"}: ${message}`,
  );
  throw wrong(problems.join("; "));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
