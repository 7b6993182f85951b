/** How the gateway is, at a glance: what is wrong, the way from devices to targets, the six questions, the charts. */
import { moment } from "../../core/plain-words.ts";
import type { Problem } from "../../watch/problems.ts";
import { Charts } from "./charts.tsx";
import { nowMs, status } from "./live.ts";
import { Mark, State } from "./marks.tsx";
import { Picture } from "./picture.tsx";
import { Questions } from "./questions.tsx";
import { addressOf } from "./route.ts";

export function OverviewScreen() {
  return (
    <>
      <Problems />
      <Picture />
      <Questions />
      <Charts />
    </>
  );
}

function Problems() {
  const { problems } = status.value!.health;
  return (
    <section aria-label="Problems" class={problems.length === 0 ? "problems none" : "problems"}>
      {problems.length === 0 ? (
        <State kind="ok">All is well: what was taken is delivered or on its way, and nothing needs a person.</State>
      ) : (
        <ul>
          {problems.map((problem) => (
            <li key={problem.key} class={`problem ${problem.severity}`}>
              <Mark kind={problem.severity === "alarm" ? "alarm" : "attention"} />
              <span>
                <b>{problem.severity === "alarm" ? "Alarm" : "Attention"}</b> {capital(problem.sentence)}.{" "}
                <span class="quiet">Since {moment(problem.sinceMs, nowMs.value)}.</span> <Remedy problem={problem} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

/** Where a problem can be looked into, if this page has such a place. */
function Remedy({ problem: { kind, subject } }: { problem: Problem }) {
  if (kind === "dead-letters" || kind === "unknown-waiting") {
    return <a href={addressOf("dead", undefined, { flow: subject ?? undefined })}>Look at them</a>;
  }
  return null;
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
