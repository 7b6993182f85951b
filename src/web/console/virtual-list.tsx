// biome-ignore-all lint/a11y/useSemanticElements: a table of which a part is drawn cannot be a <table>.
// biome-ignore-all lint/a11y/useKeyWithClickEvents: keys are heard by the grid as a whole.
/**
 * A list of any length of which only what is in sight is drawn. Rows have one height; more are asked for as one
 * comes near the end of those that are known.
 *
 * It is a grid to a screen reader, and to the keyboard one stop: arrows, Page, Home and End move in it, Enter
 * opens a row and Space chooses it.
 */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** Drawn above and below what is in sight. */
const BEYOND = 8;
/** So many rows before the end, the next page is asked for. */
const NEAR_END = 150;

export interface VirtualListProps<T> {
  readonly label: string;
  /** What is in it, for its columns. */
  readonly kind: "dead" | "messages";
  readonly rows: readonly T[];
  /** All there are, those not read yet included; -1 where nobody knows. */
  readonly total: number;
  readonly rowPx: number;
  readonly head: readonly string[];
  readonly keyOf: (row: T) => string;
  /** One element for each of `head`. */
  readonly cells: (row: T) => readonly ComponentChildren[];
  /** Where rows can be chosen. */
  readonly chosen?: (row: T) => boolean;
  readonly onChoose?: (row: T) => void;
  readonly onOpen: (row: T) => void;
  readonly onNearEnd: () => void;
  readonly onScrolled?: (top: number) => void;
}

export function VirtualList<T>(props: VirtualListProps<T>) {
  const {
    label,
    kind,
    rows,
    total,
    rowPx,
    head,
    keyOf,
    cells,
    chosen,
    onChoose,
    onOpen,
    onNearEnd,
    onScrolled,
  } = props;
  const frame = useRef<HTMLDivElement>(null);
  const top = useSignal(0);
  const height = useSignal(600);
  const current = useSignal(0);
  const focusWanted = useRef(false);

  useEffect(() => {
    const watching = new ResizeObserver(([entry]) => {
      height.value = entry!.contentRect.height;
    });
    watching.observe(frame.current!);
    return () => watching.disconnect();
  }, []);

  const first = Math.max(0, Math.floor(top.value / rowPx) - BEYOND);
  const last = Math.min(rows.length, Math.ceil((top.value + height.value) / rowPx) + BEYOND);
  const here = Math.min(current.value, Math.max(0, rows.length - 1));

  useEffect(() => {
    if (last > rows.length - NEAR_END) onNearEnd();
  }, [last, rows.length, onNearEnd]);

  useEffect(() => {
    if (!focusWanted.current) return;
    // Where it is out of sight it is drawn after the scrolling, and has the focus then.
    const row = frame.current?.querySelector<HTMLElement>(`[aria-rowindex="${here + 2}"]`);
    if (!row) return;
    focusWanted.current = false;
    row.focus({ preventScroll: true });
  });

  const moveTo = (index: number) => {
    const to = Math.min(Math.max(index, 0), rows.length - 1);
    current.value = to;
    focusWanted.current = true;
    const element = frame.current!;
    if (to * rowPx < element.scrollTop) element.scrollTop = to * rowPx;
    else if ((to + 1) * rowPx > element.scrollTop + height.value)
      element.scrollTop = (to + 1) * rowPx - height.value;
  };

  const pressed = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor(height.value / rowPx) - 1);
    const steps: Record<string, number> = {
      ArrowDown: here + 1,
      ArrowUp: here - 1,
      PageDown: here + page,
      PageUp: here - page,
      Home: 0,
      End: rows.length - 1,
    };
    const row = rows[here];
    if (event.key in steps) moveTo(steps[event.key]!);
    else if (event.key === "Enter" && row && event.target === event.currentTarget) onOpen(row);
    else if (event.key === "Enter" && row && !(event.target as HTMLElement).closest("button, a, input"))
      onOpen(row);
    else if (event.key === " " && row && onChoose && !(event.target as HTMLElement).closest("button, input"))
      onChoose(row);
    else return;
    event.preventDefault();
  };

  return (
    <div
      class={`vlist vlist-${kind}`}
      role="grid"
      tabIndex={-1}
      aria-label={label}
      aria-rowcount={total < 0 ? -1 : total + 1}
      onKeyDown={pressed}
    >
      <div class="vlist-head" role="row" aria-rowindex={1} tabIndex={-1}>
        {head.map((title) => (
          <span key={title} role="columnheader" tabIndex={-1}>
            {title}
          </span>
        ))}
      </div>
      <div
        ref={frame}
        class="vlist-frame"
        role="rowgroup"
        style={{ height: `min(60vh, ${rows.length * rowPx}px)` }}
        onScroll={({ currentTarget }) => {
          top.value = currentTarget.scrollTop;
          onScrolled?.(currentTarget.scrollTop);
        }}
      >
        <div class="vlist-all" role="presentation" style={{ height: `${rows.length * rowPx}px` }}>
          {rows.slice(first, last).map((row, at) => {
            const index = first + at;
            return (
              <div
                key={keyOf(row)}
                class="vlist-row"
                role="row"
                aria-rowindex={index + 2}
                aria-selected={chosen?.(row)}
                tabIndex={index === here ? 0 : -1}
                style={{ top: `${index * rowPx}px`, height: `${rowPx}px` }}
                onClick={() => {
                  current.value = index;
                  onOpen(row);
                }}
                onFocus={() => {
                  current.value = index;
                }}
              >
                {cells(row).map((cell, column) => (
                  <span key={head[column]} role="gridcell" tabIndex={-1}>
                    {cell}
                  </span>
                ))}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
