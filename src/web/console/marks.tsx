/** States by shape, beside their word and their colour: no one has to tell red from green. */
import type { ComponentChildren } from "preact";

export type MarkKind = "ok" | "attention" | "alarm" | "waiting" | "idle" | "paused" | "unknown";

const SHAPES: Record<MarkKind, ComponentChildren> = {
  ok: <circle cx="6" cy="6" r="4.5" fill="currentColor" />,
  attention: <path d="M6 1 11.5 11H.5Z" fill="currentColor" />,
  alarm: <path d="M1.5 1.5h9v9h-9z" fill="currentColor" />,
  waiting: (
    <>
      <circle cx="6" cy="6" r="4.5" fill="none" stroke="currentColor" stroke-width="1.5" />
      <path d="M6 1.5a4.5 4.5 0 0 1 0 9z" fill="currentColor" />
    </>
  ),
  idle: <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.5" />,
  paused: <path d="M2 1.5h3v9H2zM7 1.5h3v9H7z" fill="currentColor" />,
  unknown: <path d="M6 .8 11.2 6 6 11.2.8 6Z" fill="none" stroke="currentColor" stroke-width="1.5" />,
};

export function Mark({ kind }: { kind: MarkKind }) {
  return (
    <svg class={`mark mark-${kind}`} viewBox="0 0 12 12" aria-hidden="true">
      {SHAPES[kind]}
    </svg>
  );
}

/** The shape with its word. */
export function State({ kind, children }: { kind: MarkKind; children: ComponentChildren }) {
  return (
    <span class={`state state-${kind}`}>
      <Mark kind={kind} />
      <span>{children}</span>
    </span>
  );
}
