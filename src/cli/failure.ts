/** How a command says that it failed: what happened, what to do, and an exit code; under --json as one value. */
import { ERRORS, errorText, HoldfastError } from "../core/errors.ts";
import type { CliIo } from "./io.ts";

/** Anything thrown, as an error with a code: what has none is a defect of ours. */
export function asHoldfastError(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  return new HoldfastError("HF_INTERNAL", errorText(error), {}, error);
}

/**
 * Prints the failure and returns the exit code that goes with it. Under --json the error is the command's
 * answer, so it goes to standard output: `{"error":{"code","message","hint","details"}}`.
 */
export function reportFailure(io: CliIo, thrown: unknown): number {
  const error = asHoldfastError(thrown);
  const { code, message, hint, details } = error;
  if (io.json) {
    io.printJson({ error: { code, message, hint, details } });
  } else {
    io.note(`${io.paint("red", "holdfast:")} ${message}\n  what to do: ${hint}`);
  }
  if (code === "HF_INTERNAL") {
    const stack = (error.cause instanceof Error ? error.cause : error).stack;
    if (stack) io.note(stack);
  }
  return error.exitCode;
}

/** What the numbers of sysexits.h mean here. */
const MEANINGS: Readonly<Record<number, string>> = {
  64: "the command line is wrong",
  65: "a message or its data is not acceptable",
  66: "there is no such thing",
  69: "something that is needed is not available",
  70: "a defect in Holdfast",
  74: "the disk, or the store on it, failed",
  75: "not now; it may work later",
  77: "not permitted",
  78: "what was configured must be corrected first",
};

/** All exit codes in order: the catalogue of errors by number, and what is no error. */
export function exitCodes(): { readonly code: number; readonly meaning: string }[] {
  const byNumber = Map.groupBy(Object.entries(ERRORS), ([, kind]) => kind.exitCode);
  const failures = [...byNumber]
    .toSorted(([a], [b]) => a - b)
    .map(([code, kinds]) => ({
      code: code as number,
      meaning: `${MEANINGS[code] ?? "an error"}: ${kinds.map(([name]) => name).join(", ")}`,
    }));
  return [
    { code: 0, meaning: "done, and the answer is good" },
    { code: 1, meaning: "done, and the answer is no: the oracle is not satisfied, the gateway is not well" },
    ...failures,
  ];
}
