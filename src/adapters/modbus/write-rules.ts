/**
 * Whether a value may be written, and whether what was read back is what was
 * written. Pure.
 */
import type { Value } from "../readings.ts";
import type { Orders } from "./decode.ts";
import { type Encoded, encode } from "./encode.ts";
import type { RegisterConfig } from "./schema.ts";
import type { WriteConfig } from "./write-schema.ts";

export type EncodedValue = Encoded & { readonly ok: true };
export type Ruled =
  | EncodedValue
  /** `key`: where the rule stands, from the register on. */
  | { readonly ok: false; readonly key: readonly string[]; readonly reason: string };

export function rule(
  register: RegisterConfig & { write: WriteConfig },
  value: unknown,
  orders: Orders,
): Ruled {
  const { min, max, values } = register.write;
  const encoded = encode(register, value, orders);
  const given = `${JSON.stringify(value)}`;
  const forbid = (key: string, reason: string) => ({ ok: false, key: ["write", key], reason }) as const;
  // Before what the type says: a limit is what people know.
  if (typeof value === "number" && min !== undefined && value < min) {
    return forbid("min", `${given} is below ${min}`);
  }
  if (typeof value === "number" && max !== undefined && value > max) {
    return forbid("max", `${given} is above ${max}`);
  }
  if (values && !values.includes(value as never)) {
    return forbid("values", `${given} is none of ${values.map((each) => JSON.stringify(each)).join(", ")}`);
  }
  return encoded.ok ? encoded : { ok: false, key: [encoded.key], reason: `${given}: ${encoded.reason}` };
}

/** `raw`: the registers as read back; `written`: those that were sent. */
export function isWhatWasWritten(
  found: Value,
  raw: Buffer,
  value: unknown,
  written: EncodedValue,
  { tolerance }: WriteConfig,
): boolean {
  if (written.kind === "registers" && raw.equals(written.data)) return true;
  if (typeof found === "number" && typeof value === "number") {
    return tolerance > 0 && Math.abs(found - value) <= tolerance;
  }
  return found === value;
}
