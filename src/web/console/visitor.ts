/** Who looks at the page, as the gateway knows them, and what they may do. */
import { signal } from "@preact/signals";
import type { Role } from "../callers.ts";
import { api, type Visitor } from "./api.ts";

/** Null until the gateway has said. */
export const visitor = signal<Visitor | null>(null);

export async function askWhoIsHere(): Promise<void> {
  visitor.value = await api.session();
}

/** Why somebody of this role cannot do what needs another; null where they can. */
export function whyNot(needed: Exclude<Role, "view">): string | null {
  const here = visitor.value;
  if (!here || here.role === "admin" || here.role === needed) return null;
  return `it needs a token with the role ${needed}, and ${here.name} has ${here.role ?? "none"}`;
}
