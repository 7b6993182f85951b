/** How the gateway is: probes, metrics, everything on one screen, and what happened to it. */
import { z } from "zod";
import { EVENT_KINDS } from "../watch/events.ts";
import { PROBLEM_SEVERITY, type ProblemKind } from "../watch/problems.ts";
import { mayDo } from "./callers.ts";
import {
  failing,
  flowFigures,
  flowReport,
  openExport,
  pause,
  retrying,
  targetReport,
} from "./flow-shapes.ts";
import { jobBrief } from "./job-shapes.ts";
import { type Operation, operation, otherOperation } from "./operation.ts";
import { count, epochMs, epochMsOrNull } from "./shapes.ts";

const door = () =>
  z.object({
    accepted: count(),
    duplicates: count(),
    unrouted: count(),
    dropped: count(),
    refused: count(),
  });

const problem = () =>
  z.object({
    key: z.string(),
    kind: z.enum(Object.keys(PROBLEM_SEVERITY) as [ProblemKind, ...ProblemKind[]]),
    severity: z.enum(["alarm", "attention"]),
    subject: z.string().nullable(),
    sentence: z.string(),
    sinceMs: epochMs(),
  });

const bytesOrNull = () => count().nullable();

/** The report that is also published over MQTT. */
const health = () =>
  z.object({
    gateway: z.string(),
    version: z.string(),
    boot: z.string().describe("Tells one run of a gateway from another."),
    atMs: epochMs(),
    uptimeMs: z.number(),
    state: z.enum(["running", "blocked", "failed", "stopping"]),
    verdict: z.enum(["ok", "attention", "alarm"]),
    problems: z.array(problem()),
    targets: z.array(targetReport()),
    flows: z.array(flowReport()),
    pauses: z.array(pause()),
    store: z.object({
      state: z.enum(["ok", "full", "failed"]),
      usedBytes: bytesOrNull(),
      bytesMax: count(),
      walBytes: bytesOrNull(),
      diskFreeBytes: bytesOrNull(),
    }),
    accounting: z.object({
      state: z.enum(["unchecked", "balanced", "mismatch"]),
      checkedAtMs: epochMsOrNull(),
      tookMs: z.number().nullable(),
      mismatches: z.array(z.string()),
    }),
    clock: z.object({ trusted: z.boolean() }),
    door: door().nullable(),
    jobs: z.array(jobBrief()).describe("Those that run or are paused."),
    devices: z.object({ known: count(), online: count(), clientsOnline: count() }),
  });

const status = () =>
  z.object({
    asOfMs: epochMs(),
    flows: z.array(flowFigures()),
    door: door(),
    bytes: z.object({ file: count(), free: count() }),
    boot: z
      .object({
        boot: z.string(),
        version: z.string(),
        startedAtMs: epochMs(),
        clockTrusted: z.boolean(),
        seenAtMs: epochMs(),
        steadyAtMs: z.number(),
        stoppedClean: z.boolean(),
      })
      .nullable(),
    salvages: z.array(
      z.object({ atMs: epochMs(), folder: z.string(), lossy: z.boolean(), sentence: z.string() }),
    ),
    exports: z.array(openExport()).describe("For which something is held, oldest first; at most 100."),
    devices: z.object({
      devices: z.array(
        z.object({ device: z.string(), open: count(), oldestSeq: count(), oldestAgeMs: z.number() }),
      ),
      total: count(),
      complete: z.boolean(),
    }),
    failing: failing(),
    retrying: retrying(),
    health: health(),
  });

const mismatch = () =>
  z.object({
    check: z.enum(["balance", "rows", "lane", "held", "orphan", "messages"]),
    flow: z.string(),
    what: z.string(),
    expected: z.number(),
    found: z.number(),
    sentence: z.string(),
  });

export const gatewayEvent = () =>
  z.object({
    id: z.string(),
    atMs: epochMs(),
    kind: z.enum(EVENT_KINDS),
    severity: z.enum(["info", "attention", "alarm"]),
    subject: z.string().nullable(),
    sentence: z.string(),
  });

const ready = () =>
  z.object({
    status: z.string(),
    verdict: z.string(),
    problems: z
      .array(z.object({ key: z.string(), severity: z.string(), sentence: z.string() }))
      .describe("Only for those who may look inside."),
  });

export const statusOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/livez",
    name: "isAlive",
    tag: "gateway",
    summary: "The process answers; restarting it would help nobody whose backend is away",
    role: "anyone",
    answer: () => z.object({ status: z.literal("ok") }),
    handle: () => ({ status: "ok" as const }),
  }),
  operation({
    method: "GET",
    path: "/readyz",
    name: "isReady",
    tag: "gateway",
    summary: "What is sent here is acknowledged: not while the store has no room or has failed",
    role: "anyone",
    answer: ready,
    also: { 503: ready },
    handle({ caller, reply }, { watch }) {
      const { state, verdict, problems } = watch.report();
      const isReady = state === "running";
      reply.code(isReady ? 200 : 503);
      const shown = mayDo(caller, "view") ? problems : [];
      return {
        status: isReady ? "ok" : state,
        verdict,
        problems: shown.map(({ key, severity, sentence }) => ({ key, severity, sentence })),
      };
    },
  }),
  otherOperation({
    method: "GET",
    path: "/metrics",
    name: "getMetrics",
    tag: "gateway",
    summary: "Figures for Prometheus",
    role: "view",
    answer: "text/plain",
    async handle({ reply }, { watch }) {
      const { contentType, text } = await watch.exposition();
      return reply.type(contentType).send(text);
    },
  }),
  operation({
    method: "GET",
    path: "/v1/status",
    name: "getStatus",
    tag: "gateway",
    summary: "All that one screen needs, as of one commit",
    role: "view",
    answer: status,
    async handle(_, { reader, steadyMs, clock, watch }) {
      const figures = await reader.query("status", { steadyNowMs: steadyMs() });
      return { asOfMs: clock.wallMs(), ...figures, health: watch.report() };
    },
  }),
  operation({
    method: "GET",
    path: "/v1/accounting",
    name: "getAccounting",
    tag: "gateway",
    summary: "Where every message is that was ever taken, and whether the accounts hold",
    notes:
      "For each flow accepted = waiting + sending + unknown + delivered + dead + expired + evicted + discarded. `audit` is the last time that the counts were held against the rows.",
    role: "view",
    answer: () =>
      z.object({
        asOfMs: epochMs(),
        door: door(),
        flows: z.array(flowFigures()),
        audit: z
          .object({
            balanced: z.boolean(),
            checkedAtMs: epochMs(),
            tookMs: z.number(),
            deliveriesRead: count(),
            messagesCounted: count(),
            mismatches: z.array(mismatch()),
            mismatchesTotal: count(),
          })
          .nullable(),
      }),
    async handle(_, { reader, steadyMs, clock, watch }) {
      const { door, flows } = await reader.query("overview", { steadyNowMs: steadyMs() });
      const record = watch.audit();
      return {
        asOfMs: clock.wallMs(),
        door,
        flows,
        audit: record && { ...record.result, checkedAtMs: record.atWallMs, tookMs: record.tookMs },
      };
    },
  }),
  operation({
    method: "GET",
    path: "/v1/events",
    name: "listEvents",
    tag: "gateway",
    summary: "What happened to the gateway since it started, oldest first",
    notes:
      "Circuits, the store, problems that came and went, devices on and off, acts, jobs. Kept in memory: of this run, the newest 1,000 of devices and 1,000 others.",
    role: "view",
    query: z.strictObject({
      after: z.string().max(64).optional().describe("Only what came after the event of this id."),
    }),
    answer: () =>
      z.object({
        sinceMs: epochMs().describe("Nothing is known from before."),
        gap: z.boolean().describe("True where `after` is of another run, or no longer kept."),
        lastId: z.string(),
        events: z.array(gatewayEvent()),
      }),
    handle({ query: { after } }, { watch: { events } }) {
      const later = after === undefined ? events.all() : events.after(after);
      const { sinceMs, lastId } = events;
      return { sinceMs, gap: later === null, lastId, events: later ?? events.all() };
    },
  }),
];
