/**
 * Quantities as people write them in the config: `500ms`, `15s`, `24h`, `64MiB`, `10GB`. Each helper is a
 * zod type that reads text or a bare number (ms, bytes), checks the range, and yields a number.
 */
import { z } from "zod";

const DURATION_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_BYTES: Record<string, number> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

function parseQuantity(text: string, units: Record<string, number>): number | null {
  const match = /^(\d+(?:\.\d+)?)\s*([a-zA-Z]+)$/.exec(text.trim());
  const unit = match && Object.hasOwn(units, match[2]!) ? units[match[2]!]! : null;
  return unit === null ? null : Math.round(Number(match![1]) * unit);
}

/** Milliseconds of `1.5s`, `10m`, `24h`, …; null where the text is no duration. */
export const parseDurationMs = (text: string): number | null => parseQuantity(text, DURATION_MS);
/** Bytes of `64MiB`, `10GB`, …; null where the text is no size. */
export const parseBytes = (text: string): number | null => parseQuantity(text, SIZE_BYTES);

/** `90s` for 90000: the largest unit that keeps the number whole. */
export function formatDuration(ms: number): string {
  for (const unit of ["d", "h", "m", "s"]) {
    if (ms >= DURATION_MS[unit]! && ms % DURATION_MS[unit]! === 0) return `${ms / DURATION_MS[unit]!}${unit}`;
  }
  return `${ms}ms`;
}

/** `12.3 MiB`, for people. */
export function formatBytes(bytes: number): string {
  for (const unit of ["GiB", "MiB", "KiB"]) {
    if (bytes >= SIZE_BYTES[unit]!) return `${(bytes / SIZE_BYTES[unit]!).toFixed(1)} ${unit}`;
  }
  return `${bytes} B`;
}

export interface Range {
  readonly min?: number;
  readonly max?: number;
}

function quantity(
  what: string,
  example: string,
  parse: (text: string) => number | null,
  format: (n: number) => string,
  range: Range,
) {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = range;
  const limits =
    max === Number.MAX_SAFE_INTEGER ? `at least ${format(min)}` : `from ${format(min)} to ${format(max)}`;
  return z
    .union([z.number(), z.string()])
    .transform((input, context) => {
      const value = typeof input === "number" ? input : parse(input);
      if (value === null || !Number.isFinite(value)) {
        context.addIssue({ code: "custom", message: `expected a ${what} such as ${example}`, input });
        return z.NEVER;
      }
      if (value < min || value > max) {
        context.addIssue({ code: "custom", message: `expected a ${what} ${limits}`, input });
        return z.NEVER;
      }
      return value;
    })
    .meta({ description: `A ${what}, ${limits}; such as ${example}.`, quantity: what, limits });
}

/** A duration in ms. Its default is written as text too: `duration({ min: 1 }).prefault("5s")`. */
export const duration = (range: Range = {}) =>
  quantity("duration", "500ms, 15s, 10m or 24h", parseDurationMs, formatDuration, range);
/** A size in bytes; use `.prefault("64MiB")` for its default. */
export const size = (range: Range = {}) =>
  quantity("size", "64KiB, 10MB or 4GiB", parseBytes, formatBytes, range);

/** Text that is never printed: `config print` and the log show `(redacted)` instead. */
export const secret = () => z.string().min(1).meta({ secret: true });

/** A file's path. Where it is relative, it is read from the folder of the config file and made absolute. */
export const filePath = () => z.string().min(1).meta({ filePath: true });
