/** What happened lately: problems that are, and what this page saw change while it was open. */
import { age, moment } from "../../core/plain-words.ts";
import { nowMs, seen, status } from "./live.ts";
import { Mark } from "./marks.tsx";

export function ActivityScreen() {
  const { health } = status.value!;
  const began = { atMs: nowMs.value - health.uptimeMs, sentence: `This run of the gateway began, version ${health.version}.` };
  const problems = health.problems.map(({ sinceMs, sentence }) => ({ atMs: sinceMs, sentence: `Began: ${sentence}.` }));
  const entries = [began, ...problems, ...seen.value].sort((a, b) => b.atMs - a.atMs);
  return (
    <>
      <p class="quiet">
        Running for {age(health.uptimeMs)}. Shown are problems that are there now, since when, and what this page saw
        while it was open; the gateway's log has everything.
      </p>
      <ol class="timeline">
        {entries.map(({ atMs, sentence }, at) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: an entry has no name of its own.
          <li key={at}>
            <time dateTime={new Date(atMs).toISOString()}>{moment(atMs, nowMs.value)}</time>
            <Mark kind="idle" />
            <span>{sentence}</span>
          </li>
        ))}
      </ol>
    </>
  );
}
