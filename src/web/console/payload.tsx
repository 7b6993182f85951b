/** What is in a message, as JSON, as text, or byte by byte. */
import { useSignal } from "@preact/signals";
import { counted } from "../../core/plain-words.ts";
import type { MessageHistory } from "../../queue/queries-history.ts";

const FORMS = ["json", "text", "hex"] as const;
type Form = (typeof FORMS)[number];
const NAMES: Record<Form, string> = { json: "JSON", text: "Text", hex: "Hex" };

const BYTES_A_LINE = 16;

export function Payload({ message }: { message: MessageHistory["message"] }) {
  const { preview, payloadBytes } = message;
  const json = jsonOf(preview);
  const why: Record<Form, string | null> = {
    json: json !== null ? null : preview.form === "hex" ? "it is not text" : preview.cut ? "only its beginning is here" : "it is not JSON",
    text: preview.form === "text" ? null : "it is not UTF-8 text",
    hex: null,
  };
  const best = FORMS.find((form) => why[form] === null)!;
  const chosen = useSignal<Form | null>(null);
  const form = chosen.value !== null && why[chosen.value] === null ? chosen.value : best;
  const shown = form === "json" ? json! : form === "text" ? preview.text : hexDump(bytesOf(preview));
  return (
    <section aria-labelledby="payload-title">
      <div class="row">
        <h2 id="payload-title">Payload</h2>
        <div class="choices" role="group" aria-label="Show as">
          {FORMS.map((each) => (
            <button
              key={each}
              type="button"
              aria-pressed={form === each}
              aria-disabled={why[each] !== null}
              title={why[each] ?? undefined}
              onClick={() => {
                if (why[each] === null) chosen.value = each;
              }}
            >
              {NAMES[each]}
              {why[each] !== null && <span class="visually-hidden"> (not: {why[each]})</span>}
            </button>
          ))}
        </div>
        <span class="quiet">
          {counted(payloadBytes, "byte")}
          {preview.cut ? ", its beginning is shown" : ""}
        </span>
      </div>
      {payloadBytes === 0 ? (
        <p class="quiet">It is empty.</p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard.
        <pre class="payload" tabIndex={0} aria-label="The payload">
          {shown}
        </pre>
      )}
    </section>
  );
}

type Preview = MessageHistory["message"]["preview"];

function jsonOf(preview: Preview): string | null {
  if (preview.form !== "text" || preview.cut) return null;
  try {
    return JSON.stringify(JSON.parse(preview.text), null, 2);
  } catch {
    return null;
  }
}

function bytesOf({ form, text }: Preview): Uint8Array {
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
