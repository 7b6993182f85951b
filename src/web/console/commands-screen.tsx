/** What devices were told to do, and what came of it; telling them more, taking back what is queued, deciding on a lost answer. */
import { useSignal } from "@preact/signals";
import { counted, harmless, moment } from "../../core/plain-words.ts";
import type { CommandRow } from "../../queue/queries-commands.ts";
import { Act, Ask } from "./acting.tsx";
import { api } from "./api.ts";
import { CommandForm } from "./command-form.tsx";
import { COMMAND_MARKS, commandSentence } from "./command-words.ts";
import { nowMs } from "./live.ts";
import { State } from "./marks.tsx";
import { usePolled } from "./polled.ts";

const ASK_EVERY_MS = 1000;

type Decision = "cancel" | "done" | "not done";

const DECISIONS: Record<Decision, { title: string; yes: string; done: string }> = {
  cancel: { title: "Take this command back?", yes: "Cancel the command", done: "It is cancelled." },
  done: { title: "Was it done?", yes: "It was done", done: "It is on record as done." },
  "not done": { title: "Was it not done?", yes: "It was not done", done: "It is on record as not done." },
};

export function CommandsScreen() {
  const { value, error } = usePolled(api.commands, "", { of: ["flows"], everyMs: ASK_EVERY_MS }).value;
  const asked = useSignal<{ readonly command: CommandRow; readonly decision: Decision } | null>(null);
  const sent = useSignal<string | null>(null);
  if (!value) return error ? <p class="error">{error}</p> : <p class="quiet">Asking …</p>;
  return (
    <>
      {error && <p class="error">{error}</p>}
      <CommandForm sent={sent} />
      <p class="quiet">
        {value.commands.length === 0
          ? "No device was told to do anything yet."
          : `${counted(value.commands.length, "command")}, the newest first${value.next === null ? "" : "; more are in the store"}.`}
      </p>
      {value.commands.length > 0 && (
        <table class="found">
          <thead>
            <tr>
              <th>Queued</th>
              <th>Device</th>
              <th>What</th>
              <th>State</th>
              <th>By</th>
              <th>Decide</th>
            </tr>
          </thead>
          <tbody>
            {value.commands.map((command) => (
              <Command
                key={command.id}
                command={command}
                onDecide={(decision) => {
                  asked.value = { command, decision };
                }}
              />
            ))}
          </tbody>
        </table>
      )}
      {asked.value && (
        <Decide
          {...asked.value}
          onClose={() => {
            asked.value = null;
          }}
        />
      )}
    </>
  );
}

function Command({ command, onDecide }: { command: CommandRow; onDecide: (decision: Decision) => void }) {
  const { queuedAtMs, device, signal, value, state, stateAtMs, detail, door, by, reason, expiresInMs } =
    command;
  return (
    <tr>
      <td class="short">{moment(queuedAtMs, nowMs.value)}</td>
      <td class="short">{harmless(device)}</td>
      <td class="whole">
        {harmless(signal)}
        {value !== null && (
          <>
            {" = "}
            <b>{harmless(String(value))}</b>
          </>
        )}
        {reason !== null && <span class="quiet"> because: {harmless(reason)}</span>}
      </td>
      <td class="whole">
        <State kind={COMMAND_MARKS[state]}>{state}</State> since {moment(stateAtMs, nowMs.value)}
        <span class="detail">
          {commandSentence(command, expiresInMs)}
          {detail !== null && ` (${harmless(detail)})`}
        </span>
      </td>
      <td>
        {harmless(by)} <span class="quiet">({harmless(door)})</span>
      </td>
      <td>
        {command.needsPerson ? (
          <>
            <Act onAct={() => onDecide("done")}>It was done …</Act>{" "}
            <Act onAct={() => onDecide("not done")}>It was not …</Act>
          </>
        ) : (
          <Act
            not={
              state === "queued"
                ? null
                : command.final
                  ? `nothing more will come of it (${state})`
                  : "only a queued one can be cancelled"
            }
            onAct={() => onDecide("cancel")}
          >
            Cancel …
          </Act>
        )}
      </td>
    </tr>
  );
}

function Decide({
  command: { id, device, signal, value },
  decision,
  onClose,
}: {
  command: CommandRow;
  decision: Decision;
  onClose: () => void;
}) {
  const reason = useSignal("");
  const { title, yes, done } = DECISIONS[decision];
  const act = async () => {
    const why = reason.value.trim() || undefined;
    if (decision === "cancel") await api.cancelCommand(id, why);
    // The gateway asks for a reason here, and says so where there is none.
    else await api.resolveCommand(id, decision === "done", why ?? "");
    return done;
  };
  return (
    <Ask title={title} yes={yes} act={act} onClose={onClose}>
      <p>
        {harmless(device)}: {harmless(signal)}
        {value !== null && ` = ${harmless(String(value))}`}.{" "}
        {decision === "cancel"
          ? "It was not sent yet, and will not be."
          : "Its answer was lost: somebody has to have looked at the machine."}
      </p>
      <label class="why-field">
        Why {decision === "cancel" ? "(may be empty)" : "(goes on record)"}
        <input
          type="text"
          value={reason.value}
          onInput={({ currentTarget }) => {
            reason.value = currentTarget.value;
          }}
        />
      </label>
    </Ask>
  );
}
