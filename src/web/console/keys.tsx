/** The keyboard: letters lead to screens, `/` to the search, `?` says so. */
import { useEffect, useRef } from "preact/hooks";
import { addressOf, go, type Screen } from "./route.ts";

const LETTERS: Record<string, Screen> = {
  o: "overview",
  m: "messages",
  l: "dead",
  j: "jobs",
  d: "devices",
  c: "commands",
  n: "notifications",
  a: "activity",
};

const KEYS: readonly [keys: string, what: string][] = [
  ["o", "Overview"],
  ["m", "Messages"],
  ["l", "Dead letters"],
  ["j", "Jobs"],
  ["d", "Devices"],
  ["c", "Commands"],
  ["n", "Notifications"],
  ["a", "Activity"],
  ["/", "Search"],
  ["↑ ↓", "Move in a list"],
  ["Enter", "Open"],
  ["Space", "Choose a row"],
  ["?", "This list"],
  ["Esc", "Close"],
];

let dialog: HTMLDialogElement | null = null;

export const openKeys = () => dialog?.showModal();

/** An effect: listens until it is undone. */
export function watchKeys(): () => void {
  const pressed = (event: KeyboardEvent) => {
    const { key, target } = event;
    const typing = target instanceof HTMLElement && target.closest("input, select, textarea, dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (key === "?") openKeys();
    else if (key === "/") {
      event.preventDefault();
      const search = document.querySelector<HTMLElement>("[data-search]");
      if (search) search.focus();
      else go(addressOf("messages"));
    } else if (LETTERS[key]) go(addressOf(LETTERS[key]));
  };
  addEventListener("keydown", pressed);
  return () => removeEventListener("keydown", pressed);
}

export function Keys() {
  const own = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog = own.current;
  }, []);
  return (
    <dialog ref={own} aria-labelledby="keys-title" class="keys">
      <h2 id="keys-title">Keyboard</h2>
      <dl>
        {KEYS.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <form method="dialog">
        <button type="submit">Close</button>
      </form>
    </dialog>
  );
}
