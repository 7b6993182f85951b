/** What needs a person: dead letters and lost answers by reason, and what can be done with them. */
import { useSignal } from "@preact/signals";
import { flowWords } from "../../core/command-message.ts";
import { count, counted, harmless, moment } from "../../core/plain-words.ts";
import type { ReasonGroup } from "../../queue/queries-reasons.ts";
import { Acts, Ask } from "./acting.tsx";
import type { RepairSelection } from "./api.ts";
import { Letters, type PartProps } from "./dead-letters.tsx";
import { redriveQuestion } from "./job-questions.tsx";
import { OpenJobs } from "./job-row.tsx";
import { askNow, nowMs, status } from "./live.ts";
import { State } from "./marks.tsx";
import { type Asked, deliveredQuestion, discardQuestion, ofWhich, retryQuestion } from "./repairs.tsx";
import { addressOf, go, route } from "./route.ts";

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
          order. One alone can be edited: open it.
          {held > 0 &&
            ` ${counted(held, "delivery whose answer was lost waits", "deliveries whose answer was lost wait")} for a person too.`}
        </p>
      )}
      <OpenJobs kind="redrive" />
      <Groups flow={flow} reason={reason} ask={ask} />
      <Lost flow={flow} ask={ask} />
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

function Groups({ flow, reason, ask }: PartProps) {
  const { dead, unknown } = status.value!.failing;
  const flows = [...new Set(dead.groups.map((group) => group.flow))];
  const groups = dead.groups.filter((group) => flow === undefined || group.flow === flow);
  if (dead.count + unknown.held === 0) return null;
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
        <Acts
          acts={actsOn(
            flow === undefined ? { all: true } : { flow },
            ask,
            flow === undefined ? "all" : `all of ${flow}`,
          )}
        />
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
    </section>
  );
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
      <td>{flowWords(flow)}</td>
      <td class="reason">
        <a href={address} aria-current={chosen ? "true" : undefined}>
          {harmless(reason)}
        </a>
      </td>
      <td class="short" data-label="Last">
        {moment(lastAtMs, nowMs.value)}
      </td>
      <td class="n" data-label="Most tries">
        {count(attemptsMax)}
      </td>
      <td>
        <Acts acts={actsOn({ flow, group: reason }, ask)} />
      </td>
    </tr>
  );
}

function actsOn(selection: RepairSelection, ask: (question: Asked) => void, which = "") {
  const named = (name: string) => (which === "" ? name : `${name} ${which}`);
  const on = which === "" ? ofWhich(selection) : undefined;
  return [
    { name: named("Retry"), on, onAct: () => ask(retryQuestion(selection)) },
    {
      name: which === "" ? "At a rate" : "At a rate, as a job",
      on,
      onAct: () => ask(redriveQuestion(selection)),
    },
    { name: named("Discard"), on, onAct: () => ask(discardQuestion(selection)) },
  ];
}

/** Sent, and no answer came: held, because their flow does not send again by itself. */
function Lost({ flow, ask }: Pick<PartProps, "flow" | "ask">) {
  const { unknown } = status.value!.failing;
  // Those that are taken up again by themselves have a time for it.
  const groups = unknown.groups.filter(
    (group) => group.nextDueMs === null && (flow === undefined || group.flow === flow),
  );
  if (unknown.held === 0 || groups.length === 0) return null;
  return (
    <section aria-labelledby="lost-title">
      <div class="row">
        <h2 id="lost-title">Answers that were lost</h2>
        <span class="quiet">
          Sent, and whether the backend has them nobody here knows. Look into the backend, or open one and ask
          it.
        </span>
      </div>
      <table class="groups">
        <thead>
          <tr>
            <th class="n">How many</th>
            <th>Flow</th>
            <th>What is known</th>
            <th>Last</th>
            <th>
              <span class="visually-hidden">Repair</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {groups.map((group) => {
            const selection = { flow: group.flow, group: group.reason };
            const on = ofWhich(selection);
            return (
              <tr key={`${group.flow} ${group.reason}`}>
                <td class="n">{count(group.count)}</td>
                <td>{flowWords(group.flow)}</td>
                <td class="reason">
                  <a href={addressOf("messages", undefined, { flow: group.flow, state: "unknown" })}>
                    {harmless(group.reason)}
                  </a>
                </td>
                <td class="short" data-label="Last">
                  {moment(group.lastAtMs, nowMs.value)}
                </td>
                <td>
                  <Acts
                    acts={[
                      { name: "It has them", on, onAct: () => ask(deliveredQuestion(selection)) },
                      { name: "Send again", on, onAct: () => ask(retryQuestion(selection)) },
                      { name: "Discard", on, onAct: () => ask(discardQuestion(selection)) },
                    ]}
                  />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
  );
}
