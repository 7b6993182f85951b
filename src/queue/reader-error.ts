/** An error on its way from a thread that reads the store to the one that asked. */
import { type ErrorCode, errorText, HoldfastError, isHoldfastError } from "../core/errors.ts";
import { markSuspect } from "./damaged-folder.ts";

export interface ReaderError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Record<string, unknown>;
}

/** Damage is noted beside the store too: the next start looks at all of it. */
export function describe(error: unknown, dataDir: string): ReaderError {
  if (isHoldfastError(error))
    return { code: error.code, message: error.message, details: { ...error.details } };
  if (!String((error as { code?: unknown }).code).startsWith("SQLITE_CORRUPT")) {
    return { code: "HF_INTERNAL", message: errorText(error), details: {} };
  }
  markSuspect(dataDir, errorText(error));
  return {
    code: "HF_STORE_DAMAGED",
    message: `the store is damaged: ${errorText(error)}`,
    details: { dataDir },
  };
}

export function revive({ code, message, details }: ReaderError): HoldfastError {
  return new HoldfastError(code, message, details);
}
