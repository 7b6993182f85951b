/**
 * The contract of a target: a backend that is given messages.
 *
 * A target is given a batch and answers with one outcome per delivery, in the same order. It never throws
 * for control flow (a thrown error is a defect; the relay turns it into `unknown`), never schedules a
 * retry, never sees the queue.
 *
 * Order: deliveries of one `lane` stand in the batch in the order in which they must take effect. A target
 * may work on different lanes at the same time, and may have many of one lane in flight where its protocol
 * keeps their order. Where one does not get through (`retry`, `unknown`), those of its lane behind it that
 * were not sent are answered with `notSent`. Where one is rejected, the lane goes on.
 *
 * Honesty: `delivered` only for what the backend has confirmed. Sent and not answered is `unknown`, never
 * `retry`: `retry` claims that the backend did not take it.
 */
import type { Message } from "../core/message.ts";
import type { Outcome } from "../core/outcome.ts";
import type { Service } from "../core/service.ts";

export interface TargetDelivery {
  readonly message: Message;
  readonly flow: string;
  /** Deliveries with the same text here must take effect in the order given. */
  readonly lane: string;
  /** 1 for the first try. */
  readonly attempt: number;
  /** True where an earlier try's answer was lost, so that the backend may have it already. */
  readonly resend: boolean;
  /** Arrived later than its flow's `lateAfter`. */
  readonly late: boolean;
  /** A person has changed it since it was accepted; its id is the same. */
  readonly edited?: boolean;
  /** A person has it delivered again, or on this flow as well: it may be old, and the backend may have it. */
  readonly replay: boolean;
  /** What is left of its time to live, or null where it has none. */
  readonly expiresInMs: number | null;
  /** Since it was accepted. */
  readonly waitedMs: number;
  /** Where this try is traced. */
  readonly trace?: DeliveryTrace | undefined;
}

/** One try in a trace: what its backend is told, and when it was tried. */
export interface DeliveryTrace {
  readonly traceparent: string;
  readonly tracestate: string | null;
  /** It is about to go out. One that its target never got to was not tried. */
  begun(): void;
  /** Its answer is there, or will not come. */
  answered(): void;
}

export interface TargetHealth {
  /** What an operator reads: "connected to …", "ECONNREFUSED 127.0.0.1:1884". */
  readonly detail: string;
  readonly reachable: boolean;
}

export interface Target extends Service {
  readonly name: string;
  readonly type: string;
  /** True where the backend makes a message that it gets twice under one id once in effect. */
  readonly idempotent: boolean;
  /** The relay gives at most this many deliveries in one call… */
  readonly batchMax: number;
  /** …with at most about this many payload bytes (one delivery may be larger)… */
  readonly batchBytesMax: number;
  /** …and makes at most this many calls at a time, never with the same lane in two of them. */
  readonly concurrency: number;
  /** True where the deliveries of a call go to the backend together, so that they are one try. */
  readonly together?: boolean;
  /** `signal` aborts at shutdown: answer soon, and honestly (`unknown` for what was sent). */
  deliver(batch: readonly TargetDelivery[], signal: AbortSignal): Promise<Outcome[]>;
  /** How it is probed, where that is not for the relay's config to say: a device is asked of what is known of it. */
  readonly probing?: { readonly whenIdle: boolean; readonly delayMsMax: number };
  /** Asks whether the backend is there, without sending a message. For the circuit's probe and for health. */
  probe(signal: AbortSignal): Promise<TargetHealth>;
  /**
   * Tells the backend how the gateway is (JSON), where its config asks for that. Best effort, the newest
   * counts, nothing waits for it; absent where the protocol has no place for it.
   */
  announce?(health: string): void;
  /**
   * Publishes words about the gateway, for people, to a topic of this backend. Resolves when the backend has them;
   * rejects with why not. Absent where the protocol has no topics.
   */
  tell?(topic: string, words: string): Promise<void>;
  /**
   * Finds out, without sending it again, what became of a delivery whose answer was lost: its outcome, or that it
   * did not arrive and may be sent again. Absent where the protocol has no such question.
   */
  findOut?(delivery: TargetDelivery, signal: AbortSignal): Promise<Outcome | "send again">;
  /**
   * Why it would never take a delivery, a sentence each, by what it can tell without asking its backend; none where it
   * would send it. Absent where it takes whatever it is given.
   */
  check?(delivery: TargetDelivery): string[];
  /** What is to be done where this one's answer was lost, if that is not for its flow to say. */
  onUnknown?(delivery: TargetDelivery): "retry" | "probe" | "hold";
}

/** What a target gets besides its own options. */
export interface TargetContext {
  readonly name: string;
  readonly gateway: string;
  /** Folder for state of its own (absolute). */
  readonly dataDir: string;
  readonly clock: import("../core/clock.ts").Clock;
  readonly logger: import("../core/logger.ts").Logger;
  /** Opens a stream to a backend in place of TCP: for simulations. It emits `connect` or `error`. */
  readonly connect?: (host: string, port: number) => import("node:stream").Duplex;
}
