/** Who asks, and what they may do. */
import { HoldfastError } from "../core/errors.ts";

/**
 * - view: everything that only looks, payloads included.
 * - operate: what changes where messages are: retry, hand one in.
 * - admin: who may enter.
 */
export const ROLES = ["view", "operate", "admin"] as const;
export type Role = (typeof ROLES)[number];

/** How a token may be called: its name stands in the record of acts for whoever has it. */
export const TOKEN_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
export const TOKEN_LIFE_DEFAULT = "365d";

export interface Caller {
  /** The token's name, or `local`. */
  readonly name: string;
  /** Null for nobody in particular, who may look at whether the gateway lives. */
  readonly role: Role | null;
  /** Id of the token; null where none was needed. */
  readonly token: string | null;
  /** What it may command, as DEVICE/SIGNAL with * for any text; null for everything that takes commands. */
  readonly commands: readonly string[] | null;
}

/** Neither name has a slash in it. */
export const COMMANDS_PATTERN = /^[^/]{1,256}\/[^/]{1,256}$/;
export const COMMANDS_PATTERNS_MAX = 64;

/** A program on this machine: with this run's key, or while there are no tokens. */
export const LOCAL: Caller = { name: "local", role: "admin", token: null, commands: null };
export const LOCAL_WITHOUT_KEY: Caller = { ...LOCAL };
export const NOBODY: Caller = { name: "nobody", role: null, token: null, commands: [] };

export function mayDo({ role: has }: Caller, role: Role): boolean {
  return has !== null && ROLES.indexOf(has) >= ROLES.indexOf(role);
}

/** Throws HF_UNAUTHENTICATED for nobody, HF_ROLE for somebody who may not. */
export function demand(caller: Caller, role: Role): void {
  if (mayDo(caller, role)) return;
  if (caller.role === null) throw new HoldfastError("HF_UNAUTHENTICATED", "this needs a token");
  const message = `this needs a token with the role ${role}, and ${caller.name} has ${caller.role}`;
  throw new HoldfastError("HF_ROLE", message, { role, has: caller.role });
}
