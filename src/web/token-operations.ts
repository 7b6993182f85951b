/**
 * Tokens over the API, for who administers from afar; the command line does the same in the data folder. A token that is
 * taken back must not wait for a store that has no room, so the record of the act follows it instead of coming first.
 */
import { z } from "zod";
import { parseDurationMs } from "../core/units.ts";
import { putOnRecord, reason } from "./acts.ts";
import { COMMANDS_PATTERN, COMMANDS_PATTERNS_MAX, ROLES, TOKEN_LIFE_DEFAULT, TOKEN_NAME } from "./callers.ts";
import { type Operation, operation } from "./operation.ts";
import { epochMs } from "./shapes.ts";
import type { TokenRecord } from "./tokens.ts";

const shown = () =>
  z.object({
    id: z.string(),
    name: z.string(),
    role: z.enum(ROLES),
    createdAtMs: epochMs(),
    expiresAtMs: epochMs().nullable().describe("Null for never."),
    commands: z
      .array(z.string())
      .nullable()
      .describe(
        "What it may command, as DEVICE/SIGNAL in which * stands for any text; null for all that its role may.",
      ),
  });

export const tokenOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/tokens",
    name: "listTokens",
    tag: "session",
    summary: "Who may enter, what they may do, and until when",
    role: "admin",
    answer: () => z.object({ tokens: z.array(shown()) }),
    handle: (_, { entrance }) => ({ tokens: entrance.tokens.all.map(withoutDigest) }),
  }),
  operation({
    method: "POST",
    path: "/v1/tokens",
    name: "createToken",
    tag: "session",
    summary: "Makes a token; this answer is the only time that its text is shown",
    notes:
      "From the first one on everybody needs one. 409 (HF_TOKEN_EXISTS) where there is one of that name.",
    role: "admin",
    body: z
      .strictObject({
        name: z
          .string()
          .regex(TOKEN_NAME, "expected letters, digits, . _ or -, at most 64")
          .describe("What it is called in the record of acts: a person, a program."),
        role: z.enum(ROLES),
        expires: z
          .string()
          .refine(
            (text) => text === "never" || (parseDurationMs(text) ?? 0) > 0,
            "expected a time such as 30d, or never",
          )
          .default(TOKEN_LIFE_DEFAULT)
          .describe("After so long, such as `30d`, or `never`."),
        commands: z
          .array(z.string().regex(COMMANDS_PATTERN, "expected DEVICE/SIGNAL, such as packer-*/speed"))
          .min(1)
          .max(COMMANDS_PATTERNS_MAX)
          .optional()
          .describe(
            "All that it may command, as `packer-*/speed`, in which * stands for any text; goes with the role `operate`.",
          ),
      })
      .refine(({ role, commands }) => commands === undefined || role === "operate", {
        message: "this goes with the role operate",
        path: ["commands"],
      }),
    status: 201,
    answer: () => shown().extend({ token: z.string() }),
    handle({ body: { name, role, expires, commands = null }, caller }, { entrance, clock, act }) {
      const nowMs = clock.wallMs();
      const expiresAtMs = expires === "never" ? null : nowMs + parseDurationMs(expires)!;
      const { token, record } = entrance.tokens.create({ name, role, expiresAtMs, commands, nowMs });
      putOnRecord(act, caller, "createToken", { name, role, id: record.id, expiresAtMs, commands });
      return { ...withoutDigest(record), token };
    },
  }),
  operation({
    method: "POST",
    path: "/v1/tokens/revoke",
    name: "revokeToken",
    tag: "session",
    summary: "Takes a token back at once, with the sessions that pages have of it",
    role: "admin",
    body: z.strictObject({ token: z.string().min(1).max(64).describe("Its name, or its id."), reason }),
    answer: () => z.object({ revoked: shown() }),
    handle({ body: { token, reason: why }, caller }, { entrance, act }) {
      const revoked = entrance.tokens.revoke(token);
      putOnRecord(act, caller, "revokeToken", { name: revoked.name, id: revoked.id }, why);
      return { revoked: withoutDigest(revoked) };
    },
  }),
];

function withoutDigest({ sha256: _, ...record }: TokenRecord): Omit<TokenRecord, "sha256"> {
  return record;
}
