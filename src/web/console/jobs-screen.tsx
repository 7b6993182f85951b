/** Work on many messages: what runs, what ran, and a replay to begin. */
import { useSignal } from "@preact/signals";
import { isBuiltInFlow } from "../../core/command-message.ts";
import { Act, Ask } from "./acting.tsx";
import { api } from "./api.ts";
import { jobQuestion, replayAsk } from "./job-questions.tsx";
import { JobList } from "./job-row.tsx";
import { askNow, status } from "./live.ts";
import { usePolled } from "./polled.ts";
import type { Asked } from "./repairs.tsx";
import { addressOf } from "./route.ts";

const ASK_EVERY_MS = 1000;

export function JobsScreen() {
  // What has just begun or ended is asked for at once.
  const open = status.value!.health.jobs.map(({ id, state }) => `${id} ${state}`).join();
  const { value, error } = usePolled(api.jobs, open, { of: ["jobs", "job"], everyMs: ASK_EVERY_MS }).value;
  return (
    <>
      <p class="quiet">
        A job works on many messages, from the oldest to the newest, at most at its rate. It waits while its
        target is away, and goes on after a restart. Dead letters are put back from{" "}
        <a href={addressOf("dead")}>Dead letters</a>; what was delivered is replayed from here.
      </p>
      <Replay />
      <section aria-labelledby="jobs-title">
        <h2 id="jobs-title">Jobs, the newest first</h2>
        {error && <p class="error">{error}</p>}
        {value?.jobs.length === 0 && <p class="quiet">There was none yet.</p>}
        {value ? <JobList jobs={value.jobs} /> : !error && <p class="quiet">Asking …</p>}
        {value && value.next !== null && <p class="quiet">The newest {value.jobs.length} are shown.</p>}
      </section>
    </>
  );
}

function Replay() {
  const form = useSignal<Readonly<Record<string, string>>>({});
  const asked = useSignal<Asked | null>(null);
  const flows = status.value!.health.flows.map(({ flow }) => flow).filter((flow) => !isBuiltInFlow(flow));
  const set = (name: string) => ({
    value: form.value[name] ?? "",
    onInput: ({ currentTarget }: { currentTarget: HTMLInputElement | HTMLSelectElement }) => {
      form.value = { ...form.value, [name]: currentTarget.value };
    },
  });
  const begin = () => {
    asked.value = jobQuestion(replayAsk(form.value), "Deliver these again?");
  };
  return (
    <section class="box" aria-labelledby="replay-title">
      <h2 id="replay-title">Replay what was delivered</h2>
      <form
        class="find"
        onSubmit={(event) => {
          event.preventDefault();
          begin();
        }}
      >
        <label>
          Delivered on flow
          <select {...set("flow")}>
            <option value="">any</option>
            {flows.map((flow) => (
              <option key={flow}>{flow}</option>
            ))}
          </select>
        </label>
        <label>
          Device <input type="search" {...set("device")} />
        </label>
        <label>
          Topic or filter <input type="search" {...set("topic")} />
        </label>
        <label>
          Accepted from <input type="datetime-local" {...set("from")} />
        </label>
        <label>
          until <input type="datetime-local" {...set("to")} />
        </label>
        <label>
          To be delivered on
          <select {...set("into")}>
            <option value="">the same flow</option>
            {flows.map((flow) => (
              <option key={flow}>{flow}</option>
            ))}
          </select>
        </label>
        <Act kind="main" onAct={begin}>
          Estimate …
        </Act>
      </form>
      {asked.value && (
        <Ask
          {...asked.value}
          onClose={() => {
            asked.value = null;
            askNow();
          }}
        />
      )}
    </section>
  );
}
