/** What waits, by flow and by device and for how long, and what became of everything: the figures of two questions. */
import { useSignal } from "@preact/signals";
import { flowWords } from "../../core/command-message.ts";
import { DELIVERY_STATES } from "../../core/outcome.ts";
import { age, count, counted, harmless, moment } from "../../core/plain-words.ts";
import { aged, nowMs, status } from "./live.ts";
import { State } from "./marks.tsx";
import { Pair } from "./picture.tsx";
import { addressOf } from "./route.ts";

const FLOWS_SHOWN = 8;
const DEVICES_SHOWN = 8;

export function Waiting() {
  const { flows, devices, exports } = status.value!;
  const open = flows
    .map(({ waiting, sending, unknown, ...flow }) => ({ ...flow, open: waiting + sending + unknown }))
    .filter((flow) => flow.open > 0)
    .sort((a, b) => b.open - a.open);
  const sum = open.reduce((total, flow) => total + flow.open, 0);
  const oldest = open.flatMap((flow) => flow.oldest ?? []).sort((a, b) => b.ageMs - a.ageMs)[0];
  const others = devices.total - Math.min(devices.devices.length, DEVICES_SHOWN);
  return (
    <>
      <p class="figure">
        {count(sum)} <small>{sum === 1 ? "delivery" : "deliveries"} not made yet</small>
      </p>
      {oldest && (
        <p>
          The oldest for {age(aged(oldest.ageMs))}:{" "}
          <a href={addressOf("messages", oldest.id)}>{harmless(oldest.id)}</a> of {harmless(oldest.device)}.
        </p>
      )}
      {exports.length > 0 && <Held />}
      {open.length > 0 && (
        <Backlog
          what="Flow"
          rows={open.slice(0, FLOWS_SHOWN).map(({ flow, open: n, oldest: first }) => ({
            name: flowWords(flow),
            open: n,
            // What has no message that waits, has answers that were lost.
            ageMs: first?.ageMs ?? null,
          }))}
          others={open.length - FLOWS_SHOWN}
        />
      )}
      {devices.devices.length > 0 && (
        <Backlog
          what="Device"
          rows={devices.devices.slice(0, DEVICES_SHOWN).map(({ device, open: n, oldestAgeMs }) => ({
            name: device,
            address: addressOf("messages", undefined, { device }),
            open: n,
            ageMs: oldestAgeMs,
          }))}
          others={others}
        />
      )}
      {!devices.complete && <p class="quiet">By device: at least; there is too much to count each second.</p>}
    </>
  );
}

/** What is not sent because somebody has begun to carry it to another box. */
function Held() {
  const { flows, exports } = status.value!;
  const held = flows.reduce((sum, flow) => sum + flow.held, 0);
  const [first, ...others] = exports;
  return (
    <p class="paused">
      <State kind="paused">
        {counted(held, "delivery is", "deliveries are")} held for another box by export {first!.id} of{" "}
        {harmless(first!.who)}
        {others.length > 0 && ` and ${counted(others.length, "other")}`}, for {age(aged(first!.ageMs))}
        {first!.reason !== null && `: ${harmless(first!.reason)}`}
      </State>
    </p>
  );
}

interface BacklogRow {
  readonly name: string;
  readonly address?: string;
  readonly open: number;
  readonly ageMs: number | null;
}

function Backlog({ what, rows, others }: { what: string; rows: readonly BacklogRow[]; others: number }) {
  return (
    <table class="compact backlog">
      <thead>
        <tr>
          <th>{what}</th>
          <th class="n">open</th>
          <th class="n">the oldest for</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(({ name, address, open, ageMs }) => (
          <tr key={name}>
            <th scope="row">{address ? <a href={address}>{harmless(name)}</a> : harmless(name)}</th>
            <td class="n">{count(open)}</td>
            <td class="n">{ageMs === null ? "–" : age(aged(ageMs))}</td>
          </tr>
        ))}
        {others > 0 && (
          <tr>
            <td colSpan={3} class="quiet">
              and {count(others)} more
            </td>
          </tr>
        )}
      </tbody>
    </table>
  );
}

export function Reached() {
  const { flows, health } = status.value!;
  const chosen = useSignal("");
  const counted = flows.some(({ flow }) => flow === chosen.value)
    ? flows.filter(({ flow }) => flow === chosen.value)
    : flows;
  const sum = (what: (typeof DELIVERY_STATES)[number] | "accepted" | "replayed") =>
    counted.reduce((total, flow) => total + flow[what], 0);
  const shown = DELIVERY_STATES.filter((each) => sum(each) > 0 || each === "delivered" || each === "waiting");
  const { state, checkedAtMs, mismatches } = health.accounting;
  return (
    <>
      {flows.length > 1 && (
        <label class="of-flow">
          Of{" "}
          <select
            value={chosen.value}
            onChange={({ currentTarget }) => {
              chosen.value = currentTarget.value;
            }}
          >
            <option value="">all flows</option>
            {flows.map(({ flow }) => (
              <option key={flow} value={flow}>
                {flowWords(flow)}
              </option>
            ))}
          </select>
        </label>
      )}
      <dl class="small-figures sum">
        <Pair name="accepted" value={count(sum("accepted"))} />
        {shown.map((each, at) => (
          <Pair key={each} name={`${at === 0 ? "=" : "+"} ${each}`} value={count(sum(each))} />
        ))}
        {sum("replayed") > 0 && <Pair name="delivered again, by a replay" value={count(sum("replayed"))} />}
      </dl>
      <p>
        {state === "balanced" && (
          <State kind="ok">
            every message is accounted for, counted{" "}
            {checkedAtMs === null ? "" : `at ${moment(checkedAtMs, nowMs.value)}`}
          </State>
        )}
        {state === "unchecked" && <State kind="idle">not counted yet in this run</State>}
        {state === "mismatch" && <State kind="alarm">not accounted for: {mismatches[0]}</State>}
      </p>
      <StoreState />
    </>
  );
}

function StoreState() {
  const { usedBytes, bytesMax, diskFreeBytes } = status.value!.health.store;
  if (usedBytes === null) return null;
  return (
    <p class="quiet">
      The store has {bytes(usedBytes)} of {bytes(bytesMax)} in use ({percent(usedBytes / bytesMax)})
      {diskFreeBytes === null ? "" : `; its disk has ${bytes(diskFreeBytes)} free`}.
    </p>
  );
}

/** `0 %` is nothing at all. */
function percent(part: number): string {
  if (part > 0 && part < 0.001) return "less than 0.1 %";
  const digits = part > 0 && part < 0.1 ? 1 : 0;
  return `${(Math.min(1, part) * 100).toFixed(digits)} %`;
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(n: number): string {
  const power = n < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(n) / 10));
  return `${power === 0 ? n : (n / 1024 ** power).toFixed(1)} ${UNITS[power]}`;
}
