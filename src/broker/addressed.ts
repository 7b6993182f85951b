/**
 * A message of the gateway to one device and nobody else: a command, a receipt. It goes out once, at QoS 0, on the
 * device's own connection: what a broker repeats by itself could be carried out twice.
 *
 * One that may wait goes into the device's persistent session where there is no connection for it, which is also while
 * the device comes in or leaves, and where older ones wait there, which it is not to overtake.
 */
import { writeToStream } from "mqtt-packet";
import { topicMatches } from "../core/topic.ts";
import type { Assembly } from "./assembly.ts";
import type { Connection } from "./connection.ts";
import type { Session } from "./sessions.ts";

export interface Addressed {
  readonly device: string;
  readonly topic: string;
  readonly payload: Buffer;
  /** It may wait: where the device cannot have it at once, it goes into its persistent session, at QoS 1. */
  readonly queue: boolean;
  /** To each connection and session of the device that subscribes; else to one, or nobody where there are several. */
  readonly everybody?: boolean;
  /** Called before the first byte may have left. */
  readonly onSent: () => void;
}

export type WentTo = "sent" | "queued" | "nobody" | "several";

type Parts = Pick<Assembly, "reception" | "sessions" | "access" | "mailroom" | "door">;

export function sendToDevice(parts: Parts, message: Addressed, sendBufferBytesMax: number): WentTo {
  const { device, topic, payload, queue, everybody, onSent } = message;
  const connections = [...parts.reception.connections].filter((connection) =>
    takes(connection, device, topic),
  );
  if (connections.length > 1 && !everybody) return "several";
  if (connections.length > 0) {
    // One that does not keep up would get it at a time of its own choosing.
    const keepUp = connections.filter(({ guard }) => guard.writableLength <= sendBufferBytesMax);
    if (keepUp.length === 0) return "nobody";
    onSent();
    for (const { guard, admitted } of keepUp) {
      const { session } = admitted!;
      if (queue && session.queue.peek() && waits(parts, session, device, topic))
        enqueue(parts, session, message);
      else writeToStream({ cmd: "publish", topic, payload, qos: 0, retain: false, dup: false }, guard);
    }
    return "sent";
  }
  if (!queue) return "nobody";
  const sessions = [...parts.sessions.all()].filter((session) => waits(parts, session, device, topic));
  if (sessions.length === 0) return "nobody";
  if (sessions.length > 1 && !everybody) return "several";
  onSent();
  for (const session of sessions) enqueue(parts, session, message);
  return "queued";
}

function enqueue({ mailroom, door }: Parts, session: Session, { topic, payload }: Addressed): void {
  void mailroom.enqueue(session, { cmd: "publish", topic, payload, qos: 1, retain: false }, 1, false);
  door.holder(session.id)?.admitted?.outbox.kick();
}

/** Whether a message of this topic would go out to the device now. */
export function reachesDevice({ reception }: Parts, device: string, topic: string): boolean {
  return [...reception.connections].some((connection) => takes(connection, device, topic));
}

function takes(connection: Connection, device: string, topic: string): boolean {
  const { admitted, client, isAccepted, guard } = connection;
  return (
    isAccepted &&
    admitted?.device.device === device &&
    client?.closed === false &&
    guard.writable &&
    connection.grantedQoS(topic) >= 0
  );
}

function waits({ access }: Parts, session: Session, device: string, topic: string): boolean {
  if (!session.durable) return false;
  if (access.deviceOf({ user: session.owner, clientId: session.id }) !== device) return false;
  return [...session.subs.values()].some(({ topic: filter, qos }) => qos > 0 && topicMatches(filter, topic));
}
