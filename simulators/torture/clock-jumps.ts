/** Which way a wall clock jumps: years back, years ahead, to a time without a battery, and right again. */
import type { Random } from "../../src/core/random.ts";

const TEN_YEARS_MS = 10 * 365 * 86_400_000;
/** What a box without a battery clock says some minutes after it was switched on, epoch ms. */
export const IN_1970_MS = 300_000;

type How = "live" | "outage" | "restart";
export interface Jump {
  readonly how: How;
  readonly offsetMs: (nowMs: number) => number;
  readonly to: string;
}

const RIGHT: Omit<Jump, "how"> = { to: "the right time", offsetMs: () => 0 };
const AHEAD: Omit<Jump, "how"> = { to: "ten years ahead", offsetMs: () => TEN_YEARS_MS };
const BACK: Omit<Jump, "how"> = { to: "ten years back", offsetMs: () => -TEN_YEARS_MS };
const IN_1970: Omit<Jump, "how"> = { to: "1970", offsetMs: (nowMs) => IN_1970_MS - nowMs };
const TIMES = [RIGHT, AHEAD, BACK, IN_1970];
const HOWS: readonly How[] = ["live", "live", "outage", "restart"];

/** The first ones; after them, chance. The gateway has started in 1970. */
const FIRST: readonly Jump[] = [
  { how: "live", ...RIGHT },
  { how: "outage", ...AHEAD },
  { how: "restart", ...BACK },
  { how: "live", ...RIGHT },
  { how: "restart", ...AHEAD },
  { how: "outage", ...BACK },
  { how: "live", ...IN_1970 },
];

/** The jump of a cycle, by a clock that is off by `offsetMs`; to another time than it has. */
export function jumpOf(cycle: number, offsetMs: number, random: Random): Jump {
  const first = FIRST[cycle];
  if (first) return first;
  // 1970 is a different way off each moment, so it may be drawn twice.
  const others = TIMES.filter((time) => time === IN_1970 || time.offsetMs(0) !== offsetMs);
  return { how: HOWS[random.below(HOWS.length)]!, ...others[random.below(others.length)]! };
}
