/**
 * What watch/ looks at, by narrow interfaces: it reads, it never steers. The relay, the store and the
 * reader fit as they are; the broker's figures are put together in gateway.ts.
 */
import type { StoreStatus } from "../queue/queries.ts";
import type { FlowFigures } from "../queue/queries-flows.ts";

/** Times are epoch ms of the wall clock, except where said otherwise. */
export type CircuitFacts =
  | { readonly state: "closed"; readonly sinceMs: number }
  | {
      readonly state: "open";
      /** Since when the target is away. */
      readonly sinceMs: number;
      readonly failures: number;
      readonly reason: string;
      /** On the mono clock. */
      readonly probeAtMs: number;
    }
  | {
      readonly state: "half-open";
      readonly sinceMs: number;
      readonly failures: number;
      readonly reason: string;
    };

export interface TargetFacts {
  readonly circuit: CircuitFacts;
  /** When something was last delivered, or a probe last answered; null for never in this run. */
  readonly lastDeliveredAtMs: number | null;
  readonly lastProbeOkAtMs: number | null;
  readonly lastError: string | null;
  /** Lanes whose head waits for its next try, or for a person. */
  readonly lanesDelayed: number;
  readonly lanesHeld: number;
  readonly callsInFlight: number;
}

export interface RelayView {
  /** By target name. */
  views(): ReadonlyMap<string, TargetFacts>;
}

/** A flow as configured now. */
export interface FlowFacts {
  readonly name: string;
  readonly hash: string;
  readonly to: string;
  readonly paused: boolean;
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
}

export interface DiskFacts {
  readonly freeBytes: number;
  readonly walBytes: number;
}

export type { FlowFigures, StoreStatus };

/** Publishes on our own broker. Resolves when the broker has it. */
export type Publish = (
  topic: string,
  payload: string,
  options: { readonly retain: boolean; readonly qos: 0 | 1 },
) => Promise<void>;
