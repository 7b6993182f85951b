/**
 * The living picture: machines on the left, what is stored in the middle, backends on the right, and how fast
 * it goes from each to the next. A line is whole where something goes, broken where nothing can.
 */

import { flowWords, isBuiltInFlow } from "../../core/command-message.ts";
import { age, count, counted, harmless } from "../../core/plain-words.ts";
import type { FlowFigures } from "../../queue/queries-flows.ts";
import type { FlowReport } from "../../watch/health.ts";
import { aged, deliveredRate, flowRates, liveTarget, status, takenRate } from "./live.ts";
import { State } from "./marks.tsx";
import { PauseWords, Pausing } from "./pausing.tsx";
import {
  FLOW_MARKS,
  type LiveTarget,
  perSecond,
  placeWords,
  TARGET_MARKS,
  targetEvidence,
} from "./sentences.ts";

/** Of devices; those of flows and targets stand with them. */
const PAUSES_SHOWN = 3;

interface Way {
  readonly figures: FlowFigures;
  /** None for a flow that is in the store and no longer in the config. */
  readonly report: FlowReport | undefined;
}

interface Lane {
  readonly target: string;
  readonly report: LiveTarget | undefined;
  readonly flows: readonly Way[];
}

export function Picture() {
  const lanes = lanesOf();
  return (
    <section class="picture" aria-label="From devices to targets">
      <Devices />
      <Line label={`taken ${perSecond(takenRate.value)}`} kind={moves(takenRate.value)} />
      <div class="lanes">
        {lanes.length === 0 && <p class="quiet box">No flow is configured, so what is taken goes nowhere.</p>}
        {lanes.map((lane) => (
          <TargetLane key={lane.target} lane={lane} />
        ))}
      </div>
      <p class="visually-hidden">Delivered in all: {perSecond(deliveredRate.value)}.</p>
    </section>
  );
}

type LineKind = "moves" | "rests" | "broken";

const moves = (rate: number | null): LineKind => (rate !== null && rate > 0 ? "moves" : "rests");

function Line({ label, kind }: { label: string; kind: LineKind }) {
  return (
    <div class={`line line-${kind}`}>
      <span class="line-label">{label}</span>
      <svg class="line-head" viewBox="0 0 8 10" aria-hidden="true">
        <path d="M0 0 8 5 0 10Z" fill="currentColor" />
      </svg>
    </div>
  );
}

function Devices() {
  const { health, door } = status.value!;
  const { known, online, clientsOnline } = health.devices;
  const paused = health.pauses.filter(({ kind }) => kind === "device");
  return (
    <div class="box devices-box">
      <h2>
        <a href="#/devices">Devices</a>
      </h2>
      <p class="figure">
        {count(online)} <small>of {count(known)} online</small>
      </p>
      <dl class="small-figures">
        <Pair name="MQTT clients" value={count(clientsOnline)} />
        <Pair name="messages taken" value={count(door.accepted)} />
        <Pair name="duplicates suppressed" value={count(door.duplicates)} />
        {door.refused > 0 && <Pair name="refused" value={count(door.refused)} />}
        {door.unrouted > 0 && <Pair name="taken by no flow" value={count(door.unrouted)} />}
      </dl>
      {paused.slice(0, PAUSES_SHOWN).map((pause) => (
        <PauseWords key={pause.name} pause={pause} />
      ))}
      {paused.length > PAUSES_SHOWN && (
        <p class="quiet">and {counted(paused.length - PAUSES_SHOWN, "other device")} paused</p>
      )}
    </div>
  );
}

export function Pair({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function TargetLane({ lane: { target, report, flows } }: { lane: Lane }) {
  const down = report?.state === "down";
  const rates = flows.map(({ figures }) => flowRates(figures.flow).delivered);
  const known = rates.filter((rate) => rate !== null);
  const rate = known.length === 0 ? null : known.reduce((sum, each) => sum + each, 0);
  return (
    <div class="lane">
      <div class="box flows-box">
        {flows.map((way) => (
          <Flow key={way.figures.flow} way={way} />
        ))}
      </div>
      <Line
        label={down ? "nothing gets through" : `delivered ${perSecond(rate)}`}
        kind={down ? "broken" : moves(rate)}
      />
      <Target name={target} report={report} />
    </div>
  );
}

function Flow({ way: { figures, report } }: { way: Way }) {
  const { flow, from, oldest, waiting, sending, unknown, dead, held } = figures;
  const state = report?.state;
  return (
    <div class="flow">
      <h2>
        {flowWords(flow)}{" "}
        {state ? (
          <State kind={FLOW_MARKS[state]}>{state}</State>
        ) : (
          <State kind="attention">not in the config</State>
        )}
      </h2>
      <p class="figure">
        {count(waiting + sending)} <small>{sending > 0 ? "waiting or being sent" : "waiting"}</small>
      </p>
      <p class="quiet filter" title="What this flow takes">
        {from.join(", ")}
      </p>
      <p class="quiet oldest">
        {oldest
          ? `the oldest for ${age(aged(oldest.ageMs))}, of ${harmless(oldest.device)}`
          : "nothing waits"}
      </p>
      {held > 0 && (
        <p class="quiet held">{counted(held, "delivery is", "deliveries are")} held for an export</p>
      )}
      {(dead > 0 || unknown > 0) && (
        <p class="aside">
          {dead > 0 && (
            <a href={`#/dead?flow=${encodeURIComponent(flow)}`}>
              <State kind="alarm">{counted(dead, "dead letter")}</State>
            </a>
          )}
          {unknown > 0 && <State kind="unknown">{counted(unknown, "answer")} lost</State>}
        </p>
      )}
      {report && <Pausing kind="flow" name={flow} />}
    </div>
  );
}

function Target({ name, report }: { name: string; report: LiveTarget | undefined }) {
  if (!report) {
    return (
      <div class="box target-box">
        <h2>{placeWords(name)}</h2>
        <p class="quiet">This target is not in the config, so nothing is sent to it.</p>
      </div>
    );
  }
  return (
    <div class={`box target-box ${report.state}`}>
      <h2>
        {placeWords(name)}{" "}
        <State kind={TARGET_MARKS[report.state]}>{report.state === "down" ? "away" : report.state}</State>
      </h2>
      <p>{targetEvidence(report, status.value!.asOfMs)}</p>
      {report.lastError !== null && <p class="quiet reason">{harmless(report.lastError)}</p>}
      {report.circuit !== "closed" && (
        <p class="quiet">Circuit {report.circuit}: one probe at a time asks.</p>
      )}
      {!isBuiltInFlow(name) && <Pausing kind="target" name={name} />}
    </div>
  );
}

/** Flows by the target they lead to, in the order of the config; what is not configured any more comes last. */
function lanesOf(): Lane[] {
  const { flows, health } = status.value!;
  const lanes = new Map<string, Way[]>();
  const configured = health.flows.flatMap((report) => {
    const figures = flows.find(({ flow }) => flow === report.flow) ?? NO_FIGURES(report);
    const open = figures.waiting + figures.sending + figures.unknown + figures.dead;
    // Each device that takes commands has a flow of its own: those at rest would hide the others.
    return isBuiltInFlow(report.flow) && open === 0 ? [] : [{ figures, report }];
  });
  const left = flows
    .filter(({ flow, waiting, sending, unknown, dead }) => {
      const open = waiting + sending + unknown + dead > 0;
      return open && !health.flows.some((report) => report.flow === flow);
    })
    .map((figures) => ({ figures, report: undefined }));
  for (const way of [...configured, ...left]) {
    const target = way.report?.target ?? way.figures.target ?? "(no target)";
    lanes.set(target, [...(lanes.get(target) ?? []), way]);
  }
  return [...lanes].map(([target, ways]) => ({
    target,
    report: liveTarget(target),
    flows: ways,
  }));
}

/** Of a flow that is in the config and has taken nothing yet. */
const NO_FIGURES = ({ flow, target, version }: FlowReport): FlowFigures => ({
  flow,
  target,
  version,
  from: [],
  orderBy: null,
  accepted: 0,
  duplicates: 0,
  late: 0,
  replayed: 0,
  replayedInto: 0,
  held: 0,
  openLanes: 0,
  oldest: null,
  oldestFree: null,
  waiting: 0,
  sending: 0,
  unknown: 0,
  delivered: 0,
  dead: 0,
  expired: 0,
  evicted: 0,
  discarded: 0,
});
