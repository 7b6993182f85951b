/** The HTTP API: probes, metrics, and what the CLI needs. Every answer is JSON, but for the metrics. */
import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { MESSAGE_ID_BYTES_MAX } from "../core/limits.ts";
import { CURSOR_PATTERN, DEAD_PAGE_MAX } from "../queue/queries-failures.ts";
import type { Querying } from "../queue/reader.ts";
import type { Watch } from "../watch/watch.ts";

/** Put back by one request; a client that wants more asks again, so that no commit becomes long. */
export const RETRY_LIMIT_MAX = 5000;
const RETRY_LIMIT_DEFAULT = 1000;
const IDS_MAX = 1000;

export interface RedriveSelection {
  readonly flow?: string;
  readonly ids?: readonly string[];
  readonly limit: number;
}

/** A device of any kind; those that adapters read have more to tell (adapters/adapter.ts). */
export interface DeviceRow {
  readonly device: string;
  readonly type: string;
  readonly state: string;
  /** Messages of it that were stored, and the epoch ms of the last; null for none in this run. */
  readonly stored: number;
  readonly lastStoredAtMs: number | null;
  readonly duplicates: number;
  readonly refused: number;
}

/** Listed in one answer. */
const DEVICES_MAX = 5000;

export interface RouteContext {
  readonly watch: Pick<Watch, "report" | "exposition">;
  readonly reader: Querying;
  readonly steadyMs: () => number;
  /** Those that are configured first, then those that were seen in this run. */
  readonly devices?: () => readonly DeviceRow[];
  /** Puts dead letters and held unknowns back to waiting; resolves after the commit. */
  readonly redrive: (selection: RedriveSelection) => Promise<{ readonly redriven: number }>;
  readonly clock: Clock;
}

const flowName = z.string().min(1).max(64);
const messageId = z.string().min(1).max(MESSAGE_ID_BYTES_MAX);
const noQuery = z.strictObject({});

const deadQuery = z.strictObject({
  flow: flowName.optional(),
  after: z.string().regex(CURSOR_PATTERN, "expected `next` of the page before").optional(),
  limit: z.coerce.number().int().min(1).max(DEAD_PAGE_MAX).optional(),
});

const retryBody = z
  .strictObject({
    flow: flowName.optional(),
    ids: z.array(messageId).min(1).max(IDS_MAX).optional(),
    all: z.literal(true).optional(),
    limit: z.int().min(1).max(RETRY_LIMIT_MAX).default(RETRY_LIMIT_DEFAULT),
  })
  .refine(({ flow, ids, all }) => flow !== undefined || ids !== undefined || all, {
    message: 'expected flow, ids, or "all": true',
  });

export function addRoutes(app: FastifyInstance, context: RouteContext): void {
  addProbes(app, context);
  const { reader, steadyMs, watch } = context;

  app.get("/v1/status", async ({ query }) => {
    parse(noQuery, query, "query");
    const status = await reader.query("status", { steadyNowMs: steadyMs() });
    return { asOfMs: context.clock.wallMs(), ...status, health: watch.report() };
  });

  app.get<{ Params: { id: string } }>("/v1/messages/:id", async ({ params, query }) => {
    parse(noQuery, query, "query");
    const id = parse(messageId, params.id, "id");
    const found = await reader.query("messageHistory", { id, steadyNowMs: steadyMs() });
    if (!found) throw new HoldfastError("HF_NOT_FOUND", `there is no message ${id} in the store`, { id });
    return found;
  });

  app.get("/v1/devices", async ({ query }) => {
    parse(noQuery, query, "query");
    const all = context.devices?.() ?? [];
    return { asOfMs: context.clock.wallMs(), total: all.length, devices: all.slice(0, DEVICES_MAX) };
  });

  app.get("/v1/dead", async ({ query }) => reader.query("deadLetters", parse(deadQuery, query, "query")));

  app.post("/v1/dead/retry", async ({ body }) => {
    const { all: _, ...selection } = parse(retryBody, body ?? {}, "body");
    const { redriven } = await context.redrive(selection);
    return { redriven };
  });
}

/**
 * For an orchestrator. Alive: the process answers; restarting it would help nobody whose backend is away.
 * Ready: what is sent here is acknowledged, which it is not while the store has no room or has failed.
 */
function addProbes(app: FastifyInstance, { watch }: RouteContext): void {
  app.get("/livez", async () => ({ status: "ok" }));

  app.get("/readyz", async (_request, reply: FastifyReply) => {
    const { state, verdict, problems } = watch.report();
    const ready = state === "running";
    reply.code(ready ? 200 : 503);
    return {
      status: ready ? "ok" : state,
      verdict,
      problems: problems.map(({ key, severity, sentence }) => ({ key, severity, sentence })),
    };
  });

  app.get("/metrics", async (_request, reply: FastifyReply) => {
    const { contentType, text } = await watch.exposition();
    return reply.type(contentType).send(text);
  });
}

function parse<S extends z.ZodType>(schema: S, value: unknown, what: string): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => ({
    at: [what, ...path].join("."),
    message,
  }));
  const sentence = problems.map(({ at, message }) => `${at}: ${message}`).join("; ");
  throw new HoldfastError("HF_REQUEST", sentence, { problems });
}
