/** The machines: who is there, what they handed over, and what of it waits. */
import { useSignal } from "@preact/signals";
import { age, count, harmless, moment } from "../../core/plain-words.ts";
import { api, type DeviceEntry } from "./api.ts";
import { nowMs, status } from "./live.ts";
import { type MarkKind, State } from "./marks.tsx";
import { Pausing } from "./pausing.tsx";
import { usePolled } from "./polled.ts";
import { addressOf } from "./route.ts";

const ASK_EVERY_MS = 1000;
const DEVICES_OF = ["devices", "door", "online", "offline"];
/** Drawn at once; a filter finds the others. */
const SHOWN_MAX = 300;

const STATE_MARKS: Record<string, MarkKind> = {
  online: "ok",
  starting: "waiting",
  failing: "attention",
  offline: "idle",
};

export function DevicesScreen() {
  const { value, error } = usePolled(api.devices, "", { of: DEVICES_OF, everyMs: ASK_EVERY_MS }).value;
  const filter = useSignal("");
  if (!value) return error ? <p class="error">{error}</p> : <p class="quiet">Asking …</p>;
  const wanted = filter.value.trim().toLowerCase();
  const found = value.devices.filter(({ device }) => device.toLowerCase().includes(wanted));
  const waiting = new Map(status.value!.devices.devices.map((each) => [each.device, each]));
  return (
    <>
      <form class="find" onSubmit={(event) => event.preventDefault()}>
        <label>
          Name contains{" "}
          <input
            type="search"
            data-search
            value={filter.value}
            onInput={({ currentTarget }) => {
              filter.value = currentTarget.value;
            }}
          />
        </label>
        <span class="quiet" role="status">
          {count(found.length)} of {count(value.total)}
          {found.length > SHOWN_MAX ? `, the first ${count(SHOWN_MAX)} shown` : ""}
        </span>
      </form>
      {error && <p class="error">{error}</p>}
      {value.total === 0 && <p class="quiet">No device has been seen since this gateway was started.</p>}
      {found.length > 0 && (
        <table class="devices">
          <thead>
            <tr>
              <th>Device</th>
              <th>State</th>
              <th>Kind</th>
              <th class="n">Stored</th>
              <th class="n">Duplicates</th>
              <th class="n">Refused</th>
              <th>Last message</th>
              <th>Waiting</th>
              <th>Control</th>
            </tr>
          </thead>
          <tbody>
            {found.slice(0, SHOWN_MAX).map((row) => (
              <Device key={`${row.type} ${row.device}`} row={row} waiting={waiting.get(row.device)} />
            ))}
          </tbody>
        </table>
      )}
      <p class="quiet">
        Counts are of this run of the gateway; a device is listed from its first message on.
      </p>
    </>
  );
}

function Device({
  row,
  waiting,
}: {
  row: DeviceEntry;
  waiting: { open: number; oldestAgeMs: number } | undefined;
}) {
  const { device, state, type, commands, stored, duplicates, refused, lastStoredAtMs } = row;
  return (
    <tr>
      <th scope="row">
        <a href={addressOf("messages", undefined, { device })}>{harmless(device)}</a>
      </th>
      <td data-label="State" class="short">
        <State kind={STATE_MARKS[state] ?? "unknown"}>{state}</State>
      </td>
      <td data-label="Kind" class="short">
        {type}
      </td>
      <td data-label="Stored" class="n">
        {count(stored)}
      </td>
      <td data-label="Duplicates" class="n">
        {count(duplicates)}
      </td>
      <td data-label="Refused" class="n">
        {count(refused)}
      </td>
      <td data-label="Last message">
        {lastStoredAtMs === null ? "none in this run" : moment(lastStoredAtMs, nowMs.value)}
      </td>
      <td data-label="Waiting">
        {waiting ? (
          <>
            {count(waiting.open)}, <span class="short">the oldest for {age(waiting.oldestAgeMs)}</span>
          </>
        ) : (
          "–"
        )}
      </td>
      <td data-label="Control">
        <Pausing kind="device" name={device} />
        {commands.length > 0 && (
          <a href={addressOf("commands", undefined, { device })}>
            Tell it what to do<span class="visually-hidden"> {harmless(device)}</span>
          </a>
        )}
      </td>
    </tr>
  );
}
