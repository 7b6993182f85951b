/** The six questions of an operator, each with its figure and where to look further. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { flowWords } from "../../core/command-message.ts";
import { count, counted, harmless } from "../../core/plain-words.ts";
import type { Failures } from "../../queue/queries-reasons.ts";
import { Reached, Waiting } from "./figures.tsx";
import { liveTarget, status } from "./live.ts";
import { addressOf, go } from "./route.ts";
import { awayWords, placeWords } from "./sentences.ts";

const REASONS_SHOWN = 4;

export function Questions() {
  return (
    <section class="questions" aria-label="The six questions">
      <Question n={1} title="How many messages are waiting?">
        <Waiting />
      </Question>
      <Question n={2} title="How many are failing, and why?">
        <Failing />
      </Question>
      <Question n={3} title="Which workflow takes which message?">
        <Workflows />
      </Question>
      <Question n={4} title="Are any being retried?">
        <Retrying />
      </Question>
      <Question n={5} title="What state did the system reach?">
        <Reached />
      </Question>
      <Question n={6} title="How is it repaired?">
        <Repair />
      </Question>
    </section>
  );
}

function Question({ n, title, children }: { n: number; title: string; children: ComponentChildren }) {
  return (
    <section class="box question">
      <h2>
        <span class="number">{n}</span> {title}
      </h2>
      {children}
    </section>
  );
}

function Failing() {
  const { dead, unknown } = status.value!.failing;
  return (
    <>
      <p class="figure">
        {count(dead.count)} <small>{dead.count === 1 ? "dead letter" : "dead letters"}</small>
        {unknown.count > 0 && (
          <>
            {" "}
            {count(unknown.count)} <small>of unknown fate</small>
          </>
        )}
      </p>
      {dead.count + unknown.count === 0 && <p class="quiet">Nothing waits for a person.</p>}
      <Reasons failures={dead} />
      <Reasons failures={unknown} />
      {dead.count > 0 && (
        <p>
          <a href={addressOf("dead")}>Dead letters by reason</a>
        </p>
      )}
    </>
  );
}

function Reasons({ failures }: { failures: Failures }) {
  const shown = failures.groups.slice(0, REASONS_SHOWN);
  const others = failures.count - shown.reduce((sum, group) => sum + group.count, 0);
  if (shown.length === 0) return null;
  return (
    <ul class="reasons">
      {shown.map(({ flow, reason, count: n }) => (
        <li key={`${flow} ${reason}`}>
          <b>{count(n)} ×</b> {flowWords(flow)}: {harmless(reason)}
        </li>
      ))}
      {others > 0 && <li class="quiet">{counted(others, "other")} for other reasons</li>}
    </ul>
  );
}

function Workflows() {
  const { flows, health } = status.value!;
  const id = useSignal("");
  const find = (event: Event) => {
    event.preventDefault();
    if (id.value.trim() !== "") go(addressOf("messages", id.value.trim()));
  };
  return (
    <>
      <form class="find" onSubmit={find}>
        <label>
          One message, by its id or number{" "}
          <input
            type="text"
            value={id.value}
            onInput={({ currentTarget }) => {
              id.value = currentTarget.value;
            }}
            autocomplete="off"
            spellcheck={false}
          />
        </label>
        <button type="submit">Show</button>
      </form>
      <table class="compact">
        <thead>
          <tr>
            <th>takes</th>
            <th>flow, version</th>
            <th>to</th>
          </tr>
        </thead>
        <tbody>
          {flows.map(({ flow, from, target, version }) => {
            const configured = health.flows.find((each) => each.flow === flow);
            return (
              <tr key={flow}>
                <td>
                  <code>{from.join(" ") || "?"}</code>
                </td>
                <td>
                  {flowWords(flow)} <Version hash={configured?.version ?? version} />
                </td>
                <td>{placeWords(configured?.target ?? target)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {flows.length === 0 && <p class="quiet">No flow has taken a message yet.</p>}
    </>
  );
}

const VERSION_CHARS = 7;

/** Its beginning is enough to tell versions apart; the whole is in its title. */
export function Version({ hash }: { hash: string | null }) {
  return (
    <code class="quiet" title={hash ?? undefined}>
      {hash?.slice(0, VERSION_CHARS) ?? "?"}
    </code>
  );
}

function Retrying() {
  const { retrying, health, asOfMs } = status.value!;
  const away = health.targets.flatMap(({ target, state }) => (state === "down" ? liveTarget(target)! : []));
  return (
    <>
      <p class="figure">
        {retrying.complete ? "" : "at least "}
        {count(retrying.count)} <small>{retrying.count === 1 ? "delivery" : "deliveries"}</small>
        {retrying.heldBack > 0 && (
          <>
            {" "}
            {count(retrying.heldBack)} <small>wait behind {retrying.count === 1 ? "it" : "them"}</small>
          </>
        )}
      </p>
      <Reasons failures={retrying} />
      {away.map((target) => (
        <p key={target.target}>
          {placeWords(target.target)} {awayWords(target, asOfMs)}. No message is charged a try for that.
        </p>
      ))}
      {retrying.count === 0 && away.length === 0 && (
        <p class="quiet">Each message went through at its first try, or is at rest.</p>
      )}
    </>
  );
}

function Repair() {
  return (
    <>
      <PutBack />
      {status.value!.exports.length > 0 && (
        <p>
          What is held for another box waits until its export is ended: <code>holdfast export list</code>,
          then <code>finish</code> or <code>cancel</code>.
        </p>
      )}
    </>
  );
}

function PutBack() {
  const { dead, unknown } = status.value!.failing;
  const needing = dead.count + unknown.held;
  return needing === 0 ? (
    <p class="quiet">Nothing needs repair. What waits is tried again by itself.</p>
  ) : (
    <>
      <p>
        {counted(needing, "delivery needs", "deliveries need")} a person. Mend what the reason names, then put
        them back: each keeps its id and its place in the order.
      </p>
      <p>
        <a class="button" href={addressOf("dead")}>
          Look and retry
        </a>
      </p>
      <p class="quiet">
        On the command line: <code>holdfast dead list</code>, <code>holdfast dead retry</code>
      </p>
    </>
  );
}
