/** How the gateway is, at a glance: what is wrong, the way from devices to targets, the six questions, the charts. */
import { isBuiltInFlow } from "../../core/command-message.ts";
import { capital, counted, harmless, moment } from "../../core/plain-words.ts";
import type { Problem } from "../../watch/problems.ts";
import { Charts } from "./charts.tsx";
import { liveTarget, nowMs, status } from "./live.ts";
import { Mark, State } from "./marks.tsx";
import { Picture } from "./picture.tsx";
import { Questions } from "./questions.tsx";
import { addressOf } from "./route.ts";
import { awayWords, placeWords } from "./sentences.ts";

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
        <State kind="ok">
          All is well: what was taken is delivered or on its way, and nothing needs a person.
        </State>
      ) : (
        <ul>
          {problems.map((problem) => (
            <li key={problem.key} class={`problem ${problem.severity}`}>
              <Mark kind={problem.severity === "alarm" ? "alarm" : "attention"} />
              <span>
                <b>{problem.severity === "alarm" ? "Alarm" : "Attention"}</b> <Sentence problem={problem} />{" "}
                <Remedy problem={problem} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Sentence({ problem }: { problem: Problem }) {
  const { health, asOfMs } = status.value!;
  const target = liveTarget(problem.subject);
  if (problem.kind !== "target-down" || !target) {
    return (
      <>
        {capital(problem.sentence)}. <span class="quiet">Since {moment(problem.sinceMs, nowMs.value)}.</span>
      </>
    );
  }
  const waiting = health.flows
    .filter((flow) => flow.target === target.target)
    .reduce((sum, { figures }) => sum + (figures ? figures.waiting + figures.sending : 0), 0);
  return (
    <>
      {waiting > 0 && `${counted(waiting, "message is", "messages are")} stored on this box. `}
      {isBuiltInFlow(target.target) ? capital(placeWords(target.target)) : target.target}{" "}
      {awayWords(target, asOfMs)}. {waiting === 0 && "Nothing waits for it. "}
      {target.lastError && <span class="quiet">{harmless(target.lastError)}.</span>}
    </>
  );
}

/** Where a problem can be looked into, if this page has such a place. */
function Remedy({ problem: { kind, subject } }: { problem: Problem }) {
  if (kind === "dead-letters" || kind === "unknown-waiting") {
    return <a href={addressOf("dead", undefined, { flow: subject ?? undefined })}>Look at them</a>;
  }
  return null;
}
