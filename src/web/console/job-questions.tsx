/** Jobs before they begin: an estimate of how many, how old and how long, the rate to choose, and then a yes. */
import { type Signal, signal } from "@preact/signals";
import { jobTitle } from "../../core/job.ts";
import { age, count, moment } from "../../core/plain-words.ts";
import { api, type JobAsk, type RepairSelection } from "./api.ts";
import { bytes } from "./figures.tsx";
import { nowMs } from "./live.ts";
import { type Asked, ofWhich } from "./repairs.tsx";

type Estimate = Awaited<ReturnType<typeof api.estimate>>;

export const redriveQuestion = (selection: RepairSelection): Asked =>
  jobQuestion({ kind: "redrive", ...selection }, `Put back dead letters ${ofWhich(selection)}, at a rate?`);

export function jobQuestion(ask: JobAsk, title: string): Asked {
  const rate = signal("");
  return {
    title,
    yes: "Begin the job",
    why: { label: "Why", optional: true },
    prepare: async () => {
      const estimate = await api.estimate(ask);
      if (rate.value === "") rate.value = String(estimate.rate);
      return <Estimated estimate={estimate} rate={rate} ask={ask} />;
    },
    act: async (_, reason) => {
      const job = await api.beginJob({ ...ask, rate: Number(rate.value), reason: reason || undefined });
      return `Job ${job.id} has begun: ${jobTitle(job)}. It goes on without this page, and over restarts; how far it is stands on the Jobs screen.`;
    },
  };
}

function Estimated({ estimate, rate, ask }: { estimate: Estimate; rate: Signal<string>; ask: JobAsk }) {
  const { count: n, bytes: size, oldestMs, newestMs, complete, goneAtMost, keptFromMs } = estimate;
  const perSecond = Number(rate.value);
  return (
    <>
      <p>
        <b>
          {complete ? "" : "At least "}
          {count(n)} {n === 1 ? "delivery" : "deliveries"}
        </b>
        , {bytes(size)}
        {oldestMs !== null &&
          newestMs !== null &&
          `, accepted from ${moment(oldestMs, nowMs.value)} to ${moment(newestMs, nowMs.value)}`}
        . They keep their ids and the order of their lanes, and go from the oldest to the newest.
      </p>
      {goneAtMost > 0 && (
        <p>
          Up to {count(goneAtMost)} delivered {goneAtMost === 1 ? "message" : "messages"} that may be meant{" "}
          {goneAtMost === 1 ? "was" : "were"} removed by retention and cannot be replayed
          {keptFromMs === null
            ? ""
            : `; the oldest that is kept was accepted at ${moment(keptFromMs, nowMs.value)}`}
          .
        </p>
      )}
      {ask.kind === "redrive" && (
        <p class="quiet">Deliveries that are held because their answer was lost are among them.</p>
      )}
      {ask.kind === "replay" && (
        <p class="quiet">
          A backend that knows messages by their id has these already, and drops them unless it looks at the
          mark of a replay. They count as waiting until they are delivered again.
        </p>
      )}
      <label class="why-field">
        At most so many a second
        <input
          type="number"
          min="0.1"
          step="any"
          value={rate.value}
          onInput={({ currentTarget }) => {
            rate.value = currentTarget.value;
          }}
        />
      </label>
      <p class="quiet">
        {n > 0 && perSecond > 0
          ? `At that rate it takes about ${age(Math.max(1000, (n * 1000) / perSecond))}, and longer where the target is slower.`
          : n === 0
            ? "There is nothing to do now."
            : "Say a rate."}
      </p>
    </>
  );
}

/** What can be replayed: by flow, device and time, to the same flow or another one. */
export function replayAsk(form: Readonly<Record<string, string>>): JobAsk {
  const given = (name: string) => form[name]?.trim() || undefined;
  const at = (name: string) => {
    const text = given(name);
    return text === undefined ? undefined : new Date(text).toISOString();
  };
  const narrowing = {
    flow: given("flow"),
    device: given("device"),
    topic: given("topic"),
    from: at("from"),
    to: at("to"),
  };
  const all = Object.values(narrowing).every((each) => each === undefined);
  return { kind: "replay", ...narrowing, into: given("into"), ...(all ? { all: true as const } : {}) };
}
