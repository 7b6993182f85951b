/**
 * What watch/ looks at, by narrow interfaces: it reads, it never steers. The relay, the store and the
 * reader fit as they are; the broker's figures are put together in gateway.ts.
 */

import type { JobView } from "../core/job.ts";
import type { Pause } from "../queue/pauses.ts";
import type { StoreStatus } from "../queue/queries.ts";
import type { FlowFigures } from "../queue/queries-flows.ts";
import type { Circuit } from "../relay/circuit.ts";
import type { TargetView } from "../relay/dispatcher.ts";

export type { Circuit as CircuitFacts, TargetView as TargetFacts };

/** Jobs that run or are paused, and what jobs have done in this run. */
export interface JobFacts {
  open(): readonly Pick<
    JobView,
    "id" | "kind" | "state" | "selection" | "rate" | "total" | "done" | "skipped" | "startedAtMs" | "waitsFor"
  >[];
  readonly moved: Readonly<Record<string, number>>;
}

export interface RelayView {
  /** By target name. */
  views(): ReadonlyMap<string, TargetView>;
  /** What people, or the config, have paused. */
  readonly pauses: { readonly all: readonly Pause[] };
}

/** A flow as configured now. */
export interface FlowFacts {
  readonly name: string;
  readonly hash: string;
  readonly to: string;
}

export interface StoreView {
  readonly state:
    | { readonly kind: "ok" }
    /** Since when, on the mono clock. */
    | { readonly kind: "full"; readonly sinceMs: number }
    | { readonly kind: "failed"; readonly error: Error };
  /** The steady clock (core/clock.ts). */
  steadyMs(): number;
}

/** A machine that an adapter reads (adapters/adapter.ts). */
export interface ReadFacts {
  readonly device: string;
  readonly where: string;
  readonly state: string;
  /** Epoch ms, or null for not in this run. */
  readonly lastAnswerAtMs: number | null;
  readonly lastError: string | null;
}

/** What is known of a device in this run of the gateway. */
export interface DeviceFacts {
  readonly device: string;
  readonly online: boolean;
  /** Epoch ms, or null for none in this run. */
  readonly lastMessageAtMs: number | null;
  readonly messages: number;
  readonly duplicates: number;
  /** Null where nobody counts them by device. */
  readonly late: number | null;
  readonly refused: number;
}

export interface BrokerView {
  /** Connected now. */
  readonly clientsOnline: number;
  /** All that were seen in this run, in a stable order; bounded by whoever keeps it. */
  devices(): Iterable<DeviceFacts>;
  /** Those of them that are configured, and read. */
  read(): readonly ReadFacts[];
}

export interface DiskFacts {
  readonly freeBytes: number;
  readonly walBytes: number;
}

/** A way to tell people that does not work (notifier.ts). */
export interface ChannelTrouble {
  readonly channel: string;
  /** Wall clock, epoch ms. */
  readonly sinceMs: number;
  readonly reason: string;
  /** Alerts that wait to be told. */
  readonly waiting: number;
}

export type { FlowFigures, StoreStatus };

/** Publishes on our own broker. Resolves when the broker has it. */
export type Publish = (
  topic: string,
  payload: string,
  options: { readonly retain: boolean; readonly qos: 0 | 1 },
) => Promise<void>;
