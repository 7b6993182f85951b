/** What happened to the gateway in this run, the newest first: circuits, the store, problems, devices, acts. */
import { useSignal } from "@preact/signals";
import { age, capital, harmless, moment } from "../../core/plain-words.ts";
import type { EventKind } from "../../watch/events.ts";
import { api } from "./api.ts";
import { type Choice, Choices } from "./choices.tsx";
import { nowMs, seen, status } from "./live.ts";
import { Mark, type MarkKind } from "./marks.tsx";
import { usePolled } from "./polled.ts";

const ASK_EVERY_MS = 1000;
/** Drawn at once. */
const SHOWN_MAX = 500;

interface Entry {
  readonly key: string;
  readonly atMs: number;
  readonly mark: MarkKind;
  readonly sentence: string;
}

type Sort = "all" | "gateway" | "devices" | "acts";

const SORTS: readonly Choice<Sort>[] = [
  { value: "all", name: "All" },
  { value: "gateway", name: "Gateway and targets" },
  { value: "devices", name: "Devices" },
  { value: "acts", name: "Acts on record" },
];

export function ActivityScreen() {
  const { value, error } = usePolled(api.events, "", { of: ["event"], everyMs: ASK_EVERY_MS }).value;
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
          {sort.value === "acts"
            ? "Each is in the store, in the commit that it made."
            : `Kept in memory since this run began ${age(uptimeMs)} ago; the gateway's log has what was before.`}
        </span>
      </div>
      {sort.value === "acts" ? <Acts /> : <Events entries={entries} error={error} />}
    </>
  );
}

function Events({ entries, error }: { entries: readonly Entry[]; error: string | null }) {
  return (
    <>
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

/** What people and programs did, as the store has it on record: also that of earlier runs. */
function Acts() {
  const { value, error } = usePolled(() => api.acts(), "", { of: ["act"], everyMs: ASK_EVERY_MS }).value;
  if (!value) return error ? <p class="error">{error}</p> : <p class="quiet">Asking …</p>;
  if (value.acts.length === 0) return <p class="quiet">Nobody has done anything yet that goes on record.</p>;
  return (
    <>
      <ol class="timeline">
        {value.acts.map(({ id, atMs, who, what, detail, reason }) => (
          <li key={id}>
            <time dateTime={new Date(atMs).toISOString()}>{moment(atMs, nowMs.value)}</time>
            <Mark kind="waiting" />
            <span>
              <b>{harmless(who)}</b> {ACTS[what] ?? harmless(what)}
              {reason !== null && `, because: ${harmless(reason)}`}
              <span class="detail">{detailWords(detail)}</span>
            </span>
          </li>
        ))}
      </ol>
      {value.next !== null && <p class="quiet">The newest {value.acts.length} are shown.</p>}
    </>
  );
}

/** Operations of the API, as something that somebody did; one that is not known is shown by its name. */
const ACTS: Record<string, string> = {
  retryDead: "put dead letters back in line",
  discardDead: "discarded deliveries",
  editDead: "edited a dead letter and put it back",
  markDelivered: "marked deliveries as delivered",
  probeUnknown: "had a backend asked",
  pause: "paused",
  resume: "resumed",
  beginJob: "began a job",
  pauseJob: "paused a job",
  resumeJob: "went on with a job",
  cancelJob: "cancelled a job",
  login: "signed in",
  logout: "signed out",
};

function detailWords(detail: Readonly<Record<string, unknown>>): string {
  return Object.entries(detail)
    .map(([name, value]) => `${name}: ${harmless(typeof value === "string" ? value : JSON.stringify(value))}`)
    .join(", ");
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
  notification: "ok",
  job: "ok",
};
