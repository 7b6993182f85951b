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

export interface NamedAct extends Omit<ActProps, "children"> {
  /** On its button, and where it is said why it cannot be done. */
  readonly name: string;
  /** On what, where sight alone tells: for those who hear the page. */
  readonly on?: string;
}

/** Several acts on one thing. A reason that keeps more than one of them from being done is said once. */
export function Acts({ acts }: { acts: readonly NamedAct[] }) {
  const id = useId();
  const up = connection.value.kind === "up";
  const common = up ? whyNot("operate") : "the gateway does not answer";
  const judged = acts.map((act) => ({ ...act, why: common ?? act.not ?? null }));
  const reasons = [...new Set(judged.flatMap(({ why }) => why ?? []))];
  return (
    <span class="act">
      {judged.map(({ name, on, onAct, kind, why }) => (
        <button
          key={name}
          type="button"
          class={kind === "main" && why === null ? "main" : undefined}
          aria-disabled={why !== null}
          aria-describedby={why === null ? undefined : `${id}${reasons.indexOf(why)}`}
          onClick={(event) => {
            event.stopPropagation();
            if (why === null) onAct();
          }}
        >
          {name} …{on !== undefined && <span class="visually-hidden"> {on}</span>}
        </button>
      ))}
      {reasons.map((reason, at) => {
        const names = judged.filter(({ why }) => why === reason).map(({ name }) => name);
        return (
          <span key={reason} id={`${id}${at}`} class="why">
            {names.length === acts.length ? "Not" : `${names.join(", ")}: not`} now: {reason}.
          </span>
        );
      })}
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
  readonly children?: ComponentChildren;
  /** What has to be asked before the question can be: figures to be agreed to. Shown below `children`. */
  readonly prepare?: () => Promise<ComponentChildren>;
  readonly yes: string;
  /** A line that goes on record with it: what it is called, and whether it may be empty. */
  readonly why?: { readonly label: string; readonly optional?: boolean };
  readonly wide?: boolean;
  /** Does it, and answers with a sentence of what was done. */
  readonly act: (progress: Progress, why: string) => Promise<string>;
  readonly onClose: () => void;
}

type Stage =
  | { readonly kind: "preparing" }
  | { readonly kind: "asking" }
  | { readonly kind: "acting"; readonly sentence: string }
  | { readonly kind: "done"; readonly sentence: string }
  | { readonly kind: "failed"; readonly sentence: string };

/** A dialog that asks, then acts, then says what came of it. Closing it while it acts stops it. */
export function Ask({ title, children, prepare, yes, why, wide, act, onClose }: Question) {
  const id = useId();
  const dialog = useRef<HTMLDialogElement>(null);
  const stage = useSignal<Stage>({ kind: prepare ? "preparing" : "asking" });
  const prepared = useSignal<ComponentChildren>(null);
  const reason = useSignal("");
  const stopped = useRef(false);
  const getReady = async () => {
    stage.value = { kind: "preparing" };
    try {
      prepared.value = await prepare?.();
      stage.value = { kind: "asking" };
    } catch (error) {
      stage.value = { kind: "failed", sentence: said(error) };
    }
  };
  useEffect(() => {
    dialog.current!.showModal();
    if (prepare) void getReady();
    return () => {
      stopped.current = true;
    };
  }, []);
  const missing = why && !why.optional && reason.value.trim() === "";
  const begin = async () => {
    if (missing) return;
    stage.value = { kind: "acting", sentence: "Begun …" };
    const progress: Progress = {
      tell: (told) => {
        stage.value = { kind: "acting", sentence: told };
      },
      stopped: () => stopped.current,
    };
    try {
      stage.value = { kind: "done", sentence: await act(progress, reason.value.trim()) };
    } catch (error) {
      stage.value = { kind: "failed", sentence: said(error) };
    }
  };
  const { value } = stage;
  const asking = value.kind === "asking";
  const over = value.kind === "done" || value.kind === "failed";
  return (
    <dialog ref={dialog} class={wide ? "wide" : undefined} aria-labelledby={id} onClose={onClose}>
      <h2 id={id}>{title}</h2>
      {asking && (
        <>
          {children}
          {prepared.value}
          {why && (
            <label class="why-field">
              {why.label} {why.optional ? "(may be empty)" : "(goes on record)"}
              <input
                type="text"
                value={reason.value}
                required={!why.optional}
                onInput={({ currentTarget }) => {
                  reason.value = currentTarget.value;
                }}
                onKeyDown={({ key }) => {
                  if (key === "Enter") void begin();
                }}
              />
            </label>
          )}
        </>
      )}
      <p role="status" class={value.kind === "failed" ? "error" : undefined}>
        {value.kind === "preparing" ? "Asking the gateway …" : asking ? "" : value.sentence}
      </p>
      <div class="buttons">
        {asking && (
          <button
            type="button"
            class={missing ? undefined : "main"}
            aria-disabled={missing ? true : undefined}
            aria-describedby={missing ? `${id}missing` : undefined}
            onClick={begin}
          >
            {yes}
          </button>
        )}
        {value.kind === "failed" && (
          <button
            type="button"
            onClick={() => {
              if (prepare) void getReady();
              else stage.value = { kind: "asking" };
            }}
          >
            Back
          </button>
        )}
        <button type="button" onClick={() => dialog.current!.close()}>
          {over ? "Close" : value.kind === "acting" ? "Stop" : "Cancel"}
        </button>
        {asking && missing && (
          <span id={`${id}missing`} class="why">
            First say: {why.label.toLowerCase()}.
          </span>
        )}
      </div>
    </dialog>
  );
}
