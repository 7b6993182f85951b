/**
 * Last wills: what a client asks to be said of it when it is lost.
 *
 * Promise: a will is on disk before its client's CONNACK, with the credential it was left under. It is sent
 * when the connection ends without DISCONNECT, or at the next start where the gateway itself was lost: its
 * clients cannot have said goodbye to it. It goes through intake like any message, so that it reaches the
 * flows, and its row is deleted in the commit that stores it, so that it is sent once.
 */
import { errorText } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { Random } from "../core/random.ts";
import type { SessionChange } from "../core/session.ts";
import type { Accepting } from "../intake/draft.ts";
import type { Access } from "./access.ts";
import { FANNED_OUT, type Publish } from "./aedes-internals.ts";
import type { Connection } from "./connection.ts";
import type { Ledger } from "./ledger.ts";
import type { Mailroom, Prepared } from "./mailroom.ts";
import type { Done } from "./publish-gate.ts";
import { encodeWill } from "./session-codec.ts";
import type { LeftWill } from "./session-load.ts";
import type { Sessions } from "./sessions.ts";

export interface WillsOptions {
  readonly intake: Accepting;
  readonly sessions: Sessions;
  readonly mailroom: Mailroom;
  readonly access: Access;
  readonly ledger: Ledger;
  readonly random: Random;
  readonly logger: Logger;
  readonly fanOut: (packet: Publish, prepared: Prepared, clientId: string) => void;
  readonly onFatal: (error: unknown) => void;
}

const KEY_BYTES = 8;

export class Wills {
  readonly #options: WillsOptions;
  readonly #sending = new Set<Promise<unknown>>();

  constructor(options: WillsOptions) {
    this.#options = options;
  }

  /** Puts a will on disk; resolves when it is there. Each has a key of its own, so that none outlives another's end. */
  keep(connection: Connection, will: Publish): Promise<void> {
    const { clientId, user, device } = connection.admitted!;
    const key = Buffer.alloc(KEY_BYTES);
    this.#options.random.fill(key);
    connection.willKey = key.toString("hex");
    const value = encodeWill({ ...will, payload: Buffer.from(will.payload), user, device: device.device });
    return this.#options.sessions.commit([
      { op: "put", kind: "will", client: clientId, key: connection.willKey, value },
    ]);
  }

  /** The connection has ended and its will was not sent: a DISCONNECT came, or it never got in. */
  withdraw(connection: Connection): void {
    if (connection.willKey === null) return;
    void this.#options.sessions.commit([rowOf(connection.admitted!.clientId, connection.willKey)]);
    connection.willKey = null;
  }

  /** The client is lost: sends its will, then calls back so that aedes goes on with its close. */
  lost(connection: Connection, will: Publish, done: Done): void {
    will[FANNED_OUT] = true;
    const { admitted, willKey } = connection;
    if (!admitted || willKey === null || !connection.isAccepted) {
      done(null);
      return;
    }
    connection.willKey = null;
    const { clientId: client, user, device } = admitted;
    const left = {
      ...will,
      payload: Buffer.from(will.payload),
      client,
      user,
      device: device.device,
      key: willKey,
    };
    void this.#track(this.#send(left)).finally(() => done(null));
  }

  /** At start: wills of clients whose connections ended with the last run. */
  async sendLeft(wills: readonly LeftWill[]): Promise<void> {
    for (const will of wills) await this.#track(this.#send(will));
  }

  /** Resolves when all wills on their way are stored. */
  async settled(): Promise<void> {
    while (this.#sending.size > 0) await Promise.allSettled(this.#sending);
  }

  #track<T>(sending: Promise<T>): Promise<T> {
    this.#sending.add(sending);
    return sending.finally(() => this.#sending.delete(sending));
  }

  async #send(will: LeftWill): Promise<void> {
    const { intake, mailroom, access, ledger, logger, sessions, fanOut, onFatal } = this.#options;
    const { client, user, device, topic, payload, qos, retain, key } = will;
    const row = rowOf(client, key);
    // The rules as they are now, for the user it was left under.
    if (!access.rulesOf({ user, clientId: client }).mayPublish(topic)) {
      ledger.refused("will not allowed");
      logger.warn({ client, device, topic }, "a will was not sent: its user may not publish to its topic");
      await sessions.commit([row]).catch(() => {});
      return;
    }
    const packet: Publish = { cmd: "publish", topic, payload, qos, retain, dup: false };
    const prepared = mailroom.prepare(packet, client);
    const session = [...prepared.changes, row];
    const draft = { device, source: "mqtt", topic, payload, qos, retain, session };
    const receipt = await intake.accept(draft).catch((error: unknown) => {
      logger.error({ client, device, topic, error: errorText(error) }, "a will could not be stored");
      onFatal(error);
      return null;
    });
    if (receipt?.kind === "stored" || receipt?.kind === "dropped") {
      ledger.figures.wills++;
      if (prepared.retained) mailroom.retained.apply(prepared.retained);
      mailroom.apply(prepared);
      fanOut(packet, prepared, client);
      return;
    }
    if (prepared.retained) mailroom.retained.cancel(prepared.retained);
    // Its row stays for the next start.
    if (!receipt) return;
    if (receipt.kind === "refused") {
      ledger.refused(receipt.code);
      logger.warn({ client, device, topic, reason: receipt.reason }, "a will was refused by intake");
    }
    await sessions.commit([row]).catch(() => {});
  }
}

function rowOf(client: string, key: string): SessionChange {
  return { op: "delete", kind: "will", client, key };
}
