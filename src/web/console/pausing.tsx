/** What somebody has stopped for a while: who, since when and why, in plain words, and stopping and resuming it. */
import { useSignal } from "@preact/signals";
import { capital, harmless, moment } from "../../core/plain-words.ts";
import type { Pause, PauseKind } from "../../queue/pauses.ts";
import type { DeliveryHistory } from "../../queue/queries-history.ts";
import type { PauseChanged } from "../../relay/pauses.ts";
import { Acts, Ask } from "./acting.tsx";
import { api } from "./api.ts";
import { askNow, nowMs, status } from "./live.ts";
import { State } from "./marks.tsx";
import type { Asked } from "./repairs.tsx";

export function pauseOf(kind: PauseKind, name: string | null): Pause | undefined {
  return status.value!.health.pauses.find((pause) => pause.kind === kind && pause.name === name);
}

/** What keeps a waiting delivery from being sent. */
export function holding({ flow, target, key, config }: DeliveryHistory): Pause | undefined {
  const { orderBy = "device" } = (config ?? {}) as { readonly orderBy?: unknown };
  return (
    pauseOf("flow", flow) ??
    pauseOf("target", target) ??
    (orderBy === "device" ? pauseOf("device", key) : undefined)
  );
}

/** `Flow mes is paused by anna since 14:02:11: MES is migrated tonight` */
export function PauseWords({ pause: { kind, name, who, sinceMs, reason } }: { pause: Pause }) {
  const by = sinceMs === null ? "by the config" : `by ${harmless(who)} since ${moment(sinceMs, nowMs.value)}`;
  return (
    <p class="paused">
      <State kind="paused">
        {kind.charAt(0).toUpperCase() + kind.slice(1)} {harmless(name)} is paused {by}: {harmless(reason)}
      </State>
    </p>
  );
}

const HELD: Record<PauseKind, string> = {
  flow: "Its messages are taken as before and wait here, over restarts too.",
  target:
    "Messages for it are taken as before and wait here, on every flow that leads to it, over restarts too.",
  device:
    "What it sends is taken as before and waits here, on flows that keep the order of devices, over restarts too. Commands to it go on.",
};

/** The pause, if there is one, and the button that makes or ends it. */
export function Pausing({ kind, name }: { kind: PauseKind; name: string }) {
  const asked = useSignal<Asked | null>(null);
  const pause = pauseOf(kind, name);
  const shown = harmless(name);
  const ask = () => {
    asked.value =
      pause === undefined
        ? {
            title: `Pause ${kind} ${shown}?`,
            yes: "Pause",
            why: { label: "Why it is paused" },
            children: (
              <p>
                {HELD[kind]} What is being sent ends as usual. Ages go on: what has a time to live expires
                where it waits.
              </p>
            ),
            act: async (_, why) =>
              `${capital(kind)} ${shown} is paused.${passing(await api.pause(kind, name, why))}`,
          }
        : {
            title: `Resume ${kind} ${shown}?`,
            yes: "Resume",
            why: { label: "Why", optional: true },
            children: <p>What has waited goes on at once, in its order.</p>,
            act: async (_, why) => {
              await api.resume(kind, name, why || undefined);
              return `${capital(kind)} ${shown} goes on.`;
            },
          };
  };
  return (
    <div class="pausing">
      {pause && <PauseWords pause={pause} />}
      <Acts
        acts={[
          {
            name: pause ? "Resume" : "Pause",
            on: `${kind} ${shown}`,
            not: pause && pause.sinceMs === null ? "the config pauses it, and has to be changed" : null,
            onAct: ask,
          },
        ]}
      />
      {asked.value && (
        <Ask
          {...asked.value}
          onClose={() => {
            asked.value = null;
            askNow();
          }}
        />
      )}
    </div>
  );
}

function passing({ passing: flows }: PauseChanged): string {
  if (flows.length === 0) return "";
  return ` On ${flows.length === 1 ? "flow" : "flows"} ${flows.map(harmless).join(", ")}, which ${flows.length === 1 ? "keeps" : "keep"} another order than the device's, its messages go on all the same.`;
}
