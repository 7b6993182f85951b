/** How high a row of a long list is: one line where there is room beside it, three on a phone. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

const NARROW = "(max-width: 46rem)";
const LINE_PX = 34;
const CARD_PX = 76;

export function useRowPx(): number {
  const narrow = useSignal(matchMedia(NARROW).matches);
  useEffect(() => {
    const media = matchMedia(NARROW);
    const changed = () => {
      narrow.value = media.matches;
    };
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  return narrow.value ? CARD_PX : LINE_PX;
}
