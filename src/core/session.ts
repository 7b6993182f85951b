/**
 * Session state of MQTT clients as the store sees it: keyed blobs, whose meaning only broker/ knows.
 *
 * Kinds: `retained` (client "", key topic), `subscription` (key filter), `outgoing` (key: growing number,
 * zero-padded, so that keys sort in queue order), `incoming` (QoS 2 received, key packet id, value message
 * id), `will`. Changes that belong to a message travel with it, so that they are one commit.
 */
export type SessionKind = "retained" | "subscription" | "outgoing" | "incoming" | "will";

export type SessionChange =
  | {
      readonly op: "put";
      readonly kind: SessionKind;
      readonly client: string;
      readonly key: string;
      readonly value: Buffer;
    }
  | { readonly op: "delete"; readonly kind: SessionKind; readonly client: string; readonly key: string }
  | { readonly op: "clear"; readonly kind: SessionKind; readonly client: string };

export interface SessionRow {
  readonly kind: SessionKind;
  readonly client: string;
  readonly key: string;
  readonly value: Buffer;
}

export interface SessionLog {
  /** All rows, by (kind, client, key) ascending. Asked once, at start. */
  load(): Promise<SessionRow[]>;
  /** Resolves when the changes are committed and fsynced; order of calls is order of commit. */
  write(changes: readonly SessionChange[]): Promise<void>;
}
