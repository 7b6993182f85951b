/** Dead letters one by one, however many: to open, to choose, and to repair what was chosen. */
import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { count, harmless, moment } from "../../core/plain-words.ts";
import type { DeadLetter } from "../../queue/queries-failures.ts";
import { Acts } from "./acting.tsx";
import { browserClock } from "./browser-clock.ts";
import { DeadList } from "./dead-list.ts";
import { nowMs, status } from "./live.ts";
import { type Asked, discardQuestion, retryQuestion } from "./repairs.tsx";
import { addressOf, go } from "./route.ts";
import { useRowPx } from "./row-height.ts";
import { VirtualList } from "./virtual-list.tsx";

/** A list that is looked at from its top follows the store, but not more often than this. */
const FOLLOW_MS = 2000;

export interface PartProps {
  readonly flow: string | undefined;
  readonly reason: string | undefined;
  readonly ask: (question: Asked) => void;
}

export function Letters({ flow, reason, ask }: PartProps) {
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
  const thenAnew = (question: Asked): Asked => ({
    ...question,
    act: async (...given) => {
      const sentence = await question.act(...given);
      chosen.value = new Set();
      void list.readAnew();
      return sentence;
    },
  });
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
        <Acts
          acts={CHOSEN_ACTS.map(({ name, question }) => ({
            name: `${name} chosen${ids.length > 0 ? ` (${count(ids.length)})` : ""}`,
            not: ids.length === 0 ? "choose rows with the box or the space key" : null,
            onAct: () => ask(thenAnew(question({ ids, flow }))),
          }))}
        />
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

const CHOSEN_ACTS = [
  { name: "Retry", question: retryQuestion },
  { name: "Discard", question: discardQuestion },
] as const;

/** How many the status says there are of this flow and reason; null where it does not tell them apart. */
function countOf(flow: string | undefined, reason: string | undefined): number | null {
  const { dead } = status.value!.failing;
  const groups = dead.groups.filter((each) => flow === undefined || each.flow === flow);
  if (reason !== undefined) return groups.find((each) => each.reason === reason)?.count ?? 0;
  if (flow === undefined) return dead.count;
  return dead.others > 0 ? null : groups.reduce((sum, { count: n }) => sum + n, 0);
}
