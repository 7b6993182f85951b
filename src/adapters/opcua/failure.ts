/**
 * What can go wrong with a server, each under a name that stays the same: a status code is the server's word and
 * keeps the name that the standard gives it; the others are ours.
 */
import { errorText } from "../../core/errors.ts";

export interface Failure {
  readonly name: string;
  readonly sentence: string;
  /** True where the server itself answered. */
  readonly answered: boolean;
}

export function failureText({ name, sentence }: Failure): string {
  return `${name}: ${sentence}`;
}

/** What is thrown where the way to the server, or its word, ends what was begun. */
export class LinkError extends Error {
  readonly failure: Failure;

  constructor(name: string, sentence: string, answered: boolean) {
    super(`${name}: ${sentence}`);
    this.failure = { name, sentence, answered };
  }
}

export function unreachable(sentence: string): LinkError {
  return new LinkError("unreachable", sentence, false);
}

const HINTS: Readonly<Record<string, string>> = {
  BadSecurityChecksFailed:
    "the server does not trust our certificate yet; trust it there, in its list of clients",
  BadCertificateUntrusted:
    "the server does not trust our certificate yet; trust it there, in its list of clients",
  BadUserAccessDenied: "the server does not let this user do that",
  BadIdentityTokenRejected: "the server does not let this user in; look at user, password or certificate",
  BadIdentityTokenInvalid: "the server does not know this way to log in",
  BadTooManySessions:
    "the server has no room for another session; those of a killed client end by themselves",
  BadCertificateUriInvalid: "the application URI in our certificate is not the one we say we are",
};

/** The status code that an error of the library's carries, in one of the several ways it has. */
export function statusIn(error: unknown): string | null {
  const { statusCode, response } = error as {
    statusCode?: { name?: string };
    response?: { responseHeader?: { serviceResult?: { name?: string } } };
  };
  const told = statusCode?.name ?? response?.responseHeader?.serviceResult?.name;
  if (told && told !== "Good") return told;
  return /\b((?:Bad|Uncertain)[A-Z][A-Za-z]+)\b/.exec(errorText(error))?.[1] ?? null;
}

/** The channel broke, or was never there: nobody answered, whatever status stands in for it. */
const NO_ANSWER =
  /^Bad(ConnectionClosed|ServerNotConnected|SecureChannelClosed|NotConnected|CommunicationError|Timeout|RequestTimeout|TcpEndpointUrlInvalid)$/;

export function failureOf(error: unknown): Failure {
  if (error instanceof LinkError) return error.failure;
  const status = statusIn(error);
  if (status) {
    return { name: status, sentence: HINTS[status] ?? firstLine(error), answered: !NO_ANSWER.test(status) };
  }
  const text = errorText(error);
  const [sentence] = SILENCES.flatMap(([pattern, said]) => (pattern.test(text) ? [said] : []));
  return { name: "unreachable", sentence: sentence ?? firstLine(error), answered: false };
}

/** What the library says of a way that is no way; a sentence that is the same each time. */
const SILENCES: readonly (readonly [pattern: RegExp, sentence: string])[] = [
  [/ECONNREFUSED/, "ECONNREFUSED: nobody listens there"],
  [/ENOTFOUND|EAI_AGAIN/, "the name is not known"],
  [/EHOSTUNREACH|ENETUNREACH/, "there is no way to that address"],
  [
    /ECONNRESET|EPIPE|by third party|ended by server|No SecureChannel|Invalid Channel|aborted/,
    "the connection was closed",
  ],
  [/ETIMEDOUT|timed? ?out/i, "no answer"],
];

function firstLine(error: unknown): string {
  const text = errorText(error).replaceAll(/\s+/g, " ").trim();
  return text.length <= 200 ? text : `${text.slice(0, 199)}…`;
}
