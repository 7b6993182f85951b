/** Finding messages, by whatever is known of them; without a filter, the newest. */

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { flowWords } from "../../core/command-message.ts";
import { DELIVERY_STATES } from "../../core/outcome.ts";
import { count, counted, harmless, moment } from "../../core/plain-words.ts";
import type { MessageBrief } from "../../queue/queries-search.ts";
import { nowMs, status } from "./live.ts";
import { State } from "./marks.tsx";
import { addressOf, go, route } from "./route.ts";
import { useRowPx } from "./row-height.ts";
import { FILTERS, type Filter, MessageSearch } from "./search.ts";
import { DELIVERY_MARKS } from "./sentences.ts";
import { VirtualList } from "./virtual-list.tsx";

export function MessagesScreen() {
  const filter = filterOf(route.value.params);
  const key = JSON.stringify(filter);
  return (
    <>
      <Form key={key} filter={filter} />
      <Found key={`found ${key}`} filter={filter} />
    </>
  );
}

function filterOf(params: Readonly<Record<string, string>>): Filter {
  return Object.fromEntries(FILTERS.flatMap((name) => (params[name] ? [[name, params[name]]] : [])));
}

function Form({ filter }: { filter: Filter }) {
  const draft = useSignal<Filter>(filter);
  const set = (name: keyof Filter) => ({
    value: draft.value[name] ?? "",
    onInput: ({ currentTarget }: { currentTarget: HTMLInputElement | HTMLSelectElement }) => {
      draft.value = { ...draft.value, [name]: currentTarget.value };
    },
  });
  const flows = status.value!.flows.map(({ flow }) => flow);
  const search = (event: Event) => {
    event.preventDefault();
    go(addressOf("messages", undefined, { ...draft.value }));
  };
  const given = Object.values(filter).some((each) => each !== "");
  return (
    <form class="find" onSubmit={search}>
      <label>
        Device <input type="search" data-search {...set("device")} />
      </label>
      <label>
        Flow
        <select {...set("flow")}>
          <option value="">any</option>
          {flows.map((flow) => (
            <option key={flow}>{flow}</option>
          ))}
        </select>
      </label>
      <label>
        State
        <select {...set("state")}>
          <option value="">any</option>
          {DELIVERY_STATES.map((state) => (
            <option key={state}>{state}</option>
          ))}
        </select>
      </label>
      <label>
        Topic or filter <input type="search" placeholder="plant/+/count" {...set("topic")} />
      </label>
      <label>
        Text in the payload <input type="search" {...set("text")} />
      </label>
      <label>
        Id begins with <input type="search" {...set("id")} />
      </label>
      <label>
        Accepted from <input type="datetime-local" {...set("from")} />
      </label>
      <label>
        until <input type="datetime-local" {...set("to")} />
      </label>
      <button type="submit" class="main">
        Search
      </button>
      {given && <a href={addressOf("messages")}>Clear</a>}
    </form>
  );
}

function Found({ filter }: { filter: Filter }) {
  // The screen is made anew for another filter.
  const search = useMemo(() => new MessageSearch(filter), []);
  const rowPx = useRowPx();
  useEffect(() => {
    void search.readOn();
  }, [search]);
  const { messages, error, reading, next, complete, examinedToMs } = search.state.value;
  return (
    <section aria-label="Messages found">
      <div class="row">
        <span class="quiet" role="status">
          {reading ? "Looking …" : foundWords(messages.length)}
          {!reading && next !== null && complete && ", more follow"}
          {!reading &&
            !complete &&
            examinedToMs !== null &&
            `; looked back to ${moment(examinedToMs, nowMs.value)} so far`}
        </span>
        {!reading && next !== null && !complete && (
          <button type="button" onClick={() => void search.readOn()}>
            Look further back
          </button>
        )}
        {!reading && (
          <button type="button" onClick={() => void search.readAnew()}>
            Look again
          </button>
        )}
      </div>
      {error !== null && <p class="error">{error}</p>}
      {!reading && messages.length === 0 && error === null && (
        <p class="quiet">
          None found. Delivered messages are removed after a while, as queue.retention says; dead ones stay.
        </p>
      )}
      {messages.length > 0 && (
        <VirtualList
          label="Messages"
          kind="messages"
          rows={messages}
          total={next === null ? messages.length : -1}
          rowPx={rowPx}
          head={["Accepted", "Device", "Topic", "Where it is", "Payload"]}
          keyOf={({ seq }) => String(seq)}
          onOpen={({ id }) => go(addressOf("messages", id))}
          onNearEnd={() => {
            if (complete) void search.readOn();
          }}
          cells={(message) => [
            moment(message.acceptedAtMs, nowMs.value),
            harmless(message.device),
            harmless(message.topic),
            <Where key="where" message={message} />,
            message.excerpt === null ? (
              <span class="quiet">{counted(message.payloadBytes, "byte")}</span>
            ) : (
              <code>{harmless(message.excerpt)}</code>
            ),
          ]}
        />
      )}
    </section>
  );
}

const FLOWS_SHOWN = 3;

function Where({ message: { deliveries } }: { message: MessageBrief }) {
  if (deliveries.length === 0) return <State kind="idle">no flow takes it</State>;
  const more = deliveries.length - FLOWS_SHOWN;
  return (
    <>
      {deliveries.slice(0, FLOWS_SHOWN).map(({ flow, key, state }) => (
        <span key={`${flow} ${key}`} class="where">
          <State kind={DELIVERY_MARKS[state]}>
            {state} on {flowWords(flow)}
          </State>
        </span>
      ))}
      {more > 0 && <span class="quiet">+{count(more)}</span>}
    </>
  );
}

function foundWords(found: number): string {
  return found > 1 ? `${counted(found, "message")}, the newest first` : counted(found, "message");
}
