/** What a screen shows besides the status: asked for when the screen is opened, and again now and then. */
import { type Signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { said } from "./api.ts";
import { browserClock } from "./browser-clock.ts";
import { connection } from "./live.ts";

export interface Polled<T> {
  readonly value: T | null;
  /** Why the last question failed; the value is then of an earlier one. */
  readonly error: string | null;
}

/** Asks at once, whenever `key` changes, and every `everyMs` while the page is looked at. */
export function usePolled<T>(ask: () => Promise<T>, key: string, everyMs: number): Signal<Polled<T>> {
  const polled = useSignal<Polled<T>>({ value: null, error: null });
  // Asked again at once when the gateway is back.
  const up = connection.value.kind === "up";
  // `ask` is another function each time; `key` says when it means another question.
  useEffect(() => {
    let over = false;
    let timer: { cancel(): void } | undefined;
    const again = async () => {
      if (!document.hidden) {
        try {
          const value = await ask();
          if (!over) polled.value = { value, error: null };
        } catch (error) {
          if (!over) polled.value = { value: polled.value.value, error: said(error) };
        }
      }
      if (!over) timer = browserClock.after(everyMs, again);
    };
    void again();
    return () => {
      over = true;
      timer?.cancel();
    };
  }, [key, up]);
  return polled;
}
