/** Where messages are, flow by flow, for receipts: by key alone, so that a look at many costs little. */
import type { DeliveryState } from "../core/outcome.ts";
import type { Db } from "./database.ts";

export interface FlowState {
  readonly flow: string;
  readonly state: DeliveryState;
  readonly reason: string | null;
}

export interface MessageStates {
  readonly seq: number;
  readonly flows: readonly FlowState[];
}

export interface FollowedMessage {
  readonly seq: number;
  readonly id: string;
  readonly device: string;
  readonly topic: string;
}

/** A message that retention has removed is left out. */
export function messageStates(db: Db, { seqs }: { readonly seqs: readonly number[] }): MessageStates[] {
  const routesOf = db.prepare("SELECT routes FROM messages WHERE seq = ?").pluck();
  const stateOf = db.prepare(
    `SELECT l.flow, d.state, d.reason FROM deliveries AS d JOIN lanes AS l ON l.id = d.lane
     WHERE d.lane = ? AND d.seq = ?`,
  );
  return seqs.flatMap((seq) => {
    const routes = routesOf.get(seq) as string | undefined;
    if (routes === undefined) return [];
    const lanes = (JSON.parse(routes) as [number, number][]).map(([lane]) => lane);
    const flows = lanes.flatMap((lane) => (stateOf.get(lane, seq) as FlowState | undefined) ?? []);
    return [{ seq, flows }];
  });
}

/** The newest messages that wait in some flow or are dead there, the oldest of them first; of these devices, or of all. */
export function openMessages(
  db: Db,
  { devices, limit }: { readonly devices: readonly string[] | null; readonly limit: number },
): FollowedMessage[] {
  const rows = db
    .prepare(
      `SELECT m.seq, m.id, m.device, m.topic FROM messages AS m
       WHERE m.seq IN (
         SELECT d.seq FROM lanes AS l JOIN deliveries AS d ON d.lane = l.id AND d.seq >= l.head
         WHERE l.open > 0 AND d.state IN ('waiting', 'sending', 'unknown')
         UNION SELECT seq FROM deliveries INDEXED BY deliveries_dead WHERE state IN ('dead', 'unknown'))
       AND (@devices IS NULL OR m.device IN (SELECT value FROM json_each(@devices)))
       ORDER BY m.seq DESC LIMIT @limit`,
    )
    .all({ devices: devices && JSON.stringify(devices), limit }) as FollowedMessage[];
  return rows.reverse();
}
