/**
 * Takes streams in, runs aedes on them, and sees each connection to its end. The hooks that aedes calls are
 * here, and each leads to the file that decides.
 */
import type { Duplex } from "node:stream";
import { type Clock, sleep } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import {
  type AedesClient,
  BrokerCore,
  type Publish,
  readByGuard,
  refreshKeepalive,
} from "./aedes-internals.ts";
import { Connection, type ConnectionListener, factsOf, type Origin } from "./connection.ts";
import type { Door } from "./door.ts";
import type { FanOut } from "./fan-out.ts";
import type { Ledger } from "./ledger.ts";
import type { PacketProblem } from "./packet-scan.ts";
import type { Done } from "./publish-gate.ts";
import type { RefusalLog } from "./refusal-log.ts";
import type { RetainedSender } from "./retained-sender.ts";
import type { BrokerLimits } from "./schema.ts";
import type { ServedPersistence } from "./served-persistence.ts";
import type { Sessions } from "./sessions.ts";
import { StreamGuard } from "./stream-guard.ts";
import { Turns } from "./turns.ts";
import type { Wills } from "./wills.ts";
import { Workload } from "./workload.ts";

export interface ReceptionOptions {
  /** Of this run: aedes tells packets of different runs apart by it. */
  readonly id: string;
  readonly limits: BrokerLimits;
  readonly door: Door;
  readonly sessions: Sessions;
  readonly persistence: ServedPersistence;
  readonly fanOut: FanOut;
  readonly wills: Wills;
  readonly retainedSender: RetainedSender;
  readonly ledger: Ledger;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onDevice: (event: DeviceEvent) => void;
}

export interface DeviceEvent {
  readonly kind: "connected" | "disconnected";
  readonly device: string;
  readonly clientId: string;
  /** Why it disconnected. */
  readonly reason: string | null;
}

/** aedes and qlobber stop at 100 levels. */
const TOPIC_LEVELS_MAX = 100;
const STOPPING = "the gateway stops";
/** A connection that is closed is gone within this, unless the store takes nothing any more. */
const CLOSE_MS = 500;
/** A large packet is finished within this where others wait for room to begin theirs. */
const HOARD_MS_MAX = 5000;
/** The QoS of a subscription that was refused [MQTT-3.9.3-2]. */
const REFUSED = 128;
/** CONNACK return code 3: server unavailable. */
const UNAVAILABLE = 3;

export function connectionBehind(client: AedesClient): Connection {
  return client.conn.owner as Connection;
}

export class Reception implements ConnectionListener {
  readonly #options: ReceptionOptions;
  readonly core: BrokerCore;
  readonly connections = new Set<Connection>();
  readonly workload: Workload;
  readonly #turns: Turns;
  #closing = false;

  constructor(options: ReceptionOptions) {
    this.#options = options;
    const { id, limits, persistence } = options;
    this.workload = new Workload(limits);
    this.#turns = new Turns(options.clock);
    const { work, bytes, partial } = this.workload;
    for (const amount of [work, bytes, partial]) amount.onFree = () => this.#turns.released();
    // The hooks' declared types know less of a client than we do.
    const hooks = {
      preConnect: this.#preConnect,
      authenticate: this.#authenticate,
      authorizePublish: this.#authorizePublish,
      authorizeSubscribe: this.#authorizeSubscribe,
      authorizeForward: (client: AedesClient, packet: Publish) => options.fanOut.forward(client, packet),
    } as object;
    this.core = new BrokerCore({
      id,
      persistence,
      connectTimeout: limits.connectTimeout,
      maxInflightInbound: limits.qos2InboundMax,
      maxClientsIdLength: 65_535,
      maxTopicLevels: TOPIC_LEVELS_MAX,
      ...hooks,
    });
    this.#listen();
  }

  /** A new stream, of which nothing has been read. */
  take(stream: Duplex, origin: Origin): void {
    if (this.#closing) {
      stream.destroy();
      return;
    }
    const { limits, clock, ledger } = this.#options;
    ledger.figures.connections++;
    const connection = new Connection(origin, clock, this);
    const surroundings = { clock, turns: this.#turns, workload: this.workload };
    const guard = new StreamGuard(stream, limits, surroundings, connection);
    connection.guard = guard;
    this.connections.add(connection);
    this.#see(connection).catch((error) => this.onDefect(connection, error));
  }

  /** Now and then: closes the frozen, and keeps alive those that we do not read. */
  inspect(): void {
    const { clock, limits, ledger, refusals } = this.#options;
    const nowMs = clock.monoMs();
    for (const connection of this.connections) {
      const { guard, client } = connection;
      if (client && guard.holding) refreshKeepalive(client);
      if (guard.hoardingMs(nowMs) > HOARD_MS_MAX) {
        ledger.refused("packet not finished");
        refusals.note(
          "packet not finished",
          factsOf(connection),
          "a client began a packet, did not finish it, and was closed to make room",
        );
        connection.kill("packet not finished: others waited for the room it took");
        continue;
      }
      if (guard.stalledMs(nowMs) <= limits.frozenAfter) continue;
      ledger.figures.frozenClosed++;
      refusals.note(
        "frozen",
        factsOf(connection),
        "a client took nothing of what waits for it and was closed",
      );
      connection.kill("frozen: took nothing of what was sent to it");
    }
  }

  /**
   * Takes nothing more in, reads nothing more, and closes each connection when what it has sent is stored
   * and acknowledged. Resolves when all are gone, or when `patience` is over: then what is left is closed.
   */
  async close(patience: Promise<void>): Promise<void> {
    this.#closing = true;
    for (const connection of this.connections) {
      connection.reason ??= STOPPING;
      connection.guard.stopReading();
    }
    await Promise.race([patience, this.#allGone()]);
    for (const connection of this.connections) {
      connection.close(STOPPING);
      connection.abandon();
    }
    const over = new AbortController();
    const moment = sleep(this.#options.clock, CLOSE_MS, over.signal);
    await Promise.race([moment, this.#allGone()]);
    over.abort();
  }

  async #allGone(): Promise<void> {
    await Promise.all([...this.connections].map((connection) => connection.gone));
  }

  /** Follows a connection to its end, then puts away what was kept for it. */
  async #see(connection: Connection): Promise<void> {
    const { clock, limits, door, sessions, wills } = this.#options;
    const deadline = clock.after(limits.connectTimeout, () => {
      if (!connection.isAccepted) connection.close("not through CONNECT in time");
    });
    await connection.finished;
    deadline.cancel();
    this.#options.retainedSender.drop(connection);
    await connection.admission;
    const { admitted } = connection;
    if (admitted) {
      admitted.outbox.stop();
      wills.withdraw(connection);
      await admitted.gate.qos2Settled();
      const left = sessions.leave(admitted.session);
      // The next session under this client id must not meet packet ids of this one.
      await left.catch(() => {});
    }
    door.leave(connection);
    this.connections.delete(connection);
    connection.markGone();
    this.#tell(connection);
  }

  #tell(connection: Connection): void {
    const { ledger, logger, onDevice } = this.#options;
    const { admitted, isAccepted, reason } = connection;
    if (!admitted || !isAccepted) return;
    ledger.disconnected(admitted.device);
    const why = reason ?? "the connection ended";
    logger.info({ ...factsOf(connection), reason: why }, "client disconnected");
    const { device } = admitted.device;
    onDevice({ kind: "disconnected", device, clientId: admitted.clientId, reason: why });
  }

  /** aedes hears of it only now: a connection that says nothing costs a socket and little more. */
  onGreeted(connection: Connection): void {
    const { guard } = connection;
    connection.client = this.core.handle(guard) as unknown as AedesClient;
    readByGuard(connection.client, () => guard.done());
  }

  onAccepted(connection: Connection): void {
    const { ledger, logger, onDevice } = this.#options;
    const { device, clientId } = connection.admitted!;
    ledger.connected(device);
    logger.info(factsOf(connection), "client connected");
    onDevice({ kind: "connected", device: device.device, clientId, reason: null });
  }

  onBroke(connection: Connection, problem: PacketProblem): void {
    const { ledger, refusals } = this.#options;
    ledger.refused(problem, connection.admitted?.device);
    const sentence =
      problem === "unsupported protocol version"
        ? "a client speaks a version of MQTT that is not spoken here (perhaps 5); set it to 3.1.1"
        : "a client broke the protocol or a limit and was closed";
    refusals.note(problem, factsOf(connection), sentence);
  }

  onDefect(connection: Connection, error: unknown): void {
    this.#options.ledger.refused("internal error");
    this.#options.logger.error(
      { ...factsOf(connection), error: errorText(error), stack: error instanceof Error ? error.stack : null },
      "this is a defect in Holdfast: a client was closed for it",
    );
    connection.close("internal error");
  }

  // --- What aedes asks

  /** Must answer at once: while it does not, aedes would handle what follows the CONNECT. */
  readonly #preConnect = (
    client: AedesClient,
    packet: { clientId: string; clean?: boolean; username?: string; will?: { topic: string } },
    done: (error: Error | null, go: boolean) => void,
  ): void => {
    const connection = connectionBehind(client);
    const assigned = packet.clientId === "";
    if (assigned) {
      packet.clientId = this.#options.door.newClientId(connection, packet.username);
    }
    connection.hello = {
      clientId: packet.clientId,
      assigned,
      clean: packet.clean === true,
      willTopic: packet.will?.topic ?? null,
    };
    done(null, true);
  };

  readonly #authenticate = (
    client: AedesClient,
    username: string | undefined,
    password: Buffer | undefined,
    done: (error: (Error & { returnCode: number }) | null, go: boolean) => void,
  ): void => {
    const connection = connectionBehind(client);
    const { door, ledger, refusals, logger } = this.#options;
    const refuse = (returnCode: number, reason: string) => {
      ledger.refused(reason);
      connection.reason ??= reason;
      const facts = { ...factsOf(connection), user: username, clientId: connection.hello?.clientId };
      refusals.note(reason, facts, "a client was not let in");
      done(Object.assign(new Error(reason), { returnCode }), false);
    };
    connection.admission = door.admit(connection, connection.hello!, username, password).then(
      (refusal) => (refusal ? refuse(refusal.returnCode, refusal.reason) : done(null, true)),
      (error) => {
        logger.error({ ...factsOf(connection), error: errorText(error) }, "a login failed on our side");
        refuse(UNAVAILABLE, "internal error");
      },
    );
  };

  readonly #authorizePublish = (client: AedesClient | null, packet: Publish, done: Done): void => {
    if (!client) {
      done(new Error("no client"));
      return;
    }
    const connection = connectionBehind(client);
    if (packet === client.will) this.#options.wills.lost(connection, packet, done);
    else if (connection.admitted) connection.admitted.gate.submit(packet, done);
    else done(new Error("not authenticated"));
  };

  readonly #authorizeSubscribe = (
    client: AedesClient,
    sub: { topic: string },
    done: (error: Error | null, sub: object | null) => void,
  ): void => {
    const connection = connectionBehind(client);
    const { admitted, filters } = connection;
    connection.guard.pace.asked(1);
    const allowed = admitted?.rules.maySubscribe(sub.topic) === true;
    if (allowed && (filters.size < this.#options.limits.subscriptionsMax || filters.has(sub.topic))) {
      filters.add(sub.topic);
      done(null, sub);
      return;
    }
    const reason = allowed ? "too many subscriptions" : "subscription not allowed";
    this.#options.ledger.refused(reason, admitted?.device);
    const facts = { ...factsOf(connection), filter: sub.topic };
    this.#options.refusals.note(reason, facts, "a subscription was refused");
    done(null, null); // SUBACK 0x80 [MQTT-3.9.3-2]
  };

  // --- What aedes tells

  #listen(): void {
    const { core } = this;
    const { ledger, logger } = this.#options;
    const on = core.on.bind(core) as unknown as (
      event: string,
      listener: (...args: never[]) => void,
    ) => unknown;
    on("clientReady", (client: AedesClient) => {
      const connection = connectionBehind(client);
      connection.subscriptionsChanged();
      connection.guard.open();
      connection.admitted?.outbox.start();
    });
    const failed = (client: AedesClient, error: Error) => {
      connectionBehind(client).reason ??= errorText(error);
    };
    on("clientError", failed);
    on("connectionError", failed);
    on("subscribe", (subs: { topic: string; qos: number }[], client: AedesClient) => {
      const connection = connectionBehind(client);
      connection.subscriptionsChanged();
      const granted = subs.filter(({ qos }) => qos !== REFUSED).map(({ topic }) => topic);
      const answered = () => {
        connection.guard.pace.answered(subs.length);
        connection.guard.freed();
      };
      if (connection.admitted) this.#options.retainedSender.send(connection, granted, answered);
      else answered();
    });
    on("unsubscribe", (filters: string[], client: AedesClient) => {
      const connection = connectionBehind(client);
      for (const filter of filters) connection.filters.delete(filter);
      connection.subscriptionsChanged();
    });
    // Without a listener an emitted error ends the process.
    on("error", (error: Error) => {
      ledger.refused("internal error");
      logger.error({ error: errorText(error) }, "the protocol engine reports an error");
    });
  }
}
