/** Who asks, and what they may do. */

/**
 * - view: everything that only looks, payloads included.
 * - operate: what changes where messages are: retry, hand one in.
 * - admin: what destroys, and who may enter.
 */
export const ROLES = ["view", "operate", "admin"] as const;
export type Role = (typeof ROLES)[number];

export interface Caller {
  /** The token's name, or `local`. */
  readonly name: string;
  readonly role: Role;
}

/** A program on this machine, while there are no tokens. */
export const LOCAL: Caller = { name: "local", role: "admin" };

export function mayDo(caller: Caller, role: Role): boolean {
  return ROLES.indexOf(caller.role) >= ROLES.indexOf(role);
}
