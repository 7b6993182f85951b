/** How an intake is noted while it happens, by whoever wants to know (telemetry/traces.ts). */
import type { CarriedTrace } from "../core/trace-context.ts";
import type { Draft, Receipt } from "./draft.ts";

export interface IntakeTracing {
  /** Called once for each draft, with nothing of it looked at yet. */
  received(draft: Draft): IntakeTrace;
}

export interface IntakeTrace {
  /** It is about to go to the store. Answers with the traceparent that is kept with it; null for none. */
  committing(carried: CarriedTrace | null): string | null;
  ended(receipt: Receipt): void;
  /** Its sender left, or the store failed. */
  failed(error: unknown): void;
}
