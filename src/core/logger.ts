/** The log: pino, one JSON object a line, messages joined by `messageId`, `device`, `flow`, `traceId`. */
import pino from "pino";

export type Logger = pino.Logger;

/** Never printed, wherever they stand in a logged object. */
const SECRET_FIELDS = ["password", "passphrase", "token", "secret", "authorization", "key", "cookie"];

export interface LogOptions {
  readonly level: string;
  /** A file descriptor; the log goes to standard error so that standard output stays for answers. */
  readonly fd?: number;
}

export function createLogger(options: LogOptions): Logger {
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]),
        censor: "(redacted)",
      },
    },
    pino.destination({ fd: options.fd ?? 2, sync: true }),
  );
}

/** For tests and for library use: says nothing. */
export const silentLogger: Logger = pino({ level: "silent" });
