/**
 * The subscriptions of one device, one for each group, over one link after the other.
 *
 * Promise: what a server sends is handed on once and in its order, and acknowledged to it only when it is
 * stored; until then the server keeps it, as far as its own limits allow. After a broken link the same
 * subscriptions are taken up again: with the session where it is still there, else by a transfer to a new one,
 * and what was sent meanwhile is asked for again (Republish). Where a server has nothing any more, the gap is
 * said: which group, since when, and why.
 *
 * Notifications are numbered by the server, so that a missing one is seen by the number of the next, or of the
 * next keep-alive, which bears the number that comes next [OPC 10000-4, 5.14.1.1].
 */
import type { Clock } from "../../core/clock.ts";
import { isGood, statusText } from "./decode.ts";
import { failureOf, failureText, LinkError, statusIn } from "./failure.ts";
import type { DataValue, Library, NotificationMessage, PublishResponse } from "./library.ts";
import type { Link } from "./link.ts";
import type { GroupConfig, NodeConfig, OpcuaDeviceConfig } from "./schema.ts";

/** [OPC 10000-4, 7.8]: they begin at 1, and begin again after this. */
const SEQUENCE_MAX = 0xffff_ffff;
/** One by one they are asked for again; a hole wider than this is a gap without asking. */
const REPUBLISHED_MAX = 1000;
const ITEMS_PER_CALL_MAX = 500;
const KEEP_ALIVE_COUNT_MIN = 1;
/** Beside one for each subscription, so that the server is never without. */
const SPARE_REQUESTS = 1;

export interface Item {
  readonly signal: string;
  readonly node: NodeConfig;
}

export interface Listener {
  /** Values of a group, in the server's order. `stored` is to be called once all that is made of them is. */
  values(group: string, values: readonly { item: Item; data: DataValue }[], stored: () => void): void;
  /** Something of this group may be missing. */
  gap(group: string, reason: string, fromMs: number, toMs: number): void;
  /** The server does not watch a node. */
  refused(group: string, item: Item, reason: string): void;
  /** It is made anew: what is known of the group is not what comes next. */
  renewed(group: string): void;
  /** The server said something. */
  heard(): void;
}

interface Subscription {
  readonly group: string;
  readonly settings: GroupConfig;
  readonly items: readonly Item[];
  id: number | null;
  /** The number of the notification that comes next; null until the first came. */
  expected: number | null;
  /** Of the last thing heard of it; wall. */
  heardAtMs: number | null;
  /** How many nodes the server watches. */
  watched: number;
}

export class Subscriptions {
  readonly #config: OpcuaDeviceConfig;
  readonly #library: Library;
  readonly #clock: Clock;
  readonly #listener: Listener;
  readonly #all: readonly Subscription[];
  #acknowledgements: { readonly subscriptionId: number; readonly sequenceNumber: number }[] = [];
  /** Notifications are worked on one after the other, also where one has to be waited for. */
  #working: Promise<void> = Promise.resolve();

  constructor(config: OpcuaDeviceConfig, library: Library, clock: Clock, listener: Listener) {
    this.#config = config;
    this.#library = library;
    this.#clock = clock;
    this.#listener = listener;
    this.#all = Object.entries(config.groups).map(([group, settings]) => ({
      group,
      settings,
      items: Object.entries(settings.nodes).map(([signal, node]) => ({ signal, node })),
      id: null,
      expected: null,
      heardAtMs: null,
      watched: 0,
    }));
  }

  /** True where the server watches at least one node. */
  get isWatching(): boolean {
    return this.#all.some(({ id, watched }) => id !== null && watched > 0);
  }

  /** Takes up what was there before, makes what was not, and asks for more from then on, until the link breaks. */
  async start(link: Link): Promise<void> {
    await this.#working;
    this.#acknowledgements = [];
    if (!link.isResumed) await this.#transfer(link);
    for (const each of this.#all) {
      if (each.id !== null) await this.#catchUp(each, null, link);
      if (each.id === null) await this.#create(each, link);
    }
    for (let n = 0; n < this.#all.length + SPARE_REQUESTS; n++) this.#ask(link);
  }

  /** [OPC 10000-4, 5.14.7]: the subscriptions of a session that is gone, to the new one. */
  async #transfer(link: Link): Promise<void> {
    const held = this.#all.filter(({ id }) => id !== null);
    if (held.length === 0) return;
    const subscriptionIds = held.map(({ id }) => id!);
    let reasons: readonly (string | null)[];
    try {
      const request = { subscriptionIds, sendInitialValues: false };
      const { results } = await link.ask(link.session.transferSubscriptions(request));
      reasons = held.map((_, at) => {
        const status = results?.[at]?.statusCode;
        return status && isGood(status) ? null : status ? statusText(status) : "it did not say why";
      });
    } catch (error) {
      if (statusIn(error) === null) throw error;
      reasons = held.map(() => failureText(failureOf(error)));
    }
    for (const [at, each] of held.entries()) {
      const reason = reasons[at];
      if (reason) this.#lose(each, `the subscription could not be taken over (${reason})`);
    }
  }

  async #create(each: Subscription, link: Link): Promise<void> {
    const { keepAlive, lifetime } = this.#config;
    const { every } = each.settings;
    const keepAliveCount = Math.max(KEEP_ALIVE_COUNT_MIN, Math.floor(keepAlive / every));
    const created = await link.ask(
      link.session.createSubscription({
        requestedPublishingInterval: every,
        requestedMaxKeepAliveCount: keepAliveCount,
        requestedLifetimeCount: Math.max(3 * keepAliveCount, Math.ceil(lifetime / every)),
        maxNotificationsPerPublish: 0,
        publishingEnabled: true,
        priority: 0,
      }),
    );
    each.id = created.subscriptionId;
    each.expected = null;
    each.heardAtMs = this.#clock.wallMs();
    each.watched = 0;
    this.#listener.heard();
    this.#listener.renewed(each.group);
    for (let from = 0; from < each.items.length; from += ITEMS_PER_CALL_MAX) {
      await this.#watch(each, each.items.slice(from, from + ITEMS_PER_CALL_MAX), from, link);
    }
  }

  async #watch(each: Subscription, items: readonly Item[], from: number, link: Link): Promise<void> {
    const { AttributeIds } = this.#library;
    const { every, sampling = every, queueSize, discard } = each.settings;
    const { results } = await link.ask(
      link.session.createMonitoredItems({
        subscriptionId: each.id,
        timestampsToReturn: TIMESTAMPS_BOTH,
        itemsToCreate: items.map(({ node }, at) => ({
          itemToMonitor: { nodeId: node.node, attributeId: AttributeIds.Value },
          monitoringMode: MONITORING_REPORTING,
          requestedParameters: {
            clientHandle: from + at + 1,
            samplingInterval: node.sampling ?? sampling,
            queueSize: node.queueSize ?? queueSize,
            discardOldest: (node.discard ?? discard) === "oldest",
            filter: this.#filter(node),
          },
        })),
      }),
    );
    for (const [at, item] of items.entries()) {
      const status = results?.[at]?.statusCode;
      if (status && isGood(status)) each.watched += 1;
      else {
        this.#listener.refused(
          each.group,
          item,
          status ? refusalText(statusText(status), item) : "no result",
        );
      }
    }
  }

  #filter({ deadband, deadbandPercent }: NodeConfig): object | null {
    if (deadband === undefined && deadbandPercent === undefined) return null;
    return new this.#library.DataChangeFilter({
      trigger: TRIGGER_STATUS_VALUE,
      deadbandType: deadband === undefined ? DEADBAND_PERCENT : DEADBAND_ABSOLUTE,
      deadbandValue: deadband ?? deadbandPercent,
    });
  }

  #ask(link: Link): void {
    const subscriptionAcknowledgements = this.#acknowledgements.splice(0);
    const timeoutHint = this.#silenceMs() * (this.#all.length + SPARE_REQUESTS);
    const request = { requestHeader: { timeoutHint }, subscriptionAcknowledgements };
    link.session.publish(request, (error, response) => {
      if (response && !error) {
        this.#listener.heard();
        this.#working = this.#working
          .then(() => this.#answered(response, link))
          .catch((failure) => link.declareLost(lossOf(failure)));
        // The next question bears what has been stored by then, so it waits for the answer to be worked on.
        void this.#working.then(() => this.#ask(link));
        return;
      }
      const status = statusIn(error);
      // The server has more questions than it takes, or one has waited for too long: the others go on.
      if (status === "BadTooManyPublishRequests") return;
      if (status === "BadTimeout") return this.#ask(link);
      link.declareLost(lossOf(error));
    });
  }

  /** How long the server may say nothing. */
  #silenceMs(): number {
    const { keepAlive, timeout, groups } = this.#config;
    return Math.max(keepAlive, ...Object.values(groups).map(({ every }) => every)) + timeout;
  }

  get silenceMsMax(): number {
    return this.#silenceMs();
  }

  async #answered({ subscriptionId, notificationMessage }: PublishResponse, link: Link): Promise<void> {
    const each = this.#all.find(({ id }) => id === subscriptionId);
    // Of one that was given up before: the server will notice that nobody wants it.
    if (!each) return;
    const isKeepAlive = (notificationMessage.notificationData ?? []).length === 0;
    const { sequenceNumber } = notificationMessage;
    if (each.expected !== null && isLater(sequenceNumber, each.expected)) {
      await this.#catchUp(each, sequenceNumber, link);
    }
    if (each.id !== null) {
      each.heardAtMs = this.#clock.wallMs();
      if (isKeepAlive) each.expected ??= sequenceNumber;
      else this.#take(each, notificationMessage);
    }
    if (each.id === null) await this.#create(each, link);
  }

  /** Asks again for what was sent and did not come, up to `until`, or to the end of what the server has. */
  async #catchUp(each: Subscription, until: number | null, link: Link): Promise<void> {
    for (let n = 0; each.id !== null && each.expected !== null && each.expected !== until; n++) {
      const asked = each.expected;
      const again =
        n < REPUBLISHED_MAX ? await this.#republish(each.id, asked, link) : "BadMessageNotAvailable";
      if (typeof again !== "string") {
        this.#take(each, again);
        // A server that answers with another one than was asked for would be asked for ever.
        if (each.expected === asked) each.expected = after(asked);
        continue;
      }
      if (again === "BadSubscriptionIdInvalid") {
        this.#lose(each, `the server has the subscription no more (${again})`);
      } else if (until !== null) {
        this.#gap(each, `the server no longer has notifications ${asked} to ${until - 1} (${again})`);
        each.expected = until;
      } else return;
    }
  }

  #republish(id: number, number: number, link: Link): Promise<NotificationMessage | string> {
    const request = { subscriptionId: id, retransmitSequenceNumber: number };
    const answer = new Promise<NotificationMessage | string>((resolve, reject) => {
      link.session.republish(request, (error, response) => {
        const status = error ? statusIn(error) : null;
        if (status !== null && failureOf(error).answered) resolve(status);
        else if (error || !response) reject(error ?? new Error("no answer"));
        else {
          this.#listener.heard();
          resolve(response.notificationMessage);
        }
      });
    });
    return link.ask(answer);
  }

  #take(each: Subscription, { sequenceNumber, notificationData }: NotificationMessage): void {
    const { group, id } = each;
    // It came before, by another way.
    if (each.expected !== null && isLater(each.expected, sequenceNumber)) return;
    each.expected = after(sequenceNumber);
    const values: { item: Item; data: DataValue }[] = [];
    for (const { monitoredItems, status } of notificationData ?? []) {
      for (const { clientHandle, value } of monitoredItems ?? []) {
        const item = each.items[clientHandle - 1];
        if (item) values.push({ item, data: value });
      }
      if (status && !isGood(status))
        this.#lose(each, `the server ended the subscription (${statusText(status)})`);
    }
    const acknowledge = () => void this.#acknowledgements.push({ subscriptionId: id!, sequenceNumber });
    this.#listener.values(group, values, acknowledge);
  }

  #lose(each: Subscription, reason: string): void {
    each.id = null;
    each.watched = 0;
    this.#gap(each, reason);
  }

  #gap(each: Subscription, reason: string): void {
    const nowMs = this.#clock.wallMs();
    this.#listener.gap(each.group, reason, each.heardAtMs ?? nowMs, nowMs);
  }
}

/** [OPC 10000-4, 7.40; 7.22; 7.10; 7.22.2] */
const TIMESTAMPS_BOTH = 2;
const MONITORING_REPORTING = 2;
const TRIGGER_STATUS_VALUE = 1;
const [DEADBAND_ABSOLUTE, DEADBAND_PERCENT] = [1, 2];

function after(sequence: number): number {
  return sequence >= SEQUENCE_MAX ? 1 : sequence + 1;
}

/** Half the numbers lie ahead, half behind, since they begin again. */
function isLater(a: number, b: number): boolean {
  const ahead = (a - b + SEQUENCE_MAX) % SEQUENCE_MAX;
  return ahead !== 0 && ahead < SEQUENCE_MAX / 2;
}

/** The link is no use after this, whatever it was. */
function lossOf(error: unknown): LinkError {
  const { name, sentence, answered } = failureOf(error);
  return new LinkError(name, sentence, answered);
}

function refusalText(status: string, { node }: Item): string {
  const filtered = node.deadband !== undefined || node.deadbandPercent !== undefined;
  if (!filtered || !/Filter|Deadband/.test(status)) return status;
  return `${status.replace(/\.$/, "")}; leave \`deadband\` to the gateway: \`report: { deadband: … }\``;
}
