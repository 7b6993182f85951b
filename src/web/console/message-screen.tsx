/** One message: the way it takes, where it stands, everything that happened to it, and what is in it. */
import { flowWords } from "../../core/command-message.ts";
import { age, count, counted, harmless, moment } from "../../core/plain-words.ts";
import type { MessageHistory } from "../../queue/queries-history.ts";
import { api } from "./api.ts";
import { Delivery } from "./delivery-box.tsx";
import { nowMs } from "./live.ts";
import { Mark } from "./marks.tsx";
import { Payload } from "./payload.tsx";
import { usePolled } from "./polled.ts";
import { timeline } from "./sentences.ts";

const ASK_EVERY_MS = 1000;
/** When it is tried next is told by its answers alone. */
const QUIET_MS = 5000;

export function MessageScreen({ id }: { id: string }) {
  const { value: found, error } = usePolled(() => api.message(id), id, {
    of: ["flows", "pauses", "act"],
    everyMs: ASK_EVERY_MS,
    quietMs: QUIET_MS,
  }).value;
  if (!found) return error ? <NotFound error={error} /> : <p class="quiet">Asking …</p>;
  return (
    <>
      {error && <p class="error">{error}</p>}
      <Origin found={found} />
      {found.deliveries.length === 0 && <p>No flow takes its topic: it is kept, and goes nowhere.</p>}
      {found.deliveries.map((delivery) => (
        <Delivery key={`${delivery.flow} ${delivery.key}`} delivery={delivery} found={found} />
      ))}
      <div class="two-columns">
        <History found={found} />
        <Payload message={found.message} />
      </div>
    </>
  );
}

function NotFound({ error }: { error: string }) {
  return (
    <>
      <p class="error">{error}</p>
      <p class="quiet">
        Delivered messages are kept as long as queue.retention says, then removed; the figures keep counting
        them. Dead ones stay.
      </p>
    </>
  );
}

function Origin({ found: { message } }: { found: MessageHistory }) {
  const facts: [string, string][] = [
    ["Number in the store", `#${message.seq}`],
    ["Accepted", `${moment(message.acceptedAtMs, nowMs.value)}, ${age(message.ageMs)} ago`],
    [
      "Made by the device",
      message.producedAtMs === null ? "not told" : moment(message.producedAtMs, nowMs.value),
    ],
    [
      "By",
      `${message.source === "mqtt" ? `MQTT, QoS ${message.qos}` : message.source}${message.retain ? ", retained" : ""}`,
    ],
    [
      "Content",
      `${counted(message.payloadBytes, "byte")}${message.contentType === null ? "" : `, ${harmless(message.contentType)}`}`,
    ],
    ["Duplicates suppressed", count(message.duplicates)],
    ...(message.traceparent === null
      ? []
      : ([["Trace", harmless(message.traceparent)]] as [string, string][])),
    ...Object.entries(message.headers).map(([name, value]): [string, string] => [
      harmless(name),
      harmless(value),
    ]),
  ];
  return (
    <>
      <dl class="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {!message.clockTrusted && (
        <p class="quiet">The box's clock was not set when it came: its dates are wrong.</p>
      )}
    </>
  );
}

function History({ found }: { found: MessageHistory }) {
  const several = found.deliveries.length > 1;
  return (
    <section aria-labelledby="history-title">
      <h2 id="history-title">What happened</h2>
      {found.historyCut && <p class="quiet">Older entries are not shown.</p>}
      <ol class="timeline">
        {timeline(found).map(({ atMs, mark, flow, what, detail }, at) => (
          // An entry has no name of its own, and none moves.
          <li key={at}>
            <time dateTime={new Date(atMs).toISOString()}>{moment(atMs, nowMs.value)}</time>
            <Mark kind={mark} />
            <span>
              {several && flow !== null ? `${flowWords(flow)}: ` : ""}
              {what}
              {detail !== null && <span class="detail">{detail}</span>}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}
