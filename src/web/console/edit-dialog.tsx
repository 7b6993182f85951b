/** A dead letter with another payload or topic: the original stays beside it, and a dry run says what would come of it. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { harmless } from "../../core/plain-words.ts";
import type { DeliveryHistory, MessageHistory } from "../../queue/queries-history.ts";
import { Ask } from "./acting.tsx";
import { api, type LetterChange, said } from "./api.ts";

/** More than this is for a file and the command line. */
const EDITED_BYTES_MAX = 256 * 1024;

interface Texts {
  /** Null where it cannot be edited here, and why. */
  readonly original: string | null;
  readonly current: string | null;
  readonly not: string | null;
}

export function EditDialog({
  delivery: { flow, edits, target },
  message,
  onClose,
}: {
  delivery: DeliveryHistory;
  message: MessageHistory["message"];
  onClose: () => void;
}) {
  const last = edits.at(-1);
  const texts = useSignal<Texts | null>(null);
  const payload = useSignal("");
  const topic = useSignal(last?.topic ?? message.topic);
  const checked = useSignal<{ readonly alarm: boolean; readonly sentences: readonly string[] } | null>(null);
  const read = async () => {
    texts.value = await textsOf(message, last);
    payload.value = texts.value.current ?? "";
    return null;
  };
  const change = (): LetterChange => ({
    id: message.id,
    flow,
    ...(texts.value?.current === null || payload.value === texts.value?.current
      ? {}
      : { payload: payload.value }),
    ...(topic.value === (last?.topic ?? message.topic) ? {} : { topic: topic.value }),
  });
  const check = async () => {
    try {
      const { changed, problems, remarks } = await api.check(change());
      const would = `Target ${target} could send it: ${changed.length === 0 ? "nothing of it is another one than now" : `${changed.join(" and ")} would be another one`}.`;
      const sentences =
        problems.length > 0 ? problems.map((each) => `It would never be taken: ${each}.`) : [would];
      checked.value = {
        alarm: problems.length > 0,
        sentences: [...sentences, ...remarks.map((each) => `Note: ${each}.`)],
      };
    } catch (error) {
      checked.value = { alarm: true, sentences: [said(error)] };
    }
  };
  // What was said of an earlier text is not said of this one.
  useEffect(() => {
    checked.value = null;
  }, [payload.value, topic.value]);
  return (
    <Ask
      title="Edit this message and put it back?"
      yes="Put back as edited"
      wide
      why={{ label: "Why it is edited" }}
      prepare={texts.value === null ? read : undefined}
      act={async (_, why) => {
        const { problems } = await api.check(change());
        if (problems.length > 0)
          throw new Error(`Not put back: its target would never take it: ${problems.join("; ")}.`);
        const { changed, remarks } = await api.edit(change(), why);
        const notes = remarks.map((each) => ` Note: ${each}.`).join("");
        return `Put back in line with another ${changed.join(" and ")}, under its id. The message as it was accepted is kept beside it.${notes}`;
      }}
      onClose={onClose}
    >
      <p class="quiet">
        Flow {flow} gets it under the same id and at its place in the order, marked as edited. The message
        stays as it was accepted.
      </p>
      <label class="why-field">
        Topic
        <input
          type="text"
          value={topic.value}
          onInput={({ currentTarget }) => {
            topic.value = currentTarget.value;
          }}
        />
      </label>
      {texts.value?.not && <p class="quiet">The payload cannot be edited here: {texts.value.not}.</p>}
      {texts.value?.current != null && (
        <div class="side-by-side">
          <label>
            Payload, to be edited
            <textarea
              class="payload"
              rows={10}
              spellcheck={false}
              value={payload.value}
              onInput={({ currentTarget }) => {
                payload.value = currentTarget.value;
              }}
            />
          </label>
          <div>
            As it was accepted
            {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard. */}
            <pre class="payload" tabIndex={0}>
              {texts.value.original === null ? "(not text)" : texts.value.original}
            </pre>
            <p class="quiet">{topic.value === message.topic ? "" : `Topic: ${harmless(message.topic)}`}</p>
          </div>
        </div>
      )}
      <div class="row">
        <button type="button" onClick={check}>
          Dry run
        </button>
        <span class="quiet">asks the target whether it could send it; nothing is sent or changed</span>
      </div>
      <div role="status" class={checked.value?.alarm ? "error" : undefined}>
        {checked.value?.sentences.map((sentence) => (
          <p key={sentence}>{harmless(sentence)}</p>
        ))}
      </div>
    </Ask>
  );
}

async function textsOf(
  message: MessageHistory["message"],
  last: { edit: number; payloadBytes: number } | undefined,
): Promise<Texts> {
  const size = Math.max(message.payloadBytes, last?.payloadBytes ?? 0);
  if (size > EDITED_BYTES_MAX) {
    return {
      original: null,
      current: null,
      not: "it is too large for a page; holdfast dead edit takes a file",
    };
  }
  const original = textOf(await api.payload(message.id));
  const current = last === undefined ? original : textOf(await api.payload(message.id, last.edit));
  return {
    original,
    current,
    not: current === null ? "it is not text with plain line ends; holdfast dead edit takes a file" : null,
  };
}

function textOf(bytes: Uint8Array): string | null {
  try {
    // A mark of the byte order is part of what is edited.
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return text.includes("\u0000") || text.includes("\r") ? null : text;
  } catch {
    return null;
  }
}
