/** What is in a message, as JSON, as text, or byte by byte; its beginning at once, the whole when asked for. */
import { useSignal } from "@preact/signals";
import { counted } from "../../core/plain-words.ts";
import type { MessageHistory } from "../../queue/queries-history.ts";
import { api, said } from "./api.ts";
import { Choices } from "./choices.tsx";

const FORMS = ["json", "text", "hex"] as const;
type Form = (typeof FORMS)[number];
const NAMES: Record<Form, string> = { json: "JSON", text: "Text", hex: "Hex" };

const BYTES_A_LINE = 16;
/** More than this is for a file, not for a page. */
const SHOWN_BYTES_MAX = 2 ** 20;

export function Payload({ message }: { message: MessageHistory["message"] }) {
  const { preview, payloadBytes } = message;
  const whole = useSignal<Uint8Array | null>(null);
  const error = useSignal<string | null>(null);
  const chosen = useSignal<Form | null>(null);
  const bytes = whole.value ?? bytesOf(preview);
  const cut = bytes.length < payloadBytes;
  const text = textOf(bytes, cut);
  const json = text === null || cut ? null : jsonOf(text);
  const why: Record<Form, string | null> = {
    json:
      json !== null
        ? null
        : text === null
          ? "it is not text"
          : cut
            ? "only its beginning is here"
            : "it is not JSON",
    text: text === null ? "it is not UTF-8 text" : null,
    hex: null,
  };
  const best = FORMS.find((form) => why[form] === null)!;
  const form = chosen.value !== null && why[chosen.value] === null ? chosen.value : best;
  const shown = form === "json" ? json! : form === "text" ? text! : hexDump(bytes);
  const readAll = async () => {
    try {
      whole.value = await api.payload(message.id);
    } catch (thrown) {
      error.value = said(thrown);
    }
  };
  return (
    <section aria-labelledby="payload-title">
      <div class="row">
        <h2 id="payload-title">Payload</h2>
        <Choices
          label="Show as"
          choices={FORMS.map((value) => ({ value, name: NAMES[value], not: why[value] }))}
          chosen={form}
          onChoose={(value) => {
            chosen.value = value;
          }}
        />
        <span class="quiet">
          {counted(payloadBytes, "byte")}
          {cut ? `, the first ${counted(bytes.length, "byte")} shown` : ""}
        </span>
        {cut && payloadBytes <= SHOWN_BYTES_MAX && (
          <button type="button" onClick={readAll}>
            Show all of it
          </button>
        )}
        <a href={api.payloadAddress(message.id)} download>
          Keep as a file
        </a>
      </div>
      {error.value !== null && <p class="error">{error.value}</p>}
      {payloadBytes === 0 ? (
        <p class="quiet">It is empty.</p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard.
        <pre class="payload" tabIndex={0}>
          {shown}
        </pre>
      )}
    </section>
  );
}

function jsonOf(text: string): string | null {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

/** Null where it is no text; a character that a cut went through is left out. */
function textOf(bytes: Uint8Array, cut: boolean): string | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: cut });
    return text.includes("\u0000") ? null : text;
  } catch {
    return null;
  }
}

function bytesOf({ form, text }: MessageHistory["message"]["preview"]): Uint8Array {
  return form === "text"
    ? new TextEncoder().encode(text)
    : Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** `00000010  7b 22 61 …  {"a…` */
export function hexDump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += BYTES_A_LINE) {
    const part = [...bytes.subarray(at, at + BYTES_A_LINE)];
    const hex = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = part.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${hex.padEnd(3 * BYTES_A_LINE - 1)}  ${text}`);
  }
  return lines.join("\n");
}
