/**
 * Receipts: producers are told what becomes of their messages, where the config asks for it, so that a machine's own
 * screen can say "stored here, waiting for the backend" rather than "sent".
 *
 * Promise: what a receipt says was so in the store when it was written; only the device that sent a message is told of
 * it. No acknowledgement waits for a receipt: what was accepted is noted in memory, and told later.
 *
 * A message is followed from its commit until it is settled in each of its flows. Once an interval those followed are
 * looked up, some at a time, by the reader's thread, and each device gets one message with all that changed. A dead
 * letter is followed on, since a person may put it back.
 *
 * Trades away: receipts are best effort. They go out at QoS 0 to whoever of the device is connected, or into the one
 * persistent session that subscribed at QoS 1; of a state that came and went between two looks nothing is said; at most
 * `followedMax` are followed. A start takes up what is open.
 */
import type { Clock, Timer } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import { BaseService } from "../core/service.ts";
import { topicLevel } from "../core/topic.ts";
import type { Accepting, Draft, Receipt } from "../intake/draft.ts";
import type { FlowState } from "../queue/queries-receipts.ts";
import type { Querying } from "../queue/reader.ts";
import type { ReceiptsConfig } from "./schema.ts";

/** Looked up at a time: what is known of them moves between two threads. */
const LOOK_MAX = 500;
/** In one message to a device. */
const TOLD_MAX = 200;
/** Of a reason, on a machine's screen. */
const REASON_CHARS_MAX = 200;

export interface ReceiptsOptions {
  readonly config: ReceiptsConfig;
  readonly gateway: string;
  readonly reader: Querying;
  /** Hands a message to one device alone, as far as it can be reached. */
  readonly send: (device: string, topic: string, payload: Buffer) => void;
  /** One is not followed any more, because there were too many. */
  readonly onLeftOut: () => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Followed {
  readonly seq: number;
  readonly id: string;
  readonly device: string;
  readonly topic: string;
  /** What was told last. */
  told: string;
  /** Of the accept that is still to be told; a duplicate is told of where the first one is. */
  news: "stored" | "duplicate" | null;
}

/** `stored`: here, and open in a flow. Else what became of it, the worst first. */
export type ReceiptState = "stored" | "dead" | "evicted" | "expired" | "discarded" | "delivered";

const WORST_FIRST = ["dead", "evicted", "expired", "discarded"] as const;

export class Receipts extends BaseService {
  readonly #options: ReceiptsOptions;
  /** By sequence, in the order in which they are looked at next. */
  readonly #followed = new Map<number, Followed>();
  readonly #devices: ReadonlySet<string> | "all";
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;

  constructor(options: ReceiptsOptions) {
    super();
    this.#options = options;
    const { devices } = options.config;
    this.#devices = devices.includes("*") ? "all" : new Set(devices);
  }

  get followed(): number {
    return this.#followed.size;
  }

  /** As a door is to know intake: what it hands in is noted when it was accepted. */
  listening(intake: Accepting): Accepting {
    if (this.#devices !== "all" && this.#devices.size === 0) return intake;
    return {
      accept: async (draft, signal) => {
        const receipt = await intake.accept(draft, signal);
        this.#note(draft, receipt);
        return receipt;
      },
    };
  }

  protected async onStart(): Promise<void> {
    if (this.#devices !== "all" && this.#devices.size === 0) return;
    const { reader, config, logger } = this.#options;
    try {
      const devices = this.#devices === "all" ? null : [...this.#devices];
      for (const message of await reader.query("openMessages", { devices, limit: config.followedMax })) {
        this.#follow({ ...message, told: "", news: null });
      }
    } catch (error) {
      logger.warn({ err: errorText(error) }, "what was open before cannot be followed for receipts");
    }
    this.#lookLater();
  }

  protected async onStop(): Promise<void> {
    this.#timer?.cancel();
    await this.#looking;
  }

  #note({ device, topic }: Draft, receipt: Receipt): void {
    if (receipt.kind !== "stored" && receipt.kind !== "duplicate") return;
    if (this.#devices !== "all" && !this.#devices.has(device)) return;
    const { id, seq, kind } = receipt;
    this.#follow({ seq, id, device, topic, told: "", news: kind });
  }

  #follow(message: Followed): void {
    this.#followed.set(message.seq, message);
    if (this.#followed.size <= this.#options.config.followedMax) return;
    this.#followed.delete(this.#followed.keys().next().value!);
    this.#options.onLeftOut();
  }

  #lookLater(): void {
    if (this.stopping) return;
    const { clock, config, logger } = this.#options;
    this.#timer = clock.after(config.interval, () => {
      this.#looking = this.#look()
        .catch((error) => logger.warn({ err: errorText(error) }, "receipts could not be looked up"))
        .finally(() => this.#lookLater());
    });
  }

  async #look(): Promise<void> {
    const seqs = [...this.#followed.keys()].slice(0, LOOK_MAX);
    if (seqs.length === 0) return;
    const states = await this.#options.reader.query("messageStates", { seqs });
    const found = new Map(states.map(({ seq, flows }) => [seq, flows]));
    const told = new Map<string, object[]>();
    for (const seq of seqs) {
      const message = this.#followed.get(seq);
      if (!message) continue;
      this.#followed.delete(seq);
      const flows = found.get(seq);
      // Removed by retention, so it was settled long ago.
      if (!flows) continue;
      const receipt = receiptOf(message, flows);
      const said = JSON.stringify(receipt);
      if (said !== message.told || message.news === "duplicate") {
        const duplicate = message.news === "duplicate" ? { duplicate: true } : {};
        told.set(message.device, [...(told.get(message.device) ?? []), { ...receipt, ...duplicate }]);
      }
      // To the end: those behind it are looked at first.
      if (!isSettled(flows)) this.#followed.set(seq, { ...message, told: said, news: null });
    }
    for (const [device, receipts] of told) this.#tell(device, receipts);
  }

  #tell(device: string, receipts: readonly object[]): void {
    const { gateway, send, clock } = this.#options;
    const topic = `holdfast/${gateway}/receipts/${topicLevel(device)}`;
    for (let at = 0; at < receipts.length; at += TOLD_MAX) {
      const body = { atMs: clock.wallMs(), receipts: receipts.slice(at, at + TOLD_MAX) };
      send(device, topic, Buffer.from(JSON.stringify(body)));
    }
  }
}

function receiptOf({ id, device, topic }: Followed, flows: readonly FlowState[]) {
  return {
    id: ownId(id, device),
    messageId: id,
    topic,
    state: stateOf(flows),
    flows: Object.fromEntries(
      flows.map(({ flow, state, reason }) => [
        flow,
        reason === null ? { state } : { state, reason: reason.slice(0, REASON_CHARS_MAX) },
      ]),
    ),
  };
}

function stateOf(flows: readonly FlowState[]): ReceiptState {
  const states = new Set(flows.map(({ state }) => state));
  if (states.has("waiting") || states.has("sending") || states.has("unknown") || states.size === 0) {
    return "stored";
  }
  return WORST_FIRST.find((state) => states.has(state)) ?? "delivered";
}

/** Nothing more will come of it by itself, or by a person's hand. A message that no flow takes is only kept. */
function isSettled(flows: readonly FlowState[]): boolean {
  const open: readonly string[] = ["waiting", "sending", "unknown", "dead"];
  return !flows.some(({ state }) => open.includes(state));
}

/** The producer's own id where it declared one: intake puts the device before it (intake.ts). */
function ownId(id: string, device: string): string {
  const prefix = `${device.replace(/[%:]/g, encodeURIComponent)}:`;
  return id.startsWith(prefix) ? id.slice(prefix.length) : id;
}
