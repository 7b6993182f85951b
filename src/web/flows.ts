/** Flows and targets. */
import { z } from "zod";
import { HoldfastError } from "../core/errors.ts";
import { LEDGER_PAGE_MAX } from "../queue/queries-ledger.ts";
import { pauseOf } from "../watch/health.ts";
import type { ApiContext } from "./context.ts";
import { failing, flowFigures, flowReport, pause, targetReport } from "./flow-shapes.ts";
import { type Operation, operation } from "./operation.ts";
import { count, deliveryState, epochMs, flowName, pageLimit } from "./shapes.ts";

const rates = () => ({
  acceptedPerSecond: z.number().nullable().describe("Over the last minute."),
  deliveredPerSecond: z.number().nullable(),
});

const flow = () =>
  flowFigures().extend({
    ...rates(),
    configured: z
      .boolean()
      .describe("False for one that was taken out of the config: it keeps what waits in it."),
    state: flowReport().shape.state.nullable(),
    pause: pause().nullable().describe("Its own, or its target's."),
  });

const target = () =>
  targetReport().extend({
    ...rates(),
    failuresInARow: count().describe("Of calls and probes since it is away."),
    callsInFlight: count(),
    lanesDelayed: count().describe("Lanes whose head waits for its next try."),
    lanesHeld: count().describe("Lanes whose head waits for a person."),
    flows: z.array(z.string()),
    waiting: count().describe("What its flows have waiting or being sent."),
    pause: pause().nullable(),
  });

export const flowOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/flows",
    name: "listFlows",
    tag: "flows",
    summary: "Every flow: where it comes from and goes to, its figures, its state, its rates",
    role: "view",
    answer: () => z.object({ asOfMs: epochMs(), flows: z.array(flow()) }),
    handle: async (_, context) => ({ asOfMs: context.clock.wallMs(), flows: await flowRows(context) }),
  }),
  operation({
    method: "GET",
    path: "/v1/flows/:flow",
    name: "getFlow",
    tag: "flows",
    summary: "One flow, and what fails on it, by reason",
    role: "view",
    params: z.strictObject({ flow: flowName }),
    answer: () => z.object({ asOfMs: epochMs(), ...flow().shape, failing: failing() }),
    async handle({ params: { flow: name } }, context) {
      const row = (await flowRows(context)).find((each) => each.flow === name);
      if (!row) throw new HoldfastError("HF_NOT_FOUND", `there is no flow ${name}`, { flow: name });
      const fails = await context.reader.query("failing", { flow: name });
      return { asOfMs: context.clock.wallMs(), ...row, failing: fails };
    },
  }),
  operation({
    method: "GET",
    path: "/v1/flows/:flow/ledger",
    name: "getLedger",
    tag: "flows",
    summary: "What a flow has of each message, from the oldest: for holding it against what its backend has",
    notes: "A page may end early, and be empty: `next` goes on from there, and is null at the end.",
    role: "view",
    params: z.strictObject({ flow: flowName }),
    query: z.strictObject({
      after: z.coerce.number().int().min(0).optional().describe("`next` of the page before."),
      limit: pageLimit(LEDGER_PAGE_MAX, LEDGER_PAGE_MAX),
    }),
    answer: () =>
      z.object({
        rows: z.array(
          z.object({ id: z.string(), state: deliveryState, acceptedAtMs: epochMs(), updatedAtMs: epochMs() }),
        ),
        next: count().nullable(),
        prunedDelivered: count().describe("Delivered on this flow, and removed by retention since, ever."),
      }),
    handle: ({ params: { flow }, query }, { reader }) => reader.query("ledger", { flow, ...query }),
  }),
  operation({
    method: "GET",
    path: "/v1/targets",
    name: "listTargets",
    tag: "flows",
    summary: "Every target: its health by evidence, its circuit, the next try, the last error, its rates",
    role: "view",
    answer: () => z.object({ asOfMs: epochMs(), targets: z.array(target()) }),
    async handle(_, context) {
      const flows = await flowRows(context);
      const views = context.watch.targets();
      const report = context.watch.report();
      return {
        asOfMs: context.clock.wallMs(),
        targets: report.targets.map((each) => {
          const view = views.get(each.target);
          const names = report.flows.filter(({ target: to }) => to === each.target).map((row) => row.flow);
          const own = flows.filter((row) => names.includes(row.flow));
          return {
            ...each,
            acceptedPerSecond: sumOrNull(own.map((row) => row.acceptedPerSecond)),
            deliveredPerSecond: sumOrNull(own.map((row) => row.deliveredPerSecond)),
            failuresInARow: view && view.circuit.state !== "closed" ? view.circuit.failures : 0,
            callsInFlight: view?.callsInFlight ?? 0,
            lanesDelayed: view?.lanesDelayed ?? 0,
            lanesHeld: view?.lanesHeld ?? 0,
            flows: names,
            pause: report.pauses.find(({ kind, name }) => kind === "target" && name === each.target) ?? null,
            waiting: own.reduce((sum, row) => sum + row.waiting + row.sending, 0),
          };
        }),
      };
    },
  }),
];

/** Those in the store, and those that are configured and have taken nothing yet. */
async function flowRows({ reader, steadyMs, watch }: ApiContext) {
  const { flows } = await reader.query("overview", { steadyNowMs: steadyMs() });
  const configured = new Map(watch.report().flows.map((flow) => [flow.flow, flow]));
  return flows.map((figures) => ({
    ...figures,
    ...watch.rates(figures.flow),
    configured: configured.has(figures.flow),
    state: configured.get(figures.flow)?.state ?? null,
    pause:
      pauseOf({ name: figures.flow, to: configured.get(figures.flow)?.target }, watch.report().pauses) ??
      null,
  }));
}

function sumOrNull(figures: readonly (number | null)[]): number | null {
  const known = figures.filter((figure) => figure !== null);
  return known.length === 0 ? null : Math.round(known.reduce((sum, n) => sum + n, 0) * 100) / 100;
}
