/** What a screen shows besides the status: asked for when the screen is opened, and again when it has changed. */
import { type Signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { said } from "./api.ts";
import { browserClock } from "./browser-clock.ts";
import { following, onChange, QUIET_MS } from "./following.ts";
import { connection } from "./live.ts";

export interface Polled<T> {
  readonly value: T | null;
  /** Why the last question failed; the value is then of an earlier one. */
  readonly error: string | null;
}

export interface Asking {
  /** Asked again when one of these changes (following.ts). */
  readonly of: readonly string[];
  /** At most this often; and this often where nobody says what changes. */
  readonly everyMs: number;
  /** Where that is said: what else changes, such as a time, is asked for this often. */
  readonly quietMs?: number;
}

/** Asks at once, whenever `key` changes, and again while the page is looked at. */
export function usePolled<T>(ask: () => Promise<T>, key: string, asking: Asking): Signal<Polled<T>> {
  const polled = useSignal<Polled<T>>({ value: null, error: null });
  // Asked again at once when the gateway is back.
  const up = connection.value.kind === "up";
  // `ask` is another function each time; `key` says when it means another question.
  useEffect(() => {
    const { of, everyMs, quietMs = QUIET_MS } = asking;
    let over = false;
    let busy = false;
    let changed = false;
    let askedAtMs = Number.NEGATIVE_INFINITY;
    let timer: { cancel(): void } | undefined;
    const arm = () => {
      timer?.cancel();
      const pauseMs = changed || !following.peek() ? everyMs : quietMs;
      timer = browserClock.after(Math.max(0, pauseMs - (browserClock.monoMs() - askedAtMs)), again);
    };
    const again = async () => {
      busy = true;
      changed = false;
      askedAtMs = browserClock.monoMs();
      if (!document.hidden) {
        try {
          const value = await ask();
          if (!over) polled.value = { value, error: null };
        } catch (error) {
          if (!over) polled.value = { value: polled.value.value, error: said(error) };
        }
      }
      busy = false;
      if (!over) arm();
    };
    void again();
    const forget = onChange(of, () => {
      changed = true;
      if (!busy) arm();
    });
    return () => {
      over = true;
      forget();
      timer?.cancel();
    };
  }, [key, up]);
  return polled;
}
