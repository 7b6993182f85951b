/** One delivery of a message: its way, where it stands, what people changed of it, and how it is repaired. */
import { useSignal } from "@preact/signals";
import { flowWords, isBuiltInFlow } from "../../core/command-message.ts";
import { harmless, moment } from "../../core/plain-words.ts";
import type { DeliveryHistory, EditView, MessageHistory } from "../../queue/queries-history.ts";
import { Acts, Ask, type NamedAct } from "./acting.tsx";
import { api } from "./api.ts";
import { EditDialog } from "./edit-dialog.tsx";
import { askNow, liveTarget, nowMs, status } from "./live.ts";
import { State } from "./marks.tsx";
import { holding, PauseWords } from "./pausing.tsx";
import { Version } from "./questions.tsx";
import { type Asked, discard, markDelivered, retry } from "./repairs.tsx";
import { addressOf } from "./route.ts";
import { DELIVERY_MARKS, deliverySentence, placeWords } from "./sentences.ts";

export function Delivery({ delivery, found }: { delivery: DeliveryHistory; found: MessageHistory }) {
  const asked = useSignal<Asked | null>(null);
  const editing = useSignal(false);
  const { flow, version, target, key, state, late, resend, edits } = delivery;
  const { message, history } = found;
  const replayed = history.findLast((entry) => entry.flow === flow && entry.kind === "replay");
  const pause = state === "waiting" && delivery.export === null ? holding(delivery) : undefined;
  const closed = () => {
    asked.value = null;
    editing.value = false;
    askNow();
  };
  const acts = actsOn(delivery, found, {
    ask: (question) => {
      asked.value = question;
    },
    edit: () => {
      editing.value = true;
    },
  });
  return (
    <section class="box delivery" aria-label={`Flow ${flow}`}>
      <ol class="way">
        <li>
          <small>device</small>{" "}
          <a href={addressOf("messages", undefined, { device: message.device })}>
            {harmless(message.device)}
          </a>
        </li>
        <li>
          <small>topic</small> {harmless(message.topic)}
        </li>
        <li>
          <small>flow, version</small> {flowWords(flow)} <Version hash={version} />
        </li>
        <li>
          <small>target</small> {placeWords(target)}
        </li>
      </ol>
      <p>
        <State kind={DELIVERY_MARKS[state]}>
          <b>{state}</b>
        </State>{" "}
        {deliverySentence(delivery, liveTarget(target), status.value!.asOfMs)}
      </p>
      {pause && <PauseWords pause={pause} />}
      {late && <p class="quiet">It was late when it came.</p>}
      {resend && state === "waiting" && (
        <p class="quiet">
          An earlier answer was lost, so the backend may have it already; it goes out under the same id.
        </p>
      )}
      {replayed && (
        <p class="quiet">
          It is a replay, and marked as such at its target: {harmless(replayed.detail ?? "")}.
        </p>
      )}
      {key !== null && key !== message.device && <p class="quiet">In order with all of {harmless(key)}.</p>}
      <Edits edits={edits} message={message} />
      <p class="buttons">
        <Acts acts={acts} />
      </p>
      {asked.value && <Ask {...asked.value} onClose={closed} />}
      {editing.value && <EditDialog delivery={delivery} message={message} onClose={closed} />}
    </section>
  );
}

interface Asking {
  readonly ask: (question: Asked) => void;
  readonly edit: () => void;
}

function actsOn(delivery: DeliveryHistory, { message: { id } }: MessageHistory, asking: Asking): NamedAct[] {
  const { flow, target, state, dueInMs, resend } = delivery;
  const { ask, edit } = asking;
  const needsPerson = state === "dead" || (state === "unknown" && dueInMs === null);
  const lost = state === "unknown" || (state === "dead" && resend);
  const over = isBuiltInFlow(flow)
    ? "it is a command, which is settled on the Commands screen"
    : delivery.export === null
      ? whyOver(state)
      : "it is held for an export, which is ended first";
  const selection = { ids: [id], flow };
  const place = placeWords(target);
  return [
    {
      name: "Retry",
      kind: needsPerson && !isBuiltInFlow(flow) ? "main" : "plain",
      not: over ?? (needsPerson ? null : "it is tried again by itself"),
      onAct: () =>
        ask({
          title: "Put this message back?",
          yes: "Retry",
          act: (progress) => retry(selection, progress),
          children: (
            <p>
              It goes back to its place in the line of flow {flow}, under its id. Mend what the reason names
              first, or it will come back here.
            </p>
          ),
        }),
    },
    {
      name: "Edit",
      not: over ?? (state === "dead" ? null : "only a dead letter can be edited"),
      onAct: edit,
    },
    {
      name: "Discard",
      not: over ?? (needsPerson ? null : "it is tried again by itself"),
      onAct: () =>
        ask({
          title: "Give this message up?",
          yes: "Discard",
          why: { label: "Why it is given up" },
          act: (progress, why) => discard(selection, progress, why),
          children: (
            <p>
              It will not be sent to {place}. <b>Nothing brings it back.</b> It stays on record as discarded,
              with your reason.
            </p>
          ),
        }),
    },
    {
      name: "Ask the backend",
      not: over ?? (state === "unknown" ? whyNotAsked(target) : "no answer of it was lost"),
      onAct: () =>
        ask({
          title: `Ask ${place} whether it has this message?`,
          yes: "Ask",
          act: () => probe(id, flow),
          children: (
            <p>
              Where it has it, it counts as delivered; where it has it not, it goes back in line; where it
              cannot say, nothing changes.
            </p>
          ),
        }),
    },
    {
      name: "Mark as delivered",
      not: over ?? (lost ? null : "no answer of it was lost"),
      onAct: () =>
        ask({
          title: `Does ${place} have this message?`,
          yes: "Mark as delivered",
          why: { label: "What shows that the backend has it" },
          act: (progress, evidence) => markDelivered(selection, progress, evidence),
          children: (
            <p>
              It counts as delivered and is not sent again. Look into the backend first: an order number, a
              row, somebody who saw it.
            </p>
          ),
        }),
    },
  ];
}

async function probe(id: string, flow: string): Promise<string> {
  const { target, found, detail, state } = await api.probe(id, flow);
  return `${placeWords(target)} ${found === "cannot say" ? "cannot say" : found}: ${harmless(detail)}. It is ${state} now.`;
}

/** Why its target cannot be asked whether it has it; null where it can. */
function whyNotAsked(target: string | null): string | null {
  const known = liveTarget(target);
  if (!known) return `${placeWords(target)} is not in the config`;
  return known.canBeAsked ? null : `${placeWords(target)} has no address to be asked at (hasUrl)`;
}

/** Why nothing can be done with it at all; null where something may. */
function whyOver(state: DeliveryHistory["state"]): string | null {
  switch (state) {
    case "dead":
    case "unknown":
      return null;
    case "waiting":
      return "it is tried again by itself";
    case "sending":
      return "it is being sent";
    case "delivered":
      return "it is delivered";
    default:
      return `it is ${state}, which is final`;
  }
}

/** What people made of it, beside what the device has sent. */
function Edits({ edits, message }: { edits: readonly EditView[]; message: MessageHistory["message"] }) {
  const last = edits.at(-1);
  if (!last) return null;
  return (
    <div class="edits">
      <ol>
        {edits.map(({ edit, atMs, who, reason }, at) => (
          <li key={edit}>
            Edited by {harmless(who)} at {moment(atMs, nowMs.value)}, because: {harmless(reason)}.{" "}
            <a href={api.payloadAddress(message.id, edit)} download>
              Payload {edits.length === 1 ? "as edited" : `of edit ${at + 1}`}
            </a>
          </li>
        ))}
      </ol>
      <div class="side-by-side">
        <Form title="As accepted" of={message} />
        <Form title="What the target is given" of={last} />
      </div>
    </div>
  );
}

function Form({
  title,
  of: { topic, contentType, preview },
}: {
  title: string;
  of: Pick<EditView, "topic" | "contentType" | "preview">;
}) {
  return (
    <div>
      <h3>{title}</h3>
      <p class="quiet">
        {harmless(topic)}
        {contentType === null ? "" : `, ${harmless(contentType)}`}
      </p>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard. */}
      <pre class="payload" tabIndex={0}>
        {preview.text}
        {preview.cut ? " …" : ""}
      </pre>
    </div>
  );
}
