/** What happened to the gateway in this run, the newest first: circuits, the store, problems, devices, acts. */
import { useSignal } from "@preact/signals";
import { age, harmless, moment } from "../../core/plain-words.ts";
import type { EventKind } from "../../watch/events.ts";
import { api } from "./api.ts";
import { type Choice, Choices } from "./choices.tsx";
import { nowMs, seen, status } from "./live.ts";
import { Mark, type MarkKind } from "./marks.tsx";
import { usePolled } from "./polled.ts";

const ASK_EVERY_MS = 2000;
/** Drawn at once. */
const SHOWN_MAX = 500;

interface Entry {
  readonly key: string;
  readonly atMs: number;
  readonly mark: MarkKind;
  readonly sentence: string;
}

type Sort = "all" | "gateway" | "devices";

const SORTS: readonly Choice<Sort>[] = [
  { value: "all", name: "All" },
  { value: "gateway", name: "Gateway and targets" },
  { value: "devices", name: "Devices" },
];

export function ActivityScreen() {
  const { value, error } = usePolled(api.events, "", ASK_EVERY_MS).value;
  const sort = useSignal<Sort>("all");
  const { uptimeMs } = status.value!.health;
  const told = (value?.events ?? []).filter(({ kind }) => {
    const ofDevice = kind === "online" || kind === "offline";
    return sort.value === "all" || ofDevice === (sort.value === "devices");
  });
  const entries: Entry[] = told.map(({ id, atMs, kind, severity, sentence }) => ({
    key: id,
    atMs,
    mark: severity === "info" ? GOOD[kind] : severity,
    sentence: harmless(sentence),
  }));
  // What only this page knows: that it could not reach the gateway.
  if (sort.value !== "devices") {
    for (const { atMs, sentence } of seen.value)
      entries.push({ key: `${atMs}`, atMs, mark: "unknown", sentence });
  }
  entries.sort((a, b) => b.atMs - a.atMs);
  return (
    <>
      <div class="row">
        <Choices
          label="Show"
          choices={SORTS}
          chosen={sort.value}
          onChoose={(value) => {
            sort.value = value;
          }}
        />
        <span class="quiet">
          Kept in memory since this run began {age(uptimeMs)} ago; the gateway's log has what was before.
        </span>
      </div>
      {error && <p class="error">{error}</p>}
      {entries.length === 0 && <p class="quiet">Nothing of the kind has happened in this run.</p>}
      <ol class="timeline">
        {entries.slice(0, SHOWN_MAX).map(({ key, atMs, mark, sentence }) => (
          <li key={key}>
            <time dateTime={new Date(atMs).toISOString()}>{moment(atMs, nowMs.value)}</time>
            <Mark kind={mark} />
            <span>{capital(sentence)}</span>
          </li>
        ))}
      </ol>
    </>
  );
}

/** What an event that is no cause for worry looks like. */
const GOOD: Record<EventKind, MarkKind> = {
  started: "ok",
  store: "ok",
  circuit: "ok",
  problem: "attention",
  over: "ok",
  online: "ok",
  offline: "idle",
  act: "waiting",
};

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
