/** Telling a device what to do: what can be asked of which, what will happen, a yes, and then what comes of it. */
import { type Signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { CommandValue, OfferedSignal } from "../../core/command.ts";
import { age, harmless } from "../../core/plain-words.ts";
import { Act, Ask } from "./acting.tsx";
import { api, type CommandAsk } from "./api.ts";
import { COMMAND_MARKS, commandSentence } from "./command-words.ts";
import { State } from "./marks.tsx";
import { usePolled } from "./polled.ts";
import { route } from "./route.ts";

/** What can be commanded changes with the config, and with devices that come. */
const OFFER_EVERY_MS = 30_000;
const FATE_EVERY_MS = 500;

export function CommandForm({ sent }: { sent: Signal<string | null> }) {
  const { value: offer, error } = usePolled(api.commandable, "", {
    of: ["online", "offline"],
    everyMs: OFFER_EVERY_MS,
    quietMs: OFFER_EVERY_MS,
  }).value;
  const device = useSignal(route.value.params.device ?? "");
  const signal = useSignal("");
  const value = useSignal("");
  const ttl = useSignal("");
  const reason = useSignal("");
  const asked = useSignal<{ readonly command: CommandAsk; readonly key: string } | null>(null);
  if (!offer) return error ? <p class="error">{error}</p> : null;
  if (offer.devices.length === 0) {
    return (
      <p class="quiet">
        No device takes commands: in the config nobody has switched any on (<code>commands</code> or{" "}
        <code>write</code> of a device).
      </p>
    );
  }
  const chosen = offer.devices.find((each) => each.device === device.value) ?? offer.devices[0]!;
  const can = chosen.signals.find((each) => each.signal === signal.value) ?? chosen.signals[0]!;
  const given = valueFrom(can, value.value);
  const field = (of: Signal<string>) => ({
    value: of.value,
    onInput: ({ currentTarget }: { currentTarget: HTMLInputElement | HTMLSelectElement }) => {
      of.value = currentTarget.value;
    },
  });
  const ask = () => {
    const command = {
      device: chosen.device,
      signal: can.signal,
      ...("value" in given ? { value: given.value } : {}),
      ...(ttl.value.trim() === "" ? {} : { ttl: ttl.value.trim() }),
      ...(reason.value.trim() === "" ? {} : { reason: reason.value.trim() }),
    };
    asked.value = { command, key: newKey() };
  };
  return (
    <section class="box" aria-labelledby="tell-title">
      <h2 id="tell-title">Tell a device what to do</h2>
      <form
        class="find"
        onSubmit={(event) => {
          event.preventDefault();
        }}
      >
        <label>
          Device
          <select {...field(device)} value={chosen.device}>
            {offer.devices.map((each) => (
              <option key={each.device} value={each.device}>
                {harmless(each.device)}
              </option>
            ))}
          </select>
        </label>
        <label>
          What
          <select {...field(signal)} value={can.signal}>
            {chosen.signals.map((each) => (
              <option key={each.signal} value={each.signal}>
                {harmless(each.signal)}
              </option>
            ))}
          </select>
        </label>
        {kindOf(can) === "choice" && (
          <label>
            To
            <select {...field(value)}>
              <option value="">choose</option>
              <option value="true">true</option>
              <option value="false">false</option>
            </select>
          </label>
        )}
        {(kindOf(can) === "number" || kindOf(can) === "text") && (
          <label>
            To{rangeWords(can)}
            <input
              type="text"
              inputMode={kindOf(can) === "number" ? "decimal" : "text"}
              autocomplete="off"
              {...field(value)}
            />
          </label>
        )}
        <label>
          Given up after
          <input
            type="text"
            class="narrow"
            placeholder={age(can.ttlMs)}
            title="When it could not be sent by then: 30s, 5m, 1h"
            autocomplete="off"
            {...field(ttl)}
          />
        </label>
        <label class="grows">
          Why (may be empty; goes on record)
          <input type="text" autocomplete="off" {...field(reason)} />
        </label>
        <Act kind="main" not={"not" in given ? given.not : null} onAct={ask}>
          Send …
        </Act>
      </form>
      {sent.value !== null && <Fate key={sent.value} id={sent.value} />}
      {asked.value && (
        <Ask
          title={`Tell ${harmless(chosen.device)} to do this?`}
          yes="Send the command"
          act={async () => {
            const { command, key } = asked.value!;
            sent.value = (await api.sendCommand(command, key)).id;
            value.value = "";
            return "It is on disk, and on its way. What comes of it is told on this screen.";
          }}
          onClose={() => {
            asked.value = null;
          }}
        >
          <Consequences command={asked.value.command} can={can} />
        </Ask>
      )}
    </section>
  );
}

function Consequences({ command, can }: { command: CommandAsk; can: OfferedSignal }) {
  const { device, signal, value, ttl } = command;
  const name = harmless(device);
  return (
    <>
      <p class="what">
        {name}: <b>{harmless(signal)}</b>
        {value !== undefined && (
          <>
            {" "}
            = <b>{harmless(String(value))}</b> {can.unit}
          </>
        )}
      </p>
      <ul class="points">
        <li>It is written to disk first, with who asked, and then sent as soon as {name} can be reached.</li>
        <li>
          If it cannot be sent within {ttl ?? age(can.ttlMs)}, it expires, and is not done later either.
        </li>
        <li>
          {can.verifiable
            ? "Afterwards it is looked whether it was done."
            : `What ${name} answers counts; whether it was done cannot be seen from here.`}
        </li>
        <li>{LOST[can.onUnknown]}</li>
        {!can.idempotent && <li>Done twice, it is two things: look before sending it again.</li>}
      </ul>
    </>
  );
}

const LOST = {
  probe: "If the answer is lost, it is looked whether it was done, and sent again only if it was not.",
  hold: "If the answer is lost, a person has to look and say what came of it.",
  retry: "If the answer is lost, it is sent again.",
} as const;

/** What comes of the one that was just sent, as it comes. */
function Fate({ id }: { id: string }) {
  const over = useSignal(false);
  const { value: found, error } = usePolled(() => api.command(id), `${id} ${over.value}`, {
    of: ["flows"],
    everyMs: FATE_EVERY_MS,
    quietMs: over.value ? undefined : FATE_EVERY_MS,
  }).value;
  useEffect(() => {
    over.value = found?.final === true || found?.needsPerson === true;
  }, [found]);
  if (!found) return error ? <p class="error">{error}</p> : null;
  return (
    <div class="fate" role="status" aria-label="The command that was just sent">
      <p>
        {harmless(found.device)}: {harmless(found.signal)}
        {found.value !== null && ` = ${harmless(String(found.value))}`}{" "}
        <State kind={COMMAND_MARKS[found.state]}>
          <b>{found.state}</b>
        </State>
      </p>
      <p>
        {commandSentence(found, found.expiresInMs)}
        {found.detail !== null && <span class="quiet"> {harmless(found.detail)}</span>}
      </p>
    </div>
  );
}

function kindOf({ type }: OfferedSignal): "none" | "choice" | "text" | "number" {
  const name = type.toLowerCase();
  if (name === "none") return "none";
  if (name === "bool" || name === "boolean") return "choice";
  return name === "text" || name === "string" ? "text" : "number";
}

/** ` (packs/min, 0 to 120)` */
function rangeWords({ unit, min, max, type }: OfferedSignal): string {
  const range =
    min !== undefined && max !== undefined
      ? `${min} to ${max}`
      : min !== undefined
        ? `from ${min}`
        : max !== undefined
          ? `up to ${max}`
          : undefined;
  return ` (${[unit ?? type, range].filter((each) => each !== undefined).join(", ")})`;
}

/** What was typed, as the signal takes it, or why it is none. What is in its range is for the gateway to say. */
function valueFrom(
  can: OfferedSignal,
  text: string,
): { value: CommandValue } | { none: true } | { not: string } {
  switch (kindOf(can)) {
    case "none":
      return { none: true };
    case "choice":
      return text === "true" || text === "false"
        ? { value: text === "true" }
        : { not: "choose a value first" };
    case "text":
      return { value: text };
    case "number": {
      const n = Number(text.trim().replace(",", "."));
      return text.trim() === "" || !Number.isFinite(n) ? { not: "it needs a number first" } : { value: n };
    }
  }
}

/** So that a command whose answer did not come, sent again from the same question, is the same command. */
function newKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((each) => each.toString(16).padStart(2, "0"))
    .join("");
}
