/** How changes of session state are written (see wire.ts). */
import type { SessionChange, SessionKind } from "../core/session.ts";
import type { Decoder, Encoder } from "./wire.ts";

const SESSION_OPS = ["put", "delete", "clear"] as const;
const SESSION_KINDS: readonly SessionKind[] = ["retained", "subscription", "outgoing", "incoming", "will"];

export function writeSessionChanges(out: Encoder, changes: readonly SessionChange[]): void {
  out.u32(changes.length);
  for (const change of changes) {
    out.u8(SESSION_OPS.indexOf(change.op));
    out.u8(SESSION_KINDS.indexOf(change.kind));
    out.text(change.client);
    if (change.op !== "clear") out.text(change.key);
    if (change.op === "put") out.bytes(change.value);
  }
}

export function readSessionChanges(input: Decoder): SessionChange[] {
  const changes: SessionChange[] = [];
  for (let left = input.u32(); left > 0; left--) {
    const op = SESSION_OPS[input.u8()]!;
    const kind = SESSION_KINDS[input.u8()]!;
    const client = input.text();
    if (op === "clear") changes.push({ op, kind, client });
    else if (op === "delete") changes.push({ op, kind, client, key: input.text() });
    else changes.push({ op, kind, client, key: input.text(), value: input.bytes() });
  }
  return changes;
}
