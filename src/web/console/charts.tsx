/** Rates, backlog and latency over the last hour, day or month, as the gateway has kept them in memory. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { age, count, moment } from "../../core/plain-words.ts";
import type { HistorySpan, HistoryView } from "../../watch/history.ts";
import { api } from "./api.ts";
import { type Choice, Choices } from "./choices.tsx";
import { nowMs } from "./live.ts";
import { usePolled } from "./polled.ts";
import { perSecond, took } from "./sentences.ts";
import { coloursChanged } from "./theme.ts";

const SPANS: readonly Choice<HistorySpan>[] = [
  { value: "hour", name: "Hour" },
  { value: "day", name: "Day" },
  { value: "month", name: "Month" },
];
const SPAN_MS: Record<HistorySpan, number> = { hour: 3_600_000, day: 86_400_000, month: 30 * 86_400_000 };
const REFRESH_MS = 10_000;
const HEIGHT_PX = 150;

type Values = (number | null)[];

interface Curve {
  readonly label: string;
  /** Which of the colours of charts, and which dashes: curves differ by both. */
  readonly colour: 1 | 2 | 3;
  readonly dash?: number[];
  readonly values: (view: HistoryView) => Values;
  readonly shown: (value: number) => string;
}

const perStep =
  (column: "accepted" | "delivered" | "failedTries") =>
  ({ columns }: HistoryView): Values =>
    columns[column].map((n, at) => (n === null ? null : (n * 1000) / columns.forMs[at]!));

const asIs =
  (column: keyof HistoryView["columns"]) =>
  ({ columns }: HistoryView): Values => [...columns[column]];

const CHARTS: readonly { title: string; curves: readonly Curve[] }[] = [
  {
    title: "Rates",
    curves: [
      { label: "taken", colour: 1, values: perStep("accepted"), shown: perSecond },
      { label: "delivered", colour: 2, dash: [6, 3], values: perStep("delivered"), shown: perSecond },
      { label: "failed tries", colour: 3, dash: [2, 3], values: perStep("failedTries"), shown: perSecond },
    ],
  },
  {
    title: "Backlog",
    curves: [
      { label: "waiting", colour: 1, values: asIs("waiting"), shown: (n) => count(Math.round(n)) },
      { label: "dead", colour: 3, dash: [2, 3], values: asIs("dead"), shown: (n) => count(Math.round(n)) },
    ],
  },
  {
    title: "Latency",
    curves: [
      { label: "commit, mean", colour: 1, values: asIs("commitMsMean"), shown: took },
      { label: "to delivery, mean", colour: 2, dash: [6, 3], values: asIs("deliveryMsMean"), shown: took },
      { label: "to delivery, most", colour: 3, dash: [2, 3], values: asIs("deliveryMsMax"), shown: took },
    ],
  },
];

export function Charts() {
  const span = useSignal<HistorySpan>("hour");
  const polled = usePolled(() => api.history(span.value), span.value, {
    of: [],
    everyMs: REFRESH_MS,
    quietMs: REFRESH_MS,
  });
  const { value: view, error } = polled.value;
  return (
    <section class="charts" aria-labelledby="charts-title">
      <div class="row">
        <h2 id="charts-title">Over time</h2>
        <Choices
          label="Span of the charts"
          choices={SPANS}
          chosen={span.value}
          onChoose={(value) => {
            span.value = value;
          }}
        />
        {view && (
          <span class="quiet">Kept in memory since the start at {moment(view.sinceMs, nowMs.value)}.</span>
        )}
      </div>
      {error && <p class="error">{error}</p>}
      {view && view.agoMs.length < 2 && (
        <p class="quiet">
          Charts begin when two steps of {age(view.stepMs)} have passed; this gateway was started{" "}
          {age(Math.max(0, view.asOfMs - view.sinceMs))} ago.
        </p>
      )}
      {view && view.agoMs.length >= 2 && (
        <div class="chart-row">
          {CHARTS.map(({ title, curves }) => (
            <Chart key={title} title={title} curves={curves} view={view} />
          ))}
        </div>
      )}
    </section>
  );
}

function Chart({ title, curves, view }: { title: string; curves: readonly Curve[]; view: HistoryView }) {
  const place = useRef<HTMLDivElement>(null);
  const values = curves.map((curve) => curve.values(view));
  const colours = coloursChanged.value;
  // Drawn anew when there is something new to draw, or other colours.
  useEffect(() => {
    const element = place.current!;
    const x = view.agoMs.map((ago) => (view.asOfMs - ago) / 1000);
    const plot = new uPlot(optionsOf(curves, view, element), [x, ...values], element);
    const watching = new ResizeObserver(() => {
      if (element.clientWidth > 0) plot.setSize({ width: element.clientWidth, height: HEIGHT_PX });
    });
    watching.observe(element);
    return () => {
      watching.disconnect();
      plot.destroy();
    };
  }, [view, colours]);
  return (
    <figure class="box chart">
      <figcaption>
        <b>{title}</b>
        {curves.map((curve, at) => (
          <span key={curve.label} class={`key key-${curve.colour}`}>
            <svg viewBox="0 0 18 4" aria-hidden="true">
              <path
                d="M0 2h18"
                stroke="currentColor"
                stroke-width="2"
                stroke-dasharray={curve.dash?.join(" ")}
              />
            </svg>
            {curve.label} {latest(values[at]!, curve)}
          </span>
        ))}
      </figcaption>
      <div ref={place} class="plot" aria-hidden="true" />
    </figure>
  );
}

function latest(values: Values, { shown }: Curve): string {
  const last = values.at(-1);
  return last === null || last === undefined ? "–" : shown(last);
}

/** `14:02`, or the day where hours say too little. */
function timeWords(ms: number, span: HistorySpan): string {
  const date = new Date(ms);
  const two = (n: number) => String(n).padStart(2, "0");
  if (span === "month") return `${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}h`;
  const seconds = span === "hour" && date.getSeconds() !== 0 ? `:${two(date.getSeconds())}` : "";
  return `${two(date.getHours())}:${two(date.getMinutes())}${seconds}`;
}

function optionsOf(curves: readonly Curve[], view: HistoryView, element: HTMLElement): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const font = "11px system-ui, sans-serif";
  const axis = {
    stroke: colour("quiet"),
    font,
    ticks: { show: false },
    grid: { stroke: colour("line"), width: 1 },
  };
  const to = view.asOfMs / 1000;
  return {
    width: element.clientWidth,
    height: HEIGHT_PX,
    legend: { show: false },
    cursor: { y: false, points: { show: false } },
    scales: {
      // From the beginning of what is known, or the whole span: a chart that stretches says too much of too little.
      x: { time: true, range: () => [Math.max(to - SPAN_MS[view.span] / 1000, view.sinceMs / 1000), to] },
      y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.1 : 1] },
    },
    axes: [
      { ...axis, size: 26, values: (_plot, splits) => splits.map((at) => timeWords(at * 1000, view.span)) },
      { ...axis, size: 62, values: (_plot, splits) => splits.map((each) => curves[0]!.shown(each)) },
    ],
    series: [
      {},
      ...curves.map((curve) => ({
        label: curve.label,
        stroke: colour(`chart-${curve.colour}`),
        width: 1.5,
        dash: curve.dash,
        points: { show: false },
        spanGaps: false,
      })),
    ],
  };
}
