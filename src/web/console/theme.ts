/** Dark or light: as the system says, until the operator says otherwise; that is remembered in this browser. */
import { effect, signal } from "@preact/signals";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEPT_AS = "holdfast-theme";

export const theme = signal<Theme>(remembered());
/** Moves when the colours do, so that what is drawn by hand is drawn again. */
export const coloursChanged = signal(0);

export function followTheme(): void {
  effect(() => {
    if (theme.value === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme.value;
    coloursChanged.value = coloursChanged.peek() + 1;
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    coloursChanged.value += 1;
  });
}

export function chooseTheme(chosen: Theme): void {
  theme.value = chosen;
  try {
    localStorage.setItem(KEPT_AS, chosen);
  } catch {
    // A browser that keeps nothing: the choice lasts as long as the page.
  }
}

function remembered(): Theme {
  try {
    return THEMES.find((each) => each === localStorage.getItem(KEPT_AS)) ?? "system";
  } catch {
    return "system";
  }
}
