/** Messages and their deliveries: search, one with its history, its payload. */
import { z } from "zod";
import { HoldfastError } from "../core/errors.ts";
import { SEARCH_CURSOR, SEARCH_PAGE_MAX } from "../queue/queries-search.ts";
import { type Operation, operation, otherOperation } from "./operation.ts";
import {
  count,
  deliveryState,
  deviceName,
  epochMs,
  epochMsOrNull,
  flowName,
  messageId,
  moment,
  orderKey,
  pageLimit,
  topicFilter,
} from "./shapes.ts";

const TEXT_CHARS_MAX = 200;

const searchQuery = z
  .strictObject({
    id: z.string().min(1).max(256).optional().describe("How the id begins."),
    device: deviceName.optional(),
    flow: flowName.optional(),
    state: deliveryState.optional().describe("State on that flow; without a flow: on any."),
    key: orderKey.optional(),
    topic: topicFilter.optional(),
    from: moment.optional().describe("Accepted from then on: `2026-06-01T12:00:00Z`, or epoch ms."),
    to: moment.optional().describe("Accepted before then."),
    text: z
      .string()
      .min(1)
      .max(TEXT_CHARS_MAX)
      .optional()
      .describe("Somewhere in the payload, exactly so (UTF-8)."),
    after: z
      .string()
      .regex(SEARCH_CURSOR, "expected `next` of the page before")
      .optional()
      .describe("`next` of the page before."),
    limit: pageLimit(SEARCH_PAGE_MAX, 50),
  })
  .transform(({ from, to, ...filter }) => ({ ...filter, fromMs: from, toMs: to }));

const deliveryBrief = () => ({
  flow: z.string(),
  key: z.string().describe("Order key of its lane."),
  state: deliveryState,
  attempts: count(),
  late: z.boolean(),
  resend: z.boolean().describe("An earlier answer was lost: the backend may have it already."),
  reason: z.string().nullable(),
  updatedAtMs: epochMs().describe("Of the last change of state."),
});

const searchEnd = () => ({
  next: z.string().nullable().describe("Cursor of the next page; null where there is nothing older."),
  complete: z
    .boolean()
    .describe("False where the search's budget ended the page: `next` goes on looking from there."),
  examined: count().describe("Messages looked at for this page."),
  examinedToMs: epochMsOrNull().describe("When the last of them was accepted."),
});

const messageBrief = () =>
  z.object({
    seq: count(),
    id: z.string(),
    device: z.string(),
    source: z.string(),
    topic: z.string(),
    contentType: z.string().nullable(),
    acceptedAtMs: epochMs(),
    producedAtMs: epochMsOrNull().describe("By the device's clock."),
    duplicates: count().describe("Suppressed duplicates of it."),
    payloadBytes: count(),
    excerpt: z.string().nullable().describe("The payload's beginning where it is text."),
    deliveries: z.array(z.object(deliveryBrief())),
  });

const preview = () => z.object({ form: z.enum(["text", "hex"]), text: z.string(), cut: z.boolean() });

const messageStory = () =>
  z.object({
    message: z.object({
      seq: count(),
      id: z.string(),
      device: z.string(),
      source: z.string(),
      topic: z.string(),
      contentType: z.string().nullable(),
      qos: z.union([z.literal(0), z.literal(1), z.literal(2)]),
      retain: z.boolean(),
      producedAtMs: epochMsOrNull(),
      acceptedAtMs: epochMs(),
      clockTrusted: z.boolean().describe("False where the clock was not set when it was accepted."),
      ageMs: z.number().describe("By a clock that nothing moves."),
      boot: z.string(),
      traceparent: z.string().nullable(),
      headers: z.record(z.string(), z.string()),
      duplicates: count(),
      payloadBytes: count(),
      preview: preview(),
    }),
    deliveries: z.array(
      z.object({
        ...deliveryBrief(),
        key: z.string().nullable(),
        version: z.string().nullable().describe("Of the flow, when it took the message."),
        config: z.unknown().describe("The flow's options then, secrets redacted."),
        target: z.string().nullable(),
        dueInMs: z
          .number()
          .nullable()
          .describe("Not before this it is tried again; null for at once, or never."),
        export: z
          .string()
          .nullable()
          .describe(
            "The export that it is held for: it is on its way to another box, and not sent from here.",
          ),
        heldSinceMs: epochMsOrNull().describe("When that export began."),
        behind: count().describe("Deliveries that it waits for in its lane; counted up to 100,000."),
        edits: z
          .array(
            z.object({
              edit: count(),
              atMs: epochMs(),
              who: z.string(),
              reason: z.string(),
              topic: z.string(),
              contentType: z.string().nullable(),
              payloadBytes: count(),
              preview: preview(),
            }),
          )
          .describe(
            "What people changed of it on this flow, oldest first: the last is what its target is given. `message` is as it was accepted.",
          ),
      }),
    ),
    history: z
      .array(
        z.object({
          atMs: epochMs(),
          flow: z.string().nullable(),
          kind: z.string(),
          detail: z.string().nullable(),
        }),
      )
      .describe("Oldest first. Being accepted and delivered at the first try is above, not here."),
    historyCut: z.boolean(),
  });

/** A media type that a browser may be told; what a machine calls its payload could be anything. */
const MEDIA_TYPE = /^[\w.+-]{1,64}\/[\w.+-]{1,64}(; ?charset=[\w-]{1,32})?$/;

export const messageOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/messages",
    name: "searchMessages",
    tag: "messages",
    summary: "Messages by what is known of them, newest first",
    notes:
      "A search looks through messages within a budget and never takes long. Where the budget ends a page early it says `complete: false`; `next` goes on from there.",
    role: "view",
    query: searchQuery,
    answer: () => z.object({ messages: z.array(messageBrief()), ...searchEnd() }),
    handle: ({ query }, { reader }) => reader.query("searchMessages", query),
  }),
  operation({
    method: "GET",
    path: "/v1/messages/:id",
    name: "getMessage",
    tag: "messages",
    summary: "One message: where it is, which flow took it, each try and its answer",
    role: "view",
    params: z.strictObject({ id: messageId }),
    answer: messageStory,
    async handle({ params: { id } }, { reader, steadyMs }) {
      const found = await reader.query("messageHistory", { id, steadyNowMs: steadyMs() });
      if (!found) throw notFound(id);
      return found;
    },
  }),
  otherOperation({
    method: "GET",
    path: "/v1/messages/:id/payload",
    name: "getPayload",
    tag: "messages",
    summary: "A message's payload as it came, as a file to keep",
    notes: "Its media type is the message's where that is one, else application/octet-stream.",
    role: "view",
    params: z.strictObject({ id: messageId }),
    query: z.strictObject({
      edit: z.coerce
        .number()
        .int()
        .min(1)
        .optional()
        .describe("As this edit has it (`deliveries[].edits[].edit`)."),
    }),
    answer: "application/octet-stream",
    async handle({ params: { id }, query: { edit }, reply }, { reader }) {
      const found = await reader.query("messagePayload", { id, edit });
      if (!found) throw notFound(id);
      const { contentType, payload } = found;
      return reply
        .type(contentType !== null && MEDIA_TYPE.test(contentType) ? contentType : "application/octet-stream")
        .headers({
          // What a machine sent is shown by nobody as a page of this server.
          "content-disposition": `attachment; filename="${found.id.replace(/[^\w.-]/g, "_")}"`,
          "content-security-policy": "sandbox; default-src 'none'",
        })
        .send(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength));
    },
  }),
  operation({
    method: "GET",
    path: "/v1/deliveries",
    name: "searchDeliveries",
    tag: "messages",
    summary: "Deliveries by flow, state and lane, newest first",
    notes:
      "The same search as that for messages. A page ends between two messages, so it may hold a few more.",
    role: "view",
    query: searchQuery,
    answer: () =>
      z.object({
        deliveries: z.array(
          z.object({
            seq: count(),
            id: z.string(),
            device: z.string(),
            topic: z.string(),
            acceptedAtMs: epochMs(),
            ...deliveryBrief(),
          }),
        ),
        ...searchEnd(),
      }),
    handle: ({ query }, { reader }) => reader.query("searchDeliveries", query),
  }),
];

function notFound(id: string): HoldfastError {
  return new HoldfastError("HF_NOT_FOUND", `there is no message ${id} in the store`, { id });
}
