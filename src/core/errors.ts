/**
 * Errors an operator may meet: a stable code, what happened, and what to do. Told apart by code, never by
 * message text. The catalogue is one object, so that docs/errors.md can be held against it by a test.
 */
export interface ErrorKind {
  /** What to do, for the person who reads it. */
  readonly hint: string;
  /** Process exit code where this ends the process (sysexits.h numbers). */
  readonly exitCode: number;
}

export const ERRORS = {
  HF_CONFIG: {
    hint: "Correct the file at the place named; `holdfast config check` reads it without starting anything.",
    exitCode: 78,
  },
  HF_USAGE: { hint: "See `holdfast --help`.", exitCode: 64 },
  HF_OPEN_DOOR: {
    hint: "Add users under access.users (`holdfast user hash` makes the password line) or, for the HTTP door, a token (`holdfast token create`); or listen on 127.0.0.1.",
    exitCode: 78,
  },
  HF_PORT_IN_USE: {
    hint: "Stop the program that holds the port, or set another one in the config; port 0 picks a free one.",
    exitCode: 69,
  },
  HF_STORE_LOCKED: {
    hint: "Only one gateway may own a data folder. Stop the other one, or give this one its own with --data.",
    exitCode: 75,
  },
  HF_STORE_NEWER: {
    hint: "This store was written by a newer Holdfast. Start that version, or use another data folder.",
    exitCode: 78,
  },
  HF_STORE_DAMAGED: {
    hint: "Start again: the start keeps the damaged files, salvages what can be read, and says what is missing. With queue.onDamage: refuse, `holdfast salvage --into FOLDER` does that by hand.",
    exitCode: 74,
  },
  HF_STORE_IO: {
    hint: "The disk failed while writing. Nothing unacknowledged was acknowledged. Check the disk and the kernel log, then start again.",
    exitCode: 74,
  },
  HF_STORE_DENIED: {
    hint: "Give the user that runs Holdfast write permission on the data folder, or choose another one with --data.",
    exitCode: 77,
  },
  HF_STORE_FULL: { hint: "Free space, or raise queue.bytesMax; intake resumes by itself.", exitCode: 75 },
  HF_GATEWAY_DOWN: { hint: "Start the gateway, or name its data folder with --data.", exitCode: 69 },
  HF_NOT_FOUND: { hint: "Check the id; messages are pruned after queue.retention.", exitCode: 66 },
  HF_MESSAGE_INVALID: { hint: "Correct the message at the producer; it was not accepted.", exitCode: 65 },
  HF_UNROUTED: { hint: "No flow takes this topic; add one, or set intake.unrouted to keep.", exitCode: 65 },
  HF_DEVICE: {
    hint: "Check the cable, the port or address, and the settings of both ends; docs/modbus.md, docs/serial.md and docs/opcua.md go through them in order.",
    exitCode: 69,
  },
  HF_BACKEND: {
    hint: "Check the address, the token, and that the backend answers as docs/operations.md, The backend has other figures, says.",
    exitCode: 69,
  },
  HF_INTERNAL: { hint: "This is a defect in Holdfast: please report it with the log.", exitCode: 70 },
  HF_SCENARIO: {
    hint: "Correct the scenario at the place named; `holdfast simulate --list` names those that come with Holdfast.",
    exitCode: 78,
  },
  HF_CAPTURE: {
    hint: "A capture holds one JSON object a line; docs/simulators.md says which fields.",
    exitCode: 65,
  },
  HF_COMMAND_REFUSED: {
    hint: "The rule named forbids it; nothing was sent. docs/commands.md says what each rule is for.",
    exitCode: 65,
  },
  HF_COMMAND_STATE: {
    hint: "Look at it first (`holdfast command show ID`): it is not in the state that this is about.",
    exitCode: 65,
  },
  HF_DELIVERY_STATE: {
    hint: "Look at it first (`holdfast messages show ID`): it is not in the state that this is about.",
    exitCode: 65,
  },
  HF_CANNOT_ASK: {
    hint: "Find out in the backend itself, then `holdfast unknown delivered ID --evidence …`, or `holdfast dead retry ID` to send it again.",
    exitCode: 65,
  },
  HF_PAUSED_BY_CONFIG: {
    hint: "Set its `paused` to false in the config, and start again.",
    exitCode: 78,
  },
  HF_JOB_STATE: {
    hint: "Look at it first (`holdfast job show ID`): a job that is over stays so; begin a new one.",
    exitCode: 65,
  },
  HF_TOKEN_EXISTS: {
    hint: "Take another name, or revoke that one first (`holdfast token list`, `holdfast token revoke`).",
    exitCode: 65,
  },
  HF_EXPORT_STATE: {
    hint: "Look at it first (`holdfast export list`): it is not in the state that this is about.",
    exitCode: 65,
  },
  HF_IMPORT: {
    hint: "Nothing of what is named was taken. docs/operations.md, Moving to another box, says what a file must be like; export it again where it is damaged.",
    exitCode: 65,
  },
  HF_REQUEST: { hint: "Correct the request; docs/api.md describes the HTTP API.", exitCode: 65 },
  HF_FORBIDDEN: {
    hint: "Ask for http://127.0.0.1, or by a name of web.names, and not from a page of another origin; docs/api.md says what a page has to send.",
    exitCode: 77,
  },
  HF_UNAUTHENTICATED: {
    hint: "Send `Authorization: Bearer …` with a token of `holdfast token create`; on the command line set HOLDFAST_TOKEN, or run it as the user that runs the gateway.",
    exitCode: 77,
  },
  HF_ROLE: { hint: "Use a token with the role that is named; `holdfast token create --role`.", exitCode: 77 },
  HF_KEY_TAKEN: { hint: "Wait a moment, then send it again with the same Idempotency-Key.", exitCode: 75 },
  HF_KEY_REUSED: {
    hint: "An Idempotency-Key stands for one message: take a new one for another content.",
    exitCode: 65,
  },
  HF_TOO_MANY: { hint: "Wait for as long as it says (Retry-After), or raise web.limits.", exitCode: 75 },
  HF_SCRATCH: {
    hint: "Make room in the folder for temporary files, or name another one: TMPDIR in the environment.",
    exitCode: 75,
  },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

export class HoldfastError extends Error {
  override readonly name = "HoldfastError";
  readonly code: ErrorCode;
  /** Facts for programs: file, line, port, pid, … */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, details: Record<string, unknown> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }

  get hint(): string {
    return ERRORS[this.code].hint;
  }

  get exitCode(): number {
    return ERRORS[this.code].exitCode;
  }
}

export function isHoldfastError(error: unknown, code?: ErrorCode): error is HoldfastError {
  return error instanceof HoldfastError && (code === undefined || error.code === code);
}

/** The text of whatever was thrown, with the system code in front where there is one. */
export function errorText(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return errorText(error.errors[0]);
  if (!(error instanceof Error)) return String(error);
  const code = (error as NodeJS.ErrnoException).code;
  return code && !error.message.includes(code) ? `${code}: ${error.message}` : error.message;
}
