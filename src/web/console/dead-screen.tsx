/** What needs a person: dead letters by reason, one by one, and the way back into the line. */
import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { count, counted, harmless, moment } from "../../core/plain-words.ts";
import type { DeadLetter } from "../../queue/queries-failures.ts";
import type { ReasonGroup } from "../../queue/queries-reasons.ts";
import { Act, Ask, type Question } from "./acting.tsx";
import { browserClock } from "./browser-clock.ts";
import { DeadList, retryFlow, retryIds, retryReason } from "./dead-list.ts";
import { askNow, nowMs, status } from "./live.ts";
import { State } from "./marks.tsx";
import { addressOf, go, route } from "./route.ts";
import { useRowPx } from "./row-height.ts";
import { VirtualList } from "./virtual-list.tsx";

/** A list that is looked at from its top follows the store, but not more often than this. */
const FOLLOW_MS = 2000;

type Asked = Omit<Question, "onClose">;

export function DeadScreen() {
  const { flow, reason } = route.value.params;
  const asked = useSignal<Asked | null>(null);
  const all = status.value!.failing.dead;
  const held = status.value!.failing.unknown.held;
  const ask = (question: Asked) => {
    asked.value = question;
  };
  return (
    <>
      {all.count === 0 && held === 0 ? (
        <p>
          <State kind="ok">There are no dead letters: nothing waits for a person.</State>
        </p>
      ) : (
        <p>
          {counted(all.count, "message was", "messages were")} set aside and kept here, with what was
          answered. Mend what the reason names, then put them back: each keeps its id and its place in the
          order.
          {held > 0 &&
            ` ${counted(held, "delivery", "deliveries")} whose answer was lost wait for a person too.`}
        </p>
      )}
      <Groups flow={flow} reason={reason} ask={ask} />
      <Letters key={JSON.stringify([flow, reason])} flow={flow} reason={reason} ask={ask} />
      {asked.value && (
        <Ask
          {...asked.value}
          onClose={() => {
            asked.value = null;
            askNow();
          }}
        />
      )}
    </>
  );
}

interface PartProps {
  readonly flow: string | undefined;
  readonly reason: string | undefined;
  readonly ask: (question: Asked) => void;
}

function Groups({ flow, reason, ask }: PartProps) {
  const { dead, unknown } = status.value!.failing;
  const flows = [...new Set(dead.groups.map((group) => group.flow))];
  const groups = dead.groups.filter((group) => flow === undefined || group.flow === flow);
  const needing = dead.count + unknown.held;
  if (needing === 0) return null;
  return (
    <section aria-labelledby="groups-title">
      <div class="row">
        <h2 id="groups-title">By reason</h2>
        {flows.length > 1 && (
          <label>
            Flow{" "}
            <select
              value={flow ?? ""}
              onChange={({ currentTarget }) =>
                go(addressOf("dead", undefined, { flow: currentTarget.value || undefined }))
              }
            >
              <option value="">all</option>
              {flows.map((each) => (
                <option key={each}>{each}</option>
              ))}
            </select>
          </label>
        )}
        <Act onAct={() => ask(allQuestion(flow, groups, needing))}>
          Retry all{flow === undefined ? "" : ` of ${flow}`} …
        </Act>
      </div>
      <table class="groups">
        <thead>
          <tr>
            <th class="n">How many</th>
            <th>Flow</th>
            <th>Reason</th>
            <th>Last</th>
            <th class="n">Most tries</th>
            <th>
              <span class="visually-hidden">Repair</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {groups.map((group) => (
            <Group
              key={`${group.flow} ${group.reason}`}
              group={group}
              chosen={group.reason === reason}
              ask={ask}
            />
          ))}
          {dead.others > 0 && flow === undefined && (
            <tr>
              <td class="n">{count(dead.others)}</td>
              <td colSpan={5} class="quiet">
                for other reasons; they are in the list below
              </td>
            </tr>
          )}
        </tbody>
      </table>
      <Later />
    </section>
  );
}

function allQuestion(flow: string | undefined, groups: readonly ReasonGroup[], needing: number): Asked {
  const n = flow === undefined ? needing : groups.reduce((sum, group) => sum + group.count, 0);
  return {
    title: `Put back all dead letters${flow === undefined ? "" : ` of flow ${flow}`}?`,
    yes: `Retry ${count(n)}`,
    act: (progress) => retryFlow(flow, n, progress),
    children: (
      <p>
        {counted(n, "delivery goes", "deliveries go")} back in line, in order and under their ids, in steps
        that do not delay what comes in. Those that fail again come back here.
      </p>
    ),
  };
}

function Group({
  group,
  chosen,
  ask,
}: {
  group: ReasonGroup;
  chosen: boolean;
  ask: (question: Asked) => void;
}) {
  const { flow, reason, count: n, lastAtMs, attemptsMax } = group;
  const address = chosen ? addressOf("dead", undefined, {}) : addressOf("dead", undefined, { flow, reason });
  return (
    <tr class={chosen ? "chosen" : undefined}>
      <td class="n">{count(n)}</td>
      <td>{flow}</td>
      <td class="reason">
        <a href={address} aria-current={chosen ? "true" : undefined}>
          {harmless(reason)}
        </a>
      </td>
      <td>{moment(lastAtMs, nowMs.value)}</td>
      <td class="n">{attemptsMax}</td>
      <td>
        <Act
          onAct={() =>
            ask({
              title: "Put this group back?",
              yes: `Retry ${count(n)}`,
              act: (progress) => retryReason({ flow, reason }, progress),
              children: (
                <p>
                  {counted(n, "dead letter")} of flow {flow} for the reason “{harmless(reason)}”{" "}
                  {n === 1 ? "goes" : "go"} back in line.
                </p>
              ),
            })
          }
        >
          Retry<span class="visually-hidden"> this group</span> …
        </Act>
      </td>
    </tr>
  );
}

/** What this page cannot do yet stays in sight, with where it can be done. */
function Later() {
  return (
    <p class="quiet">
      Editing, discarding and exporting are not in this version; a dead letter is kept until it is retried.
    </p>
  );
}

function Letters({ flow, reason, ask }: PartProps) {
  const list = useMemo(() => new DeadList({ flow, reason }), [flow, reason]);
  const chosen = useSignal<ReadonlySet<string>>(new Set());
  const atTop = useRef(true);
  const rowPx = useRowPx();
  const known = useComputed(() => countOf(flow, reason));
  const stale = list.reasons.value !== null && known.value !== null && known.value !== list.total;

  useEffect(() => {
    void list.readAnew();
  }, [list]);
  // The store moved on: what is looked at from the top follows, what was scrolled or chosen waits to be asked.
  useEffect(() => {
    if (!stale || !atTop.current || chosen.value.size > 0) return;
    const timer = browserClock.after(FOLLOW_MS, () => void list.readAnew());
    return () => timer.cancel();
  }, [list, stale, known.value]);

  const letters = list.letters.value;
  if (list.error.value !== null && letters.length === 0) return <p class="error">{list.error.value}</p>;
  if (letters.length === 0) return null;
  const toggle = ({ id }: DeadLetter) => {
    const next = new Set(chosen.value);
    if (!next.delete(id)) next.add(id);
    chosen.value = next;
  };
  const ids = [...chosen.value];
  return (
    <section aria-labelledby="letters-title">
      <div class="row">
        <h2 id="letters-title">
          {reason === undefined ? "One by one" : "Of this reason"}
          {flow === undefined ? "" : `, flow ${flow}`}
        </h2>
        <span class="quiet">
          {count(letters.length)} of {count(list.total)} read, the newest message first
        </span>
        {(flow !== undefined || reason !== undefined) && <a href={addressOf("dead")}>Show all</a>}
        {stale && (
          <button type="button" onClick={() => void list.readAnew()}>
            The list has changed: read it again
          </button>
        )}
        <Act
          not={ids.length === 0 ? "choose rows with the box or the space key" : null}
          onAct={() =>
            ask({
              title: `Put back ${counted(ids.length, "chosen message")}?`,
              yes: `Retry ${count(ids.length)}`,
              act: async (progress) => {
                const sentence = await retryIds(ids, flow, progress);
                chosen.value = new Set();
                void list.readAnew();
                return sentence;
              },
              children: <p>Each goes back to its place in the line, under its id.</p>,
            })
          }
        >
          Retry chosen{ids.length > 0 ? ` (${count(ids.length)})` : ""} …
        </Act>
      </div>
      <VirtualList
        label="Dead letters"
        kind="dead"
        rows={letters}
        total={list.total}
        rowPx={rowPx}
        head={["Choose", "Accepted", "Device", "Topic", "Flow", "Why", "Tries"]}
        keyOf={({ seq, flow: of, key }) => `${seq} ${of} ${key}`}
        chosen={({ id }) => chosen.value.has(id)}
        onChoose={toggle}
        onOpen={({ id }) => go(addressOf("messages", id))}
        onNearEnd={() => void list.readOn()}
        onScrolled={(top) => {
          atTop.current = top === 0;
        }}
        cells={(letter) => [
          <input
            key="choose"
            type="checkbox"
            tabIndex={-1}
            checked={chosen.value.has(letter.id)}
            aria-label={`Choose ${harmless(letter.id)}`}
            onClick={(event) => event.stopPropagation()}
            onChange={() => toggle(letter)}
          />,
          moment(letter.acceptedAtMs, nowMs.value),
          harmless(letter.device),
          harmless(letter.topic),
          letter.flow,
          harmless(letter.reason ?? "no reason recorded"),
          String(letter.attempts),
        ]}
      />
    </section>
  );
}

/** How many the status says there are of this flow and reason; null where it does not tell them apart. */
function countOf(flow: string | undefined, reason: string | undefined): number | null {
  const { dead } = status.value!.failing;
  const groups = dead.groups.filter((each) => flow === undefined || each.flow === flow);
  if (reason !== undefined) return groups.find((each) => each.reason === reason)?.count ?? 0;
  if (flow === undefined) return dead.count;
  return dead.others > 0 ? null : groups.reduce((sum, { count: n }) => sum + n, 0);
}
