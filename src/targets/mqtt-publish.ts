/**
 * Publishing over one connection: a queue, a window of what is in flight, and the answers.
 *
 * Order: a broker handles what one connection sends in the order in which it is sent [MQTT-4.6.0-6], so
 * many of a lane may be in flight at once. What the connection's end leaves open is a prefix that arrived
 * and a rest that did not, and nobody knows where it was cut: everything in flight is `unknown`.
 *
 * An acknowledgement that does not come in time ends the connection: brokers acknowledge in order, so
 * nothing behind it would be answered either.
 *
 * The window: as wide as we and the broker allow. After a connection was lost with messages in flight it
 * starts at one and grows by one with each answer. Where it is one message that makes the broker hang up,
 * it is soon alone in flight, and its attempts are counted for it and not for its neighbours.
 */
import type { Clock, Timer } from "../core/clock.ts";
import { delivered, notSent, type Outcome, retryTarget, unknown } from "../core/outcome.ts";
import { afterStopGrace } from "../core/stop-grace.ts";
import { deliveryKey, letsLaneGoOn, notSentStopping } from "./batch.ts";
import type { MqttConnection } from "./mqtt-connection.ts";
import type { Publication } from "./mqtt-message.ts";
import { mqttOutcome } from "./mqtt-outcome.ts";
import type { PacketIds } from "./mqtt-session.ts";
import type { TargetDelivery } from "./target.ts";

export interface PublisherOptions {
  readonly connection: MqttConnection;
  readonly packetIds: PacketIds;
  readonly ackTimeoutMs: number;
  readonly windowMax: number;
  readonly windowStart: number;
  readonly perLaneMax: number;
  readonly clock: Clock;
}

export const HANDSHAKE_ENDED = "its QoS 2 handshake was ended after reconnecting";

/** One publish() call. */
interface Call {
  readonly outcomes: (Outcome | undefined)[];
  readonly stuckLanes: Set<string>;
  left: number;
  readonly done: () => void;
}

interface Item {
  readonly call: Call;
  readonly place: number;
  readonly lane: string;
  readonly key: string;
  readonly publication: Publication;
  readonly trace: TargetDelivery["trace"];
  packetId: number;
  sentAtMs: number;
}

export class Publisher {
  readonly #options: PublisherOptions;
  #queue: Item[] = [];
  /** In the order of sending. */
  readonly #inFlight = new Set<Item>();
  readonly #laneInFlight = new Map<string, number>();
  #window: number;
  #ackTimer: Timer | null = null;
  #lost: string | null = null;
  /** True where the connection ended with messages in flight. */
  lostInFlight = false;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#window = Math.min(options.windowStart, options.windowMax);
    options.connection.onLost((reason) => this.#lose(reason));
  }

  /** Publishes in the order given; an Outcome instead of a publication is its answer already. Never rejects. */
  publish(
    batch: readonly TargetDelivery[],
    publications: readonly (Publication | Outcome)[],
    signal: AbortSignal,
  ): Promise<Outcome[]> {
    return new Promise((resolve) => {
      const disarms: (() => void)[] = [];
      const call: Call = {
        outcomes: new Array(batch.length),
        stuckLanes: new Set(),
        left: batch.length,
        done: () => {
          for (const disarm of disarms) disarm();
          resolve(call.outcomes as Outcome[]);
        },
      };
      if (batch.length === 0) return call.done();
      const onAbort = () => this.#stopQueued(call);
      signal.addEventListener("abort", onAbort, { once: true });
      disarms.push(() => signal.removeEventListener("abort", onAbort));
      disarms.push(afterStopGrace(this.#options.clock, signal, () => this.#stopInFlight(call)));
      for (const [place, { lane, flow, message, trace }] of batch.entries()) {
        const publication = publications[place]!;
        const key = deliveryKey(flow, message.id);
        const item = {
          call,
          place,
          lane,
          key,
          publication: publication as Publication,
          trace,
          packetId: 0,
          sentAtMs: 0,
        };
        if ("kind" in publication) this.#answer(item, publication);
        else this.#queue.push(item);
      }
      if (this.#lost !== null) this.#lose(this.#lost);
      else if (signal.aborted) onAbort();
      else this.#pump();
    });
  }

  #pump(): void {
    const { connection } = this.#options;
    while (this.#inFlight.size < this.#window && connection.usable) {
      const item = this.#next();
      if (!item) break;
      if (item.call.stuckLanes.has(item.lane)) this.#answer(item, notSent);
      else this.#send(item);
    }
    this.#armAckTimer();
  }

  /** The next whose lane has room. */
  #next(): Item | undefined {
    const { perLaneMax, windowMax } = this.#options;
    if (perLaneMax >= windowMax) return this.#queue.shift();
    const at = this.#queue.findIndex(({ lane }) => (this.#laneInFlight.get(lane) ?? 0) < perLaneMax);
    return at < 0 ? undefined : this.#queue.splice(at, 1)[0];
  }

  #send(item: Item): void {
    const { connection, packetIds, clock } = this.#options;
    if (item.publication.qos === 2 && packetIds.takeEnded(item.key)) {
      this.#answer(item, delivered(HANDSHAKE_ENDED));
      return;
    }
    item.sentAtMs = clock.monoMs();
    item.trace?.begun();
    this.#inFlight.add(item);
    this.#laneInFlight.set(item.lane, (this.#laneInFlight.get(item.lane) ?? 0) + 1);
    connection.publish(item.publication, (reasonCode, says) => {
      if (!this.#takeOut(item)) return;
      this.#window = Math.min(this.#window + 1, this.#options.windowMax);
      this.#answer(item, mqttOutcome(reasonCode, says));
      this.#pump();
    });
    item.packetId = packetIds.getLastAllocated();
  }

  #takeOut(item: Item): boolean {
    if (!this.#inFlight.delete(item)) return false;
    const left = this.#laneInFlight.get(item.lane)! - 1;
    if (left > 0) this.#laneInFlight.set(item.lane, left);
    else this.#laneInFlight.delete(item.lane);
    return true;
  }

  #answer({ call, place, lane, trace }: Item, outcome: Outcome): void {
    if (call.outcomes[place] !== undefined) return;
    trace?.answered();
    call.outcomes[place] = outcome;
    if (!letsLaneGoOn(outcome)) call.stuckLanes.add(lane);
    if (--call.left === 0) call.done();
  }

  #armAckTimer(): void {
    if (this.#ackTimer || this.#inFlight.size === 0) return;
    const { clock, ackTimeoutMs, connection } = this.#options;
    const [oldest] = this.#inFlight;
    this.#ackTimer = clock.after(oldest!.sentAtMs + ackTimeoutMs - clock.monoMs(), () => {
      this.#ackTimer = null;
      const [first] = this.#inFlight;
      if (first && clock.monoMs() - first.sentAtMs >= ackTimeoutMs - 1) {
        connection.destroy(`no acknowledgement within ${ackTimeoutMs} ms`);
      } else {
        this.#armAckTimer();
      }
    });
  }

  #lose(reason: string): void {
    this.#lost = reason;
    this.#ackTimer?.cancel();
    this.#ackTimer = null;
    const { connection, packetIds } = this.#options;
    if (this.#inFlight.size > 0) this.lostInFlight = true;
    for (const item of this.#inFlight) {
      if (item.publication.qos === 2) {
        const released = connection.isReleased(item.packetId);
        packetIds.addDoubt(item.key, item.packetId, item.publication, released);
      }
      this.#answer(item, unknown(reason));
    }
    this.#inFlight.clear();
    this.#laneInFlight.clear();
    for (const item of this.#queue.splice(0)) {
      this.#answer(item, item.call.stuckLanes.has(item.lane) ? notSent : retryTarget(reason));
    }
  }

  #stopQueued(call: Call): void {
    this.#queue = this.#queue.filter((item) => {
      if (item.call !== call) return true;
      this.#answer(item, item.call.stuckLanes.has(item.lane) ? notSent : notSentStopping);
      return false;
    });
  }

  #stopInFlight(call: Call): void {
    for (const item of this.#inFlight) {
      if (item.call === call) this.#answer(item, unknown("not acknowledged when the gateway stopped"));
    }
  }
}
