/**
 * Commands over HTTP: sent, looked at, cancelled, decided on; and the audit trail.
 *
 * `Idempotency-Key` makes a request that is sent again the same command. `Prefer: wait=N` answers 200 with the final
 * state where it is reached in N seconds; else, and without it, 202 with a Location.
 */
import type { FastifyReply } from "fastify";
import { z } from "zod";
import { covers, type Refusal } from "../commands/classes.ts";
import { type Asker, type Commands, notAllowed } from "../commands/commands.ts";
import { type CommandRequest, commandRequestSchema } from "../commands/request.ts";
import { COMPARISONS } from "../core/command.ts";
import { COMMAND_STATES, commandState, TRAIL_EVENTS, UNKNOWN_POLICIES } from "../core/command-message.ts";
import { HoldfastError } from "../core/errors.ts";
import { carriedTrace } from "../core/trace-context.ts";
import type { Decision } from "../queue/decide.ts";
import { COMMANDS_PAGE_MAX, type CommandView } from "../queue/queries-commands.ts";
import { reason } from "./acts.ts";
import type { Caller } from "./callers.ts";
import type { ApiContext } from "./context.ts";
import { type Operation, operation } from "./operation.ts";
import { idempotencyKey, preferredWaitMs } from "./preferences.ts";
import { count, deviceName, epochMs, messageId, offeredSignal, pageLimit } from "./shapes.ts";

/** Requests that wait at a time; each holds a connection. Further ones are answered at once. */
const WAITS_MAX = 16;
const COMMANDS_PAGE = 50;

const params = z.strictObject({ id: messageId });
const page = {
  device: deviceName.optional(),
  after: z.coerce.number().int().min(1).optional().describe("`next` of the page before."),
  limit: pageLimit(COMMANDS_PAGE_MAX, COMMANDS_PAGE),
};

const value = () => z.union([z.boolean(), z.number(), z.string(), z.null()]);
const row = () =>
  z.object({
    id: z.string(),
    device: z.string(),
    signal: z.string(),
    value: value(),
    state: z.enum(COMMAND_STATES),
    final: z.boolean().describe("Nothing more will come of it."),
    detail: z.string().nullable().describe("Evidence for what was done, or why it was not."),
    needsPerson: z.boolean().describe("Its answer was lost, and a person is to say what came of it."),
    door: z.string().describe("The door it came in by: `http`, `mqtt`."),
    by: z.string().describe("Who asked: the token's name, `local`, or the upstream."),
    reason: z.string().nullable(),
    queuedAtMs: epochMs(),
    stateAtMs: epochMs(),
    expiresInMs: z.number().nullable().describe("While it is queued: until it expires."),
  });
const view = () =>
  row().extend({
    preconditions: z.array(z.object({ signal: z.string(), is: z.enum(COMPARISONS), value: value() })),
    onUnknown: z.enum(UNKNOWN_POLICIES),
    requestId: z.string().nullable().describe("The id that an upstream gave it."),
    duplicates: count(),
    times: z
      .partialRecord(z.enum(COMMAND_STATES), z.number())
      .describe("When it reached each of its states; wall clock, epoch milliseconds."),
    history: z.array(z.object({ atMs: epochMs(), kind: z.string(), detail: z.string().nullable() })),
  });

let waits = 0;

export const commandOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/commandable",
    name: "listCommandable",
    tag: "commands",
    summary: "What can be commanded: devices, their signals, and the limits of each",
    role: "view",
    answer: () =>
      z.object({
        devices: z.array(
          z.object({
            device: z.string(),
            signals: z.array(offeredSignal()),
          }),
        ),
      }),
    handle: (_asked, context) => ({
      devices: [...commandsOf(context).commandable()].map(([device, signals]) => ({ device, signals })),
    }),
  }),
  operation({
    method: "POST",
    path: "/v1/commands",
    name: "sendCommand",
    tag: "commands",
    summary: "Tells a device what to do: on disk when this answers",
    notes:
      "202 with its Location; 200 where `Prefer: wait=N` was sent and it has reached its final state by then. The same Idempotency-Key with the same body is the same command; with another body it is refused.",
    role: "operate",
    body: commandRequestSchema,
    headers: {
      "idempotency-key": "The sender's own name for the command.",
      prefer: "`wait=N`: answer when nothing more will come of it, or after N seconds.",
      traceparent: "W3C trace context; goes with the command. What is none is ignored.",
      tracestate: "Beside it, where there is one.",
    },
    status: 202,
    also: { 200: view },
    answer: view,
    async handle({ body, caller, request: { headers }, reply }, context) {
      const commands = commandsOf(context);
      const trace = carriedTrace(headers.traceparent, headers.tracestate);
      const id = await submit(commands, body, caller, { key: idempotencyKey(headers), trace });
      const waitMs = preferredWaitMs(headers);
      if (waitMs > 0 && waits < WAITS_MAX) await waitFor(commands, id, waitMs, reply);
      const found = await find(commands, id);
      void reply.header("location", `/v1/commands/${encodeURIComponent(id)}`);
      if (waitMs > 0 && found.final) {
        void reply.code(200).header("preference-applied", `wait=${waitMs / 1000}`);
      }
      return shown(found);
    },
  }),
  operation({
    method: "GET",
    path: "/v1/commands",
    name: "listCommands",
    tag: "commands",
    summary: "Commands, newest first",
    role: "view",
    query: z.strictObject({ ...page, state: z.enum(COMMAND_STATES).optional() }),
    answer: () => z.object({ commands: z.array(row()), next: count().nullable() }),
    handle: ({ query }, { reader, steadyMs }) =>
      reader.query("commands", { ...query, steadyNowMs: steadyMs() }),
  }),
  operation({
    method: "GET",
    path: "/v1/commands/:id",
    name: "showCommand",
    tag: "commands",
    summary: "One command: where it is, when it got there, each try and its answer",
    role: "view",
    params,
    answer: view,
    handle: async ({ params: { id } }, context) => shown(await find(commandsOf(context), id)),
  }),
  operation({
    method: "POST",
    path: "/v1/commands/:id/cancel",
    name: "cancelCommand",
    tag: "commands",
    summary: "Takes a command back that is still queued",
    role: "operate",
    params,
    body: z.strictObject({ reason: reason.optional() }),
    answer: view,
    handle: ({ params: { id }, body, caller }, context) =>
      decide(context, caller, { id, as: "cancelled", reason: body.reason ?? null }),
  }),
  operation({
    method: "DELETE",
    path: "/v1/commands/:id",
    name: "deleteCommand",
    tag: "commands",
    summary: "The same as to cancel it: it stays in the store, as cancelled",
    role: "operate",
    params,
    answer: view,
    handle: ({ params: { id }, caller }, context) =>
      decide(context, caller, { id, as: "cancelled", reason: null }),
  }),
  operation({
    method: "POST",
    path: "/v1/commands/:id/resolve",
    name: "resolveCommand",
    tag: "commands",
    summary: "Says what came of a command whose answer was lost: somebody has looked at the machine",
    role: "operate",
    params,
    body: z.strictObject({ done: z.boolean(), reason }),
    answer: view,
    handle: ({ params: { id }, body: { done, reason: why }, caller }, context) =>
      decide(context, caller, { id, as: done ? "done" : "not done", reason: why }),
  }),
  operation({
    method: "GET",
    path: "/v1/audit",
    name: "listAuditTrail",
    tag: "commands",
    summary: "The audit trail: who commanded what, when, and what came of it; newest first",
    notes: "Each entry is in the commit that brought it about. Nothing in it can be changed.",
    role: "operate",
    query: z.strictObject({ ...page, command: messageId.optional() }),
    answer: () =>
      z.object({
        entries: z.array(
          z.object({
            number: count(),
            atMs: epochMs(),
            event: z.enum(TRAIL_EVENTS),
            command: z.string().nullable(),
            device: z.string().nullable(),
            signal: z.string().nullable(),
            value: value(),
            door: z.string(),
            by: z.string(),
            detail: z.string().nullable(),
          }),
        ),
        next: count().nullable(),
      }),
    handle: ({ query }, { reader }) => reader.query("auditTrail", query),
  }),
];

function commandsOf({ commands }: ApiContext): Commands {
  if (commands) return commands;
  throw new HoldfastError("HF_NOT_FOUND", "this gateway takes no commands");
}

/** Throws HF_COMMAND_REFUSED, HF_KEY_REUSED, HF_STORE_FULL. */
async function submit(
  commands: Commands,
  body: CommandRequest,
  caller: Caller,
  { key, trace }: { readonly key: string | null } & Pick<Asker, "trace">,
): Promise<string> {
  const submitted = await commands.submit(body, {
    door: "http",
    by: caller.name,
    request: key === null ? null : { scope: "$http", key },
    allow: allowOf(caller),
    reply: null,
    trace,
  });
  switch (submitted.kind) {
    case "taken":
      return submitted.id;
    case "key reused": {
      const { id } = submitted;
      throw new HoldfastError("HF_KEY_REUSED", `this Idempotency-Key stands for command ${id}`, { id });
    }
    case "refused":
      throw refused(submitted);
  }
}

/** What the token that asks may command; null for anything. */
function allowOf({ name, commands }: Caller): Asker["allow"] {
  if (commands === null) return null;
  const entries = commands.map((each) => {
    const [device = "", signal = ""] = each.split("/");
    return { devices: [device], signals: [signal] };
  });
  return { rule: `tokens.${name}.commands`, entries };
}

function refused({ rule, reason: why }: Refusal): HoldfastError {
  return new HoldfastError("HF_COMMAND_REFUSED", `refused by ${rule}: ${why}`, { rule, reason: why });
}

/** The connection may be silent for as long as its client wants to wait; one that is gone is not waited for. */
async function waitFor(commands: Commands, id: string, waitMs: number, { raw }: FastifyReply): Promise<void> {
  const gone = new AbortController();
  const onClose = () => gone.abort();
  // A silent connection that somebody has an answer to this for is not closed by Node.
  const stay = () => {};
  raw.once("close", onClose).on("timeout", stay);
  waits += 1;
  try {
    await commands.settled(id, waitMs, gone.signal);
  } finally {
    waits -= 1;
    raw.off("close", onClose).off("timeout", stay);
  }
}

/** Who may not command it may not decide on it either. */
async function decide(context: ApiContext, caller: Caller, decision: Omit<Decision, "by">) {
  const commands = commandsOf(context);
  const { id, as } = decision;
  const allow = allowOf(caller);
  if (allow) {
    const about = await find(commands, id);
    if (!covers(allow.entries, about.device, about.signal)) throw refused(notAllowed(allow, about));
  }
  const result = await commands.decide({ ...decision, by: caller.name });
  if (result.kind === "not found") throw notFound(id);
  if (result.kind === "not now") {
    const state = result.state === "delivered" ? "done" : commandState(result.state, false);
    const needed =
      as === "cancelled" ? "only a queued one can be cancelled" : "only an unknown one can be resolved";
    throw new HoldfastError("HF_COMMAND_STATE", `command ${id} is ${state}; ${needed}`, { id, state });
  }
  return shown(await find(commands, id));
}

async function find(commands: Commands, id: string): Promise<CommandView> {
  const found = await commands.view(id);
  if (!found) throw notFound(id);
  return found;
}

function notFound(id: string): HoldfastError {
  return new HoldfastError("HF_NOT_FOUND", `there is no command ${id} in the store`, { id });
}

/** The fingerprint is ours. */
function shown({ fingerprint: _, ...rest }: CommandView) {
  return rest;
}
