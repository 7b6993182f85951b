/**
 * The door: what happens between a CONNECT and its CONNACK.
 *
 * In order: who is it (client certificate, else password, else nobody where no users are configured); is the
 * client id one of theirs; may they leave this will; is somebody connected under the same client id. Only
 * then does a session begin, and only then is the connection `admitted`, which is what every later check
 * asks for. aedes is told yes or a return code.
 *
 * A client id is held by one connection at a time. A newcomer with the same credential takes over
 * [MQTT-3.1.4-2]; with another one it is refused, also while the other is away and has a session here. It
 * waits until the old connection is gone altogether (connection.ts), so that two newcomers, or one that dies
 * in the middle of CONNECT, never leave a client id held by nobody.
 */
import { NAME_BYTES_MAX } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import { topicNameProblem } from "../core/topic.ts";
import type { Access, Identity, Rules } from "./access.ts";
import type { Admitted, Connection, Hello } from "./connection.ts";
import type { Ledger } from "./ledger.ts";
import type { Mailroom } from "./mailroom.ts";
import { PasswordChecker } from "./password.ts";
import type { Session, Sessions } from "./sessions.ts";

/** CONNACK return codes, section 3.2.2.3. */
const RETURN = { badClientId: 2, unavailable: 3, badLogin: 4, notAuthorized: 5 } as const;

/** With more session changes on their way to the disk, nobody is let in who would add to them. */
const WRITES_PENDING_MAX = 10_000;

export interface Refusal {
  readonly returnCode: 2 | 3 | 4 | 5;
  /** What is counted and logged; the client gets the code alone. */
  readonly reason: string;
}

export interface DoorOptions {
  readonly access: Access;
  /** Devices that are no clients. */
  readonly devicesTaken: ReadonlySet<string>;
  readonly sessions: Sessions;
  readonly mailroom: Mailroom;
  readonly ledger: Ledger;
  readonly random: Random;
  readonly loginsPendingMax: number;
  readonly sessionsMax: number;
  readonly equip: (connection: Connection, session: Session) => Pick<Admitted, "gate" | "outbox">;
}

export class Door {
  readonly #options: DoorOptions;
  readonly #passwords: PasswordChecker;
  readonly #holders = new Map<string, Connection>();

  constructor(options: DoorOptions) {
    this.#options = options;
    const hashes = [...options.access.users.values()].flatMap((user) => user.password ?? []);
    this.#passwords = new PasswordChecker(hashes, options.loginsPendingMax);
  }

  /** The connection that holds a client id. */
  holder(clientId: string): Connection | undefined {
    return this.#holders.get(clientId);
  }

  /** An id for a client that brings none: one that its user may have, and that nobody else can guess. */
  newClientId({ origin }: Connection, username: string | undefined): string {
    const { access, random } = this.#options;
    const certified = origin.certificate === null ? undefined : access.userOfCertificate(origin.certificate);
    const user = certified ?? (username !== undefined && access.users.has(username) ? username : "client");
    const bytes = Buffer.alloc(8);
    random.fill(bytes);
    return `${user}:${bytes.toString("hex")}`;
  }

  /** Null where the connection is admitted. */
  async admit(
    connection: Connection,
    hello: Hello,
    username: string | undefined,
    password: Buffer | undefined,
  ): Promise<Refusal | null> {
    const { access } = this.#options;
    const who = access.open ? { user: null } : await this.#identify(connection, username, password);
    if ("returnCode" in who) return who;
    const identity: Identity = { user: who.user, clientId: hello.clientId };
    const rules = access.rulesOf(identity);
    const refusal = this.#refusal(hello, identity, rules);
    if (refusal) return refusal;
    const claimed = await this.#claim(connection, identity);
    if (this.#over(connection)) return refuse(RETURN.unavailable, "gone before it was let in");
    if (!claimed) return refuse(RETURN.badClientId, "client id of another user");
    return this.#begin(connection, hello, identity, rules);
  }

  /** The connection is gone: its client id is free. */
  leave(connection: Connection): void {
    const clientId = connection.hello?.clientId;
    if (clientId !== undefined && this.#holders.get(clientId) === connection) this.#holders.delete(clientId);
  }

  async #identify(
    connection: Connection,
    username: string | undefined,
    password: Buffer | undefined,
  ): Promise<{ user: string } | Refusal> {
    const { access } = this.#options;
    const { certificate } = connection.origin;
    const certified = certificate === null ? undefined : access.userOfCertificate(certificate);
    if (certified !== undefined) {
      if (username === undefined || username === certified) return { user: certified };
      return refuse(RETURN.badLogin, "user name is not that of the certificate");
    }
    if (username === undefined || password === undefined)
      return refuse(RETURN.notAuthorized, "no credentials");
    const line = access.users.get(username)?.password;
    const answer = await this.#passwords.check(password, line, () => this.#over(connection));
    if (answer === "busy") return refuse(RETURN.unavailable, "too many logins at a time");
    return answer === "right" ? { user: username } : refuse(RETURN.badLogin, "wrong user name or password");
  }

  #refusal(hello: Hello, identity: Identity, rules: Rules): Refusal | null {
    const { clientId, assigned, clean, willTopic } = hello;
    const { access, devicesTaken } = this.#options;
    // [MQTT-3.1.3-8]
    if (assigned && !clean) return refuse(RETURN.badClientId, "no client id for a persistent session");
    if (Buffer.byteLength(clientId) > NAME_BYTES_MAX) return refuse(RETURN.badClientId, "client id too long");
    if (!assigned && !access.ownsClientId(identity)) {
      return refuse(RETURN.badClientId, "client id not allowed for the user");
    }
    if (devicesTaken.has(access.deviceOf(identity))) {
      const code = identity.user === null ? RETURN.badClientId : RETURN.notAuthorized;
      return refuse(code, "device name is that of a machine in the config (devices)");
    }
    if (willTopic !== null && (topicNameProblem(willTopic) !== null || !rules.mayPublish(willTopic))) {
      return refuse(RETURN.notAuthorized, "will not allowed");
    }
    return null;
  }

  /** False where somebody else's connection or session has the client id, or the connection is over. */
  async #claim(connection: Connection, { user, clientId }: Identity): Promise<boolean> {
    for (;;) {
      if (this.#over(connection)) return false;
      const holder = this.#holders.get(clientId);
      const owner = holder ? holder.user : this.#options.sessions.get(clientId)?.owner;
      if (user !== null && owner != null && owner !== user) return false;
      if (!holder) {
        connection.user = user;
        this.#holders.set(clientId, connection);
        return true;
      }
      this.#options.ledger.figures.takeovers++;
      holder.close("taken over by a new connection");
      await holder.gone;
    }
  }

  async #begin(
    connection: Connection,
    hello: Hello,
    identity: Identity,
    rules: Rules,
  ): Promise<Refusal | null> {
    const { access, sessions, ledger, equip, sessionsMax } = this.#options;
    const { clientId, user } = identity;
    try {
      if (hello.clean) await sessions.forget(clientId);
    } catch {
      return refuse(RETURN.unavailable, "session could not be written");
    }
    if (this.#over(connection)) return refuse(RETURN.unavailable, "gone before it was let in");
    const durable = !hello.clean;
    if (sessions.writesPending >= WRITES_PENDING_MAX && (durable || hello.willTopic !== null)) {
      return refuse(RETURN.unavailable, "the store is behind");
    }
    if (durable && !sessions.get(clientId) && sessions.persistentCount >= sessionsMax) {
      return refuse(RETURN.unavailable, "too many persistent sessions");
    }
    const { session, present } = sessions.enter(clientId, user, durable);
    if (present) this.#prune(session, rules);
    connection.guard.sessionPresent = present;
    const device = ledger.device(access.deviceOf(identity));
    connection.admitted = { clientId, user, device, rules, session, ...equip(connection, session) };
    return null;
  }

  /** The rules may have changed while the client was away. */
  #prune(session: Session, rules: Rules): void {
    const refused = [...session.subs.keys()].filter((filter) => !rules.maySubscribe(filter));
    if (refused.length === 0) return;
    void this.#options.sessions.unsubscribe(session.id, refused);
    this.#options.mailroom.dropUnasked(session);
  }

  #over(connection: Connection): boolean {
    return connection.guard.destroyed;
  }
}

function refuse(returnCode: Refusal["returnCode"], reason: string): Refusal {
  return { returnCode, reason };
}
