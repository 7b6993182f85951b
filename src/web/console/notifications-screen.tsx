/** Who is told when something is wrong: what is raised now, what was told, the channels, the rules; and a test of them. */
import { useSignal } from "@preact/signals";
import { age, capital, count, counted, harmless, moment } from "../../core/plain-words.ts";
import type { ChannelView, RuleView } from "../../watch/notifier.ts";
import { Act, Ask } from "./acting.tsx";
import { api, type NotificationsAnswer } from "./api.ts";
import { bytes } from "./figures.tsx";
import { nowMs } from "./live.ts";
import { Mark, type MarkKind, State } from "./marks.tsx";
import { usePolled } from "./polled.ts";

const ASK_EVERY_MS = 1000;
const CHANGED_BY = ["notification", "problems", "problem", "over", "act"];
/** While something waits for a channel, when it is tried again is told by the answers alone. */
const QUIET_MS = 5000;

export function NotificationsScreen() {
  const { value, error } = usePolled(api.notifications, "", {
    of: CHANGED_BY,
    everyMs: ASK_EVERY_MS,
    quietMs: QUIET_MS,
  }).value;
  if (!value) return error ? <p class="error">{error}</p> : <p class="quiet">Asking …</p>;
  return (
    <>
      {error && <p class="error">{error}</p>}
      <Raised answer={value} />
      <Channels channels={value.channels} />
      <Recent answer={value} />
      <Rules rules={value.rules} nobody={value.channels.length === 0} />
    </>
  );
}

function Raised({ answer: { current, channels } }: { answer: NotificationsAnswer }) {
  return (
    <section aria-labelledby="raised-title">
      <h2 id="raised-title">Raised now</h2>
      {current.length === 0 ? (
        <p>
          {channels.length === 0 ? (
            <span class="quiet">Without a channel nothing is raised. What is wrong is on the overview.</span>
          ) : (
            <State kind="ok">Nothing is: no rule has anything to tell.</State>
          )}
        </p>
      ) : (
        <ul class="problems">
          {current.map(({ id, severity, sentence, sinceMs, reminders, over }) => (
            <li key={id} class={`problem ${severity}`}>
              <Mark kind={severity} />
              <span>
                <b>{severity === "alarm" ? "Alarm" : "Attention"}</b> {capital(harmless(sentence))}.{" "}
                <span class="quiet">
                  Since {moment(sinceMs, nowMs.value)}
                  {reminders > 0 && `, told again ${counted(reminders, "time")}`}
                  {over && "; over just now, and told so when it has been over for long enough"}.
                </span>
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

const CHANNEL_STATES: Record<ChannelView["state"], readonly [mark: MarkKind, words: string]> = {
  idle: ["idle", "nothing to tell"],
  sending: ["waiting", "telling now"],
  waiting: ["waiting", "tells soon"],
  failing: ["alarm", "failing"],
};

function Channels({ channels }: { channels: readonly ChannelView[] }) {
  /** A channel to test; the empty text is all of them. */
  const tested = useSignal<string | null>(null);
  return (
    <section aria-labelledby="channels-title">
      <div class="row">
        <h2 id="channels-title">Who is told</h2>
        {channels.length > 1 && (
          <Act
            onAct={() => {
              tested.value = "";
            }}
          >
            Test all …
          </Act>
        )}
      </div>
      {channels.length === 0 ? (
        <p class="quiet">
          Nobody: there is no channel under <code>notify.channels</code> in the config. A webhook or an MQTT
          topic is a few lines there.
        </p>
      ) : (
        <table class="found channels">
          <thead>
            <tr>
              <th>Channel</th>
              <th>State</th>
              <th>Is told of</th>
              <th>Last told</th>
              <th>Test</th>
            </tr>
          </thead>
          <tbody>
            {channels.map((channel) => (
              <Channel
                key={channel.channel}
                channel={channel}
                onTest={() => {
                  tested.value = channel.channel;
                }}
              />
            ))}
          </tbody>
        </table>
      )}
      {tested.value !== null && (
        <TestQuestion
          channel={tested.value}
          onClose={() => {
            tested.value = null;
          }}
        />
      )}
    </section>
  );
}

function Channel({ channel: of, onTest }: { channel: ChannelView; onTest: () => void }) {
  const { channel, type, where, state, waiting, lastSentAtMs, lastError, failingSinceMs, nextTryInMs } = of;
  const [mark, words] = CHANNEL_STATES[state];
  return (
    <tr>
      <th scope="row">
        {harmless(channel)} <span class="quiet">{type}</span>
        <span class="detail">{harmless(where)}</span>
      </th>
      <td class="whole">
        <State kind={mark}>{words}</State>
        {failingSinceMs !== null && ` since ${moment(failingSinceMs, nowMs.value)}`}
        {waiting > 0 && `, ${count(waiting)} to be told`}
        {nextTryInMs !== null && nextTryInMs > 0 && `, next try in ${age(Math.max(1000, nextTryInMs))}`}
        {lastError !== null && <span class="detail">{harmless(lastError)}</span>}
      </td>
      <td data-label="Is told of">{of.severity === "alarm" ? "alarms alone" : "everything"}</td>
      <td data-label="Last told">
        {lastSentAtMs === null ? "not in this run" : moment(lastSentAtMs, nowMs.value)}
      </td>
      <td>
        <Act onAct={onTest}>
          Test …<span class="visually-hidden"> channel {channel}</span>
        </Act>
      </td>
    </tr>
  );
}

function TestQuestion({ channel, onClose }: { channel: string; onClose: () => void }) {
  const act = async () => {
    const { results } = await api.testNotification(channel || undefined);
    return results
      .map((each) =>
        each.sent
          ? `${each.channel} took it.`
          : `${each.channel} did not take it: ${harmless(each.reason ?? "no reason was given")}.`,
      )
      .join(" ");
  };
  const which = channel === "" ? "all channels" : channel;
  return (
    <Ask title={`Send a test to ${which}?`} yes="Send a test" act={act} onClose={onClose}>
      <p>
        Whoever is behind {channel === "" ? "them" : "it"} gets a message that says that it is a test, and
        from whom. It goes on record.
      </p>
    </Ask>
  );
}

const OUTCOMES: Record<string, readonly [mark: MarkKind, words: string]> = {
  sent: ["ok", "told"],
  failed: ["alarm", "not told yet"],
  dropped: ["attention", "given up"],
};
const EVENTS = { raised: "", reminder: "still so: ", resolved: "over: " } as const;

function Recent({ answer: { recent } }: { answer: NotificationsAnswer }) {
  return (
    <section aria-labelledby="told-title">
      <h2 id="told-title">What was told in this run</h2>
      {recent.length === 0 && <p class="quiet">Nothing yet.</p>}
      <ol class="timeline">
        {recent.map(({ atMs, channel, outcome, event, sentence, error }, at) => {
          const [mark, words] = OUTCOMES[outcome]!;
          return (
            // The same is told of more than once.
            <li key={at}>
              <time dateTime={new Date(atMs).toISOString()}>{moment(atMs, nowMs.value)}</time>
              <Mark kind={mark} />
              <span>
                <b>{harmless(channel)}</b> {words}: {EVENTS[event]}
                {harmless(sentence)}
                {error !== null && <span class="detail">{harmless(error)}</span>}
              </span>
            </li>
          );
        })}
      </ol>
    </section>
  );
}

function Rules({ rules, nobody }: { rules: readonly RuleView[]; nobody: boolean }) {
  return (
    <section aria-labelledby="rules-title">
      <div class="row">
        <h2 id="rules-title">What is told</h2>
        <span class="quiet">
          Set under <code>notify.rules</code> in the config.
        </span>
      </div>
      <table class="found rules">
        <thead>
          <tr>
            <th>Rule</th>
            <th>When</th>
            <th>Over</th>
            <th>Again</th>
            <th>Whom</th>
          </tr>
        </thead>
        <tbody>
          {rules.map(({ rule, about, enabled, forMs, clearAfterMs, remindEveryMs, ...of }) => (
            <tr key={rule}>
              <th scope="row">
                {rule}
                <span class="detail">{about.replaceAll("`", "")}</span>
                {of.only && <span class="detail">Only of {of.only.map(harmless).join(", ")}.</span>}
                {of.except.length > 0 && (
                  <span class="detail">Not of {of.except.map(harmless).join(", ")}.</span>
                )}
              </th>
              <td class="whole" data-label="When">
                {limitWords(rule, of.limits)}
                {forMs === 0 ? "at once" : `after ${age(forMs)}`}
              </td>
              <td class="whole" data-label="Over">
                {clearWords(rule, of.limits)}
                {clearAfterMs === 0 ? "at once" : `for ${age(clearAfterMs)}`}
              </td>
              <td data-label="Again">{remindEveryMs === 0 ? "never" : `every ${age(remindEveryMs)}`}</td>
              <td class="whole" data-label="Whom">
                {!enabled ? (
                  <State kind="idle">switched off</State>
                ) : nobody ? (
                  <span class="quiet">nobody</span>
                ) : (
                  of.channels.map(harmless).join(", ")
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** `older than 15 min, ` */
function limitWords(rule: RuleView["rule"], { above, below }: RuleView["limits"]): string {
  if (rule === "backlog") return `older than ${age(above!)}, `;
  if (rule === "deadLetters") return `more than ${count(above!)}, `;
  return rule === "disk" ? `less than ${bytes(below!)} free, ` : "";
}

function clearWords(rule: RuleView["rule"], { clearAt }: RuleView["limits"]): string {
  if (rule === "backlog") return `${age(clearAt!)} or less, `;
  if (rule === "deadLetters") return clearAt === 0 ? "none, " : `${count(clearAt!)} or fewer, `;
  return rule === "disk" ? `${bytes(clearAt!)} or more, ` : "";
}
