/**
 * The circuit of a target, pure: what is known of whether it takes messages at all.
 *
 *   closed ──failure──▶ open ──(delay, probe answered)──▶ half-open ──success──▶ closed
 *                        ▲ └─(delay, probe failed: longer)─┘  │
 *                        └────────────── failure ─────────────┘
 *
 * While it is open nothing is sent and no message is charged for it; one probe at a time asks. Half-open
 * lets one message through: only a delivery proves that deliveries work.
 */
export type Circuit =
  | { readonly state: "closed"; readonly sinceMs: number }
  | {
      readonly state: "open";
      /** When it left `closed`, on the wall clock: "away since". */
      readonly sinceMs: number;
      readonly failures: number;
      readonly reason: string;
      /** When the target may be asked again, on the mono clock. */
      readonly probeAtMs: number;
    }
  | {
      readonly state: "half-open";
      readonly sinceMs: number;
      readonly failures: number;
      readonly reason: string;
    };

export function circuitFailed(
  circuit: Circuit,
  failure: { readonly reason: string; readonly wallMs: number; readonly probeAtMs: number },
): Circuit {
  const { reason, probeAtMs } = failure;
  if (circuit.state === "closed") {
    return { state: "open", sinceMs: failure.wallMs, failures: 1, reason, probeAtMs };
  }
  return { state: "open", sinceMs: circuit.sinceMs, failures: circuit.failures + 1, reason, probeAtMs };
}

export function circuitProbed(circuit: Circuit): Circuit {
  if (circuit.state !== "open") return circuit;
  const { sinceMs, failures, reason } = circuit;
  return { state: "half-open", sinceMs, failures, reason };
}

export function circuitSucceeded(circuit: Circuit, wallMs: number): Circuit {
  return circuit.state === "closed" ? circuit : { state: "closed", sinceMs: wallMs };
}

/** Failures in a row, this one included, for the next delay. */
export function failuresNext(circuit: Circuit): number {
  return circuit.state === "closed" ? 1 : circuit.failures + 1;
}
