/** The page's way in: a cookie for a token, so that no script has to keep the token itself. */
import { z } from "zod";
import { putOnRecord } from "./acts.ts";
import { ROLES } from "./callers.ts";
import { PAGE_HEADER, SESSION_COOKIE } from "./entrance.ts";
import { type Operation, operation } from "./operation.ts";
import { epochMs } from "./shapes.ts";

const visitor = () =>
  z.object({
    name: z.string(),
    role: z.enum(ROLES).nullable().describe("Null for somebody who has to show a token first."),
    tokensExist: z.boolean().describe("False where nobody needs one yet, on this machine."),
  });

export const sessionOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/session",
    name: "getSession",
    tag: "session",
    summary: "Who is asking, and what they may do",
    role: "anyone",
    answer: visitor,
    handle: ({ caller: { name, role } }, { entrance }) => ({
      name,
      role,
      tokensExist: entrance.tokens.exist,
    }),
  }),
  operation({
    method: "POST",
    path: "/v1/session",
    name: "login",
    tag: "session",
    summary: "A cookie for a token: for pages, so that no script has to keep the token itself",
    notes: `HttpOnly, SameSite=Strict, good for half a day and for as long as the token is. Requests that are made with it need the header ${PAGE_HEADER} for all but GET.`,
    role: "anyone",
    body: z.strictObject({ token: z.string().min(1).max(200) }),
    answer: () => visitor().extend({ expiresAtMs: epochMs() }),
    handle({ body: { token }, request, reply }, { entrance, secure, act }) {
      const { caller, tokenId, expiresAtMs: tokenExpiresAtMs } = entrance.login(token, request.ip);
      const { value, expiresAtMs } = entrance.sessionFor(tokenId, tokenExpiresAtMs);
      putOnRecord(act, caller, "login", { from: request.ip });
      void reply.header("set-cookie", cookie(value, new Date(expiresAtMs), secure));
      return { name: caller.name, role: caller.role, tokensExist: true, expiresAtMs };
    },
  }),
  operation({
    method: "DELETE",
    path: "/v1/session",
    name: "logout",
    tag: "session",
    summary: "Takes the cookie back",
    role: "anyone",
    answer: () => z.object({ name: z.literal("nobody") }),
    handle({ caller, request, reply }, { secure, act }) {
      if (caller.token !== null) putOnRecord(act, caller, "logout", { from: request.ip });
      void reply.header("set-cookie", cookie("", new Date(0), secure));
      return { name: "nobody" as const };
    },
  }),
];

function cookie(value: string, expires: Date, secure: boolean): string {
  const attributes = ["HttpOnly", "SameSite=Strict", "Path=/", `Expires=${expires.toUTCString()}`];
  return [`${SESSION_COOKIE}=${value}`, ...attributes, ...(secure ? ["Secure"] : [])].join("; ");
}
