/** Buttons that act, and the question before they do. An act that cannot be done now stays in sight and says why. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { said } from "./api.ts";
import { connection } from "./live.ts";
import { whyNot } from "./visitor.ts";

export interface ActProps {
  readonly onAct: () => void;
  /** Why it cannot be done now; null where it can. */
  readonly not?: string | null;
  readonly children: ComponentChildren;
  readonly kind?: "main" | "plain";
}

export function Act({ onAct, not = null, children, kind }: ActProps) {
  const id = useId();
  const why = connection.value.kind === "up" ? (whyNot("operate") ?? not) : "the gateway does not answer";
  return (
    <span class="act">
      <button
        type="button"
        class={kind === "main" ? "main" : undefined}
        aria-disabled={why !== null}
        aria-describedby={why === null ? undefined : id}
        onClick={(event) => {
          event.stopPropagation();
          if (why === null) onAct();
        }}
      >
        {children}
      </button>
      {why !== null && (
        <span id={id} class="why">
          Not now: {why}.
        </span>
      )}
    </span>
  );
}

export interface Progress {
  /** Says how far it is. */
  readonly tell: (sentence: string) => void;
  readonly stopped: () => boolean;
}

export interface Question {
  readonly title: string;
  readonly children: ComponentChildren;
  readonly yes: string;
  /** Does it, and answers with a sentence of what was done. */
  readonly act: (progress: Progress) => Promise<string>;
  readonly onClose: () => void;
}

type Stage =
  | { readonly kind: "asking" }
  | { readonly kind: "acting"; readonly sentence: string }
  | { readonly kind: "done"; readonly sentence: string }
  | { readonly kind: "failed"; readonly sentence: string };

/** A dialog that asks, then acts, then says what came of it. Closing it while it acts stops it. */
export function Ask({ title, children, yes, act, onClose }: Question) {
  const id = useId();
  const dialog = useRef<HTMLDialogElement>(null);
  const stage = useSignal<Stage>({ kind: "asking" });
  const stopped = useRef(false);
  useEffect(() => {
    dialog.current!.showModal();
    return () => {
      stopped.current = true;
    };
  }, []);
  const begin = async () => {
    stage.value = { kind: "acting", sentence: "Begun …" };
    try {
      const sentence = await act({
        tell: (told) => {
          stage.value = { kind: "acting", sentence: told };
        },
        stopped: () => stopped.current,
      });
      stage.value = { kind: "done", sentence };
    } catch (error) {
      stage.value = { kind: "failed", sentence: said(error) };
    }
  };
  const { value } = stage;
  const over = value.kind === "done" || value.kind === "failed";
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={onClose}>
      <h2 id={id}>{title}</h2>
      {value.kind === "asking" && children}
      <p role="status" class={value.kind === "failed" ? "error" : undefined}>
        {value.kind === "asking" ? "" : value.sentence}
      </p>
      <div class="buttons">
        {value.kind === "asking" && (
          <button type="button" class="main" onClick={begin}>
            {yes}
          </button>
        )}
        <button type="button" onClick={() => dialog.current!.close()}>
          {over ? "Close" : value.kind === "acting" ? "Stop" : "Cancel"}
        </button>
      </div>
    </dialog>
  );
}
