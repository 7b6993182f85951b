/**
 * Takes up at start what the store kept of sessions. Rows that have become meaningless are deleted: those of
 * clients without a session of their own (clean session 1), and subscriptions that the rules no longer allow,
 * with what waits for them.
 */
import type { SessionChange, SessionRow } from "../core/session.ts";
import type { Publish } from "./aedes-internals.ts";
import type { Mailroom } from "./mailroom.ts";
import { type Queued, queued } from "./offline-queue.ts";
import {
  decodeHeading,
  decodeMessage,
  decodeStanding,
  decodeSubscription,
  decodeWill,
  isStandingKey,
  numberOfKey,
  outgoingKey,
  SESSION_KEY,
  type StoredWill,
  standingKey,
} from "./session-codec.ts";
import type { Session, Sessions } from "./sessions.ts";

/** The will of a client whose connection nobody saw the end of. */
export interface LeftWill extends StoredWill {
  readonly client: string;
  readonly key: string;
}

export type SubscriptionRule = (owner: string | null, client: string, filter: string) => boolean;

export function loadSessions(
  rows: readonly SessionRow[],
  sessions: Sessions,
  mailroom: Mailroom,
  allowed: SubscriptionRule,
): LeftWill[] {
  for (const row of rows) if (isHeading(row)) loadHeading(row, sessions);
  const meaningless: SessionChange[] = [];
  const wills: LeftWill[] = [];
  const outgoing = new Map<Session, Map<string, Buffer>>();
  const narrowed = new Set<Session>();
  for (const row of rows) {
    const { kind, client, key, value } = row;
    if (isHeading(row)) continue;
    if (kind === "retained") mailroom.retained.load(value);
    else if (kind === "will") wills.push({ client, key, ...decodeWill(value) });
    else {
      const session = sessions.get(client);
      if (!session || (kind === "subscription" && !allowed(session.owner, client, key))) {
        meaningless.push({ op: "delete", kind, client, key });
        if (session) narrowed.add(session);
      } else if (kind === "incoming") session.incoming.set(Number(key), null);
      else if (kind === "subscription") loadSubscription(session, key, value, sessions);
      else {
        if (!outgoing.has(session)) outgoing.set(session, new Map());
        outgoing.get(session)!.set(key, value);
      }
    }
  }
  for (const [session, values] of outgoing) loadOutgoing(session, values, mailroom);
  for (const session of narrowed) mailroom.dropUnasked(session);
  if (meaningless.length > 0) void sessions.commit(meaningless);
  return wills;
}

function isHeading({ kind, key }: SessionRow): boolean {
  return kind === "subscription" && key === SESSION_KEY;
}

function loadHeading({ client, value }: SessionRow, sessions: Sessions): void {
  const heading = decodeHeading(value);
  const session = sessions.obtain(client);
  const nowMs = sessions.steadyMs();
  session.owner = heading.owner;
  session.awaySinceMs = Math.min(heading.awaySinceMs ?? nowMs, nowMs);
}

function loadSubscription(session: Session, filter: string, value: Buffer, sessions: Sessions): void {
  const sub = decodeSubscription(filter, value);
  session.subs.set(filter, sub);
  if (sub.qos > 0) sessions.tree.set(filter, session.id, { clientId: session.id, ...sub });
}

/** Rows come in the order of their keys, so the messages come in theirs. */
function loadOutgoing(session: Session, values: Map<string, Buffer>, mailroom: Mailroom): void {
  for (const [key, value] of values) {
    const number = numberOfKey(key);
    if (isStandingKey(key)) {
      // A message that is released has lost its own row.
      if (values.has(outgoingKey(number))) continue;
      const standing = decodeStanding(value);
      mailroom.load(session, placed(queued(number, pubrelOf(standing.packetId), 0), standing));
      continue;
    }
    const message: Publish = { cmd: "publish", ...decodeMessage(value), dup: false };
    const standing = values.get(standingKey(number));
    mailroom.load(
      session,
      placed(queued(number, message, value.length), standing && decodeStanding(standing)),
    );
  }
}

function placed(entry: Queued, standing: ReturnType<typeof decodeStanding> | undefined): Queued {
  if (standing) {
    entry.stage = standing.stage;
    entry.packetId = standing.packetId;
  }
  return entry;
}

export function pubrelOf(packetId: number): Publish {
  return { cmd: "pubrel", messageId: packetId } as unknown as Publish;
}
