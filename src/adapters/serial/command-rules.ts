/**
 * What may be sent to an instrument, how it is written, and whether what is read afterwards shows that it was
 * done. Pure.
 */
import type { CommandValue } from "../../core/command.ts";
import type { Value } from "../readings.ts";
import { bytesOf } from "./bytes-text.ts";
import { wrap } from "./framing.ts";
import { linearPattern } from "./pattern.ts";
import type { CommandConfig, FramingConfig } from "./schema.ts";

const TEXT_CHARS_MAX = 256;
/** Control characters would end the command, and begin another one; the rest is more than a byte. */
const UNSENDABLE = /[^\x20-\x7e\xa0-\xff]/;

export type Rendered =
  | { readonly ok: true; readonly bytes: Buffer }
  /** `key`: where the rule stands, from the command on. */
  | { readonly ok: false; readonly key: readonly string[]; readonly reason: string };

export function render(config: CommandConfig, value: CommandValue, framing: FramingConfig): Rendered {
  const written = writtenValue(config, value);
  if (!written.ok) return written;
  const around = ["start" in framing ? framing.start : undefined, "end" in framing ? framing.end : undefined];
  if (around.some((each) => each !== undefined && written.text.includes(each))) {
    return { ok: false, key: ["value"], reason: `${JSON.stringify(value)} has what ends a frame in it` };
  }
  const bytes = bytesOf(config.send.replaceAll("{value}", () => written.text));
  return { ok: true, bytes: config.framed ? wrap(framing, bytes) : bytes };
}

type Written = { readonly ok: true; readonly text: string } | (Rendered & { readonly ok: false });

function writtenValue({ value: rule }: CommandConfig, value: CommandValue): Written {
  const given = JSON.stringify(value);
  const forbid = (key: readonly string[], reason: string) => ({ ok: false, key, reason }) as const;
  const wrongType = (wanted: string) => forbid(["value", "type"], `${given} is no ${wanted}`);
  if (!rule) return value === null ? { ok: true, text: "" } : forbid(["value"], "it takes no value");
  switch (rule.type) {
    case "bool":
      return typeof value === "boolean"
        ? { ok: true, text: value ? rule.true : rule.false }
        : wrongType("bool");
    case "number": {
      if (typeof value !== "number" || !Number.isFinite(value)) return wrongType("number");
      if (value < rule.min) return forbid(["value", "min"], `${given} is below ${rule.min}`);
      if (value > rule.max) return forbid(["value", "max"], `${given} is above ${rule.max}`);
      const text = value.toFixed(rule.decimals);
      if (Number(text) === value)
        return { ok: true, text: Number(text) === 0 ? text.replace("-", "") : text };
      return forbid(["value", "decimals"], `${given} has more decimals than ${rule.decimals}`);
    }
    case "text": {
      if (typeof value !== "string") return wrongType("text");
      if (value.length > TEXT_CHARS_MAX || UNSENDABLE.test(value)) {
        return forbid(["value"], `${given} has characters that are never sent, or too many`);
      }
      if (linearPattern(`^(?:${rule.pattern})$`).test(value)) return { ok: true, text: value };
      return forbid(["value", "pattern"], `${given} does not match ${rule.pattern}`);
    }
  }
}

/** Whether a signal that was read after the command shows that it was done. */
export function shows(found: Value, { readBack }: CommandConfig, value: CommandValue): boolean {
  const wanted = readBack?.value ?? value;
  if (typeof found === "number" && typeof wanted === "number") {
    // Two decimal numbers that differ by the tolerance exactly may differ by a hair more as floats.
    return Math.abs(found - wanted) <= (readBack?.tolerance ?? 0) * (1 + Number.EPSILON * 8);
  }
  return found === wanted;
}
