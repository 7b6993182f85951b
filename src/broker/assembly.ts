/** Puts the parts of the broker together; each knows only what it is given here. */
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import type { Random } from "../core/random.ts";
import type { SessionLog } from "../core/session.ts";
import type { Accepting } from "../intake/draft.ts";
import { Access } from "./access.ts";
import type { Publish } from "./aedes-internals.ts";
import { type Connection, factsOf } from "./connection.ts";
import { Door } from "./door.ts";
import { FanOut } from "./fan-out.ts";
import { Ledger } from "./ledger.ts";
import { Mailroom, type Prepared } from "./mailroom.ts";
import { Outbox } from "./outbox.ts";
import { PublishGate } from "./publish-gate.ts";
import { connectionBehind, type DeviceEvent, Reception } from "./reception.ts";
import { RefusalLog } from "./refusal-log.ts";
import { RetainedSender } from "./retained-sender.ts";
import type { AccessConfig, BrokerConfig } from "./schema.ts";
import { ServedPersistence } from "./served-persistence.ts";
import type { Session } from "./sessions.ts";
import { Sessions } from "./sessions.ts";
import { Wills } from "./wills.ts";

export interface BrokerOptions {
  readonly config: BrokerConfig;
  readonly access: AccessConfig;
  /** Names of machines that adapters read: no client's messages may pass for theirs. */
  readonly devicesTaken?: ReadonlySet<string>;
  readonly intake: Accepting;
  readonly sessions: SessionLog;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** The steady clock (core/clock.ts): how long clients have been away outlives a restart. */
  readonly steadyMs: () => number;
}

export interface Assembly {
  readonly access: Access;
  readonly ledger: Ledger;
  readonly refusals: RefusalLog;
  readonly sessions: Sessions;
  readonly mailroom: Mailroom;
  readonly wills: Wills;
  readonly fanOut: FanOut;
  readonly door: Door;
  readonly reception: Reception;
}

export interface Callbacks {
  readonly onFatal: (error: unknown) => void;
  readonly onDevice: (event: DeviceEvent) => void;
}

const BROKER_ID_BYTES = 8;

export function assemble(options: BrokerOptions, { onFatal, onDevice }: Callbacks): Assembly {
  const { config, clock, intake, random, logger } = options;
  const { limits } = config;
  const access = new Access(options.access);
  const ledger = new Ledger(clock);
  const refusals = new RefusalLog(logger, clock);
  const sessions = new Sessions({
    log: options.sessions,
    expireAfter: config.sessions.expireAfter,
    steadyMs: options.steadyMs,
    onFatal,
  });
  const mailroom = new Mailroom({
    sessions,
    limits: config.sessions,
    onDropped: (clientId, messages) => {
      ledger.figures.droppedOffline += messages;
      refusals.note("queue full", { clientId, messages }, "messages that waited for a client were dropped");
    },
    onRetainedFull: (topic) => {
      ledger.figures.notRetained++;
      refusals.note("retained full", { topic }, "a message was delivered but not retained: no room");
    },
  });
  const fanOut: FanOut = new FanOut({
    mailroom,
    ledger,
    sendBufferBytesMax: limits.sendBufferBytesMax,
    connectionOf: (clientId) => door.holder(clientId),
    connectionBehind,
  });
  const send = (packet: Publish, prepared: Prepared, clientId: string) =>
    fanOut.send(reception.core, packet, prepared, clientId);
  const wills = new Wills({
    intake,
    sessions,
    mailroom,
    access,
    ledger,
    random,
    logger,
    fanOut: send,
    onFatal,
  });
  const gate = {
    intake,
    mailroom,
    ledger,
    qos2InboundMax: limits.qos2InboundMax,
    fanOut: send,
    onRefused: (connection: Connection, reason: string, topic: string) =>
      refusals.note(reason, { ...factsOf(connection), topic }, "a message was refused and its client closed"),
    onFatal,
    onDefect: (connection: Connection, error: unknown) => reception.onDefect(connection, error),
  };
  const retainedSender = new RetainedSender({
    mailroom,
    clock,
    onDefect: (connection, error) => reception.onDefect(connection, error),
  });
  const equip = (connection: Connection, session: Session) => ({
    gate: new PublishGate(gate, connection),
    outbox: new Outbox({
      session,
      mailroom,
      guard: connection.guard,
      client: connection.client!,
      inflightMax: limits.inflightMax,
      onSent: () => retainedSender.wake(connection),
    }),
  });
  const { loginsPendingMax } = limits;
  const { sessionsMax } = config.sessions;
  const door: Door = new Door({
    access,
    devicesTaken: options.devicesTaken ?? new Set(),
    sessions,
    mailroom,
    ledger,
    random,
    loginsPendingMax,
    sessionsMax,
    equip,
  });
  const persistence = new ServedPersistence({
    sessions,
    mailroom,
    wills,
    connectionBehind,
    onDelivered: () => {
      ledger.figures.delivered++;
    },
  });
  const id = Buffer.alloc(BROKER_ID_BYTES);
  random.fill(id);
  const reception: Reception = new Reception({
    id: id.toString("hex"),
    limits,
    door,
    sessions,
    persistence,
    fanOut,
    wills,
    retainedSender,
    ledger,
    refusals,
    clock,
    logger,
    onDevice,
  });
  return { access, ledger, refusals, sessions, mailroom, wills, fanOut, door, reception };
}
