/** Errors over HTTP: problem details (RFC 9457) with the same codes, sentences and hints as everywhere else. */
import { z } from "zod";
import { ERRORS, type ErrorCode, HoldfastError } from "../core/errors.ts";

export const PROBLEM_TYPE = "application/problem+json";

export const problemShape = () =>
  z.object({
    type: z.string().describe("`urn:holdfast:error:HF_…`; docs/errors.md has a section for each."),
    title: z.string().describe("The same for every problem of this status."),
    status: z.int(),
    detail: z.string().describe("What happened here."),
    code: z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]),
    hint: z.string().describe("What to do."),
    details: z
      .record(z.string(), z.unknown())
      .describe("Facts for programs, such as which parameter was wrong."),
  });

export type ProblemDetails = Readonly<z.output<ReturnType<typeof problemShape>>>;

const STATUS: Partial<Record<ErrorCode, number>> = {
  HF_REQUEST: 400,
  HF_USAGE: 400,
  HF_MESSAGE_INVALID: 422,
  HF_UNROUTED: 422,
  HF_COMMAND_REFUSED: 422,
  HF_COMMAND_STATE: 409,
  HF_DELIVERY_STATE: 409,
  HF_CANNOT_ASK: 422,
  HF_PAUSED_BY_CONFIG: 409,
  HF_JOB_STATE: 409,
  HF_TOKEN_EXISTS: 409,
  HF_EXPORT_STATE: 409,
  HF_IMPORT: 422,
  HF_FORBIDDEN: 403,
  HF_UNAUTHENTICATED: 401,
  HF_ROLE: 403,
  HF_KEY_TAKEN: 409,
  HF_KEY_REUSED: 422,
  HF_TOO_MANY: 429,
  HF_NOT_FOUND: 404,
  HF_GATEWAY_DOWN: 503,
  HF_STORE_FULL: 503,
  HF_SCRATCH: 503,
  HF_STORE_IO: 503,
  HF_STORE_LOCKED: 503,
  HF_STORE_DAMAGED: 503,
  HF_STORE_DENIED: 503,
};

const TITLES: Record<number, string> = {
  400: "The request is wrong",
  401: "Who are you?",
  403: "Not allowed",
  404: "There is no such thing",
  408: "The request took too long",
  409: "Not in this state",
  413: "The request is too large",
  414: "The path is too long",
  415: "The request is of another kind than is taken",
  422: "It is not acceptable",
  429: "Too many requests",
  431: "The headers are too long",
  500: "A defect in Holdfast",
  503: "Not now",
};

/** What the library says may repeat a whole request. */
const DETAIL_CHARS_MAX = 300;

/** Any error as problem details. What has no code is a defect, and its text is kept from the network. */
export function problemOf(thrown: unknown): ProblemDetails {
  const { error, status } = classify(thrown);
  return {
    type: `urn:holdfast:error:${error.code}`,
    title: TITLES[status] ?? "It did not work",
    status,
    detail: error.message,
    code: error.code,
    hint: error.hint,
    details: error.code === "HF_INTERNAL" ? {} : error.details,
  };
}

function classify(thrown: unknown): { error: HoldfastError; status: number } {
  if (thrown instanceof HoldfastError) return { error: thrown, status: STATUS[thrown.code] ?? 500 };
  const status = (thrown as { statusCode?: unknown } | null)?.statusCode;
  // What the HTTP library refuses by itself: a body that is too large, or no JSON, or a bad path.
  if (typeof status === "number" && status >= 400 && status < 500) {
    const { message } = thrown as Error;
    return { error: new HoldfastError("HF_REQUEST", message.slice(0, DETAIL_CHARS_MAX)), status };
  }
  return { error: new HoldfastError("HF_INTERNAL", "an unexpected error; the log has it"), status: 500 };
}
