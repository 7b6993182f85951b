/** The browser's clocks, for the page: its only file that reads them. */
import type { Clock } from "../../core/clock.ts";

export const browserClock: Clock = {
  wallMs: () => Date.now(),
  monoMs: () => performance.now(),
  after(delayMs, fn) {
    const handle = setTimeout(fn, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
};
