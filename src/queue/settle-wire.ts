/** How settlements are written for the store thread, and read there (wire.ts). */
import { DELIVERY_STATES, type TryNote } from "../core/outcome.ts";
import { REQUEST, type Settlement } from "./requests.ts";
import type { Decoder, Encoder } from "./wire.ts";

export function writeSettle(out: Encoder, settlements: readonly Settlement[]): void {
  out.u8(REQUEST.settle);
  out.u32(settlements.length);
  for (const settlement of settlements) {
    out.u32(settlement.lane);
    out.f64(settlement.seq);
    out.u8(DELIVERY_STATES.indexOf(settlement.state));
    out.u32(settlement.attempts);
    out.u8(settlement.resend ? 1 : 0);
    out.optionalNumber(settlement.dueAtMs);
    out.optionalText(settlement.reason);
    out.optionalText(settlement.note);
    const { trail = [] } = settlement;
    out.u32(trail.length);
    for (const { kind, atMs, detail } of trail) {
      out.text(kind);
      out.f64(atMs);
      out.optionalText(detail);
    }
  }
}

export function readSettle(input: Decoder): Settlement[] {
  const settlements: Settlement[] = [];
  for (let left = input.u32(); left > 0; left--) {
    settlements.push({
      lane: input.u32(),
      seq: input.f64(),
      state: DELIVERY_STATES[input.u8()]!,
      attempts: input.u32(),
      resend: input.u8() === 1,
      dueAtMs: input.optionalNumber(),
      reason: input.optionalText(),
      note: input.optionalText(),
      trail: readTrail(input),
    });
  }
  return settlements;
}

function readTrail(input: Decoder): TryNote[] {
  const trail: TryNote[] = [];
  for (let left = input.u32(); left > 0; left--) {
    trail.push({ kind: input.text(), atMs: input.f64(), detail: input.optionalText() });
  }
  return trail;
}
