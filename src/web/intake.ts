/**
 * Messages handed in over HTTP.
 *
 * Promise: 202 comes after the commit, as PUBACK does. `Idempotency-Key` is the producer's own id of the message
 * within its device: a request that is sent again with it is the same message, also after a restart, for as long as
 * `intake.duplicateWindow` says; with another content under the same key it is refused (422), and one whose first
 * request is still under way has to wait (409). `Prefer: wait=N` answers 200 with where it came to, if that is reached
 * within N seconds.
 * While the store has no room a sender is not kept waiting as over MQTT, but told when to come again (503).
 */
import type { ServerResponse } from "node:http";
import { z } from "zod";
import { sleep } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { type DeliveryState, isOpen } from "../core/outcome.ts";
import { carriedTrace } from "../core/trace-context.ts";
import type { Draft } from "../intake/draft.ts";
import type { Querying } from "../queue/reader.ts";
import type { ApiContext } from "./context.ts";
import { type Operation, operation } from "./operation.ts";
import { idempotencyKey, preferredWaitMs } from "./preferences.ts";
import { count, deliveryState, deviceName, moment } from "./shapes.ts";

const BODY_BYTES_MAX = 4 * 2 ** 20;
/** How long a request waits for room in the store. */
const ROOM_WAIT_MS = 2000;
const RETRY_AFTER_S = 5;
/** Requests that wait for a delivery at a time; each holds a connection. Further ones are answered at once. */
const WAITS_MAX = 16;
/** How often the store is asked for one that is waited for: at first, and later on. */
const ASK_EVERY_MS = [20, 50, 100, 250] as const;

const body = z
  .strictObject({
    topic: z.string().min(1).max(65_535),
    payload: z.json().optional().describe("Any JSON value: stored as JSON text."),
    text: z.string().optional().describe("Instead of payload: text, stored as UTF-8."),
    base64: z.base64().optional().describe("Instead of payload: bytes."),
    device: deviceName.optional().describe("Whose message it is; default: the token's name, or `http`."),
    contentType: z.string().min(1).max(100).optional(),
    producedAt: z.union([moment, z.number().transform((ms) => Math.trunc(ms))]).optional(),
    headers: z.record(z.string().min(1).max(100), z.string()).optional(),
  })
  .refine(
    ({ payload, text, base64 }) => [payload, text, base64].filter((each) => each !== undefined).length === 1,
    {
      message: "expected one of payload, text, base64",
    },
  );

const taken = () =>
  z.object({
    id: z.string(),
    kind: z
      .enum(["stored", "dropped"])
      .describe("dropped: no flow takes its topic, and the config says to drop."),
    seq: count().nullable(),
    deliveries: z
      .array(z.object({ flow: z.string(), state: deliveryState, reason: z.string().nullable() }))
      .nullable()
      .describe("Where it has come to, for those who said how long they would wait; else null."),
  });

export const intakeOperations: readonly Operation[] = [
  operation({
    method: "POST",
    path: "/v1/messages",
    name: "handIn",
    tag: "messages",
    summary: "Hands a message in: on disk when this answers",
    notes:
      "202 with its Location; 200 where `Prefer: wait=N` was sent and it has left every flow by then. It goes to the flows that take its topic, not to MQTT subscribers of this gateway. The same Idempotency-Key with the same content is the same message; with another content it is refused.",
    role: "operate",
    body,
    bodyBytesMax: BODY_BYTES_MAX,
    headers: {
      "idempotency-key": "The sender's own id of the message, within its device.",
      prefer: "`wait=N`: answer when it has left every flow, or after N seconds.",
      traceparent: "W3C trace context; goes with the message. What is none is ignored.",
      tracestate: "Beside it, where there is one.",
    },
    status: 202,
    also: { 200: taken },
    answer: taken,
    async handle({ body: asked, caller, request: { headers }, reply }, context) {
      const draft: Draft = {
        device: asked.device ?? (caller.token === null ? "http" : caller.name),
        source: "http",
        topic: asked.topic,
        ...contentOf(asked),
        qos: 1,
        producerId: idempotencyKey(headers),
        producedAtMs: asked.producedAt ?? null,
        trace: carriedTrace(headers.traceparent, headers.tracestate),
        headers: asked.headers,
      };
      const { id, seq, again } = await context.handing.take(draft, context);
      if (again) void reply.header("idempotent-replayed", "true");
      if (seq === null) return { id, kind: "dropped" as const, seq, deliveries: null };
      void reply.header("location", `/v1/messages/${encodeURIComponent(id)}`);
      const waitMs = preferredWaitMs(headers);
      if (waitMs === 0) return { id, kind: "stored" as const, seq, deliveries: null };
      const deliveries = await context.handing.waitFor(id, waitMs, reply.raw, context);
      if (deliveries.every(({ state }) => !isOpen(state))) {
        void reply.code(200).header("preference-applied", `wait=${waitMs / 1000}`);
      }
      return { id, kind: "stored" as const, seq, deliveries };
    },
  }),
];

interface Delivered {
  readonly flow: string;
  readonly state: DeliveryState;
  readonly reason: string | null;
}

/** What is under way: keys that are being taken, and requests that wait. */
export class Handing {
  readonly #taking = new Set<string>();
  #waits = 0;

  /** After the commit. Throws HF_KEY_TAKEN, HF_KEY_REUSED, HF_STORE_FULL, HF_MESSAGE_INVALID, HF_UNROUTED. */
  async take(
    draft: Draft,
    context: Pick<ApiContext, "intake" | "reader" | "clock" | "storeIsFull">,
  ): Promise<{ readonly id: string; readonly seq: number | null; readonly again: boolean }> {
    const key = draft.producerId == null ? null : JSON.stringify([draft.device, draft.producerId]);
    if (key !== null && this.#taking.has(key)) {
      const message = "the first request with this Idempotency-Key is still under way";
      throw new HoldfastError("HF_KEY_TAKEN", message, { retryAfterS: 1 });
    }
    if (key !== null) this.#taking.add(key);
    try {
      const receipt = await accept(draft, context);
      if (receipt.kind === "refused")
        throw new HoldfastError(receipt.code, `it is refused: ${receipt.reason}`);
      if (receipt.kind === "dropped") return { id: receipt.id, seq: null, again: false };
      const again = receipt.kind === "duplicate";
      if (again) await demandSame(draft, receipt, context.reader);
      return { id: receipt.id, seq: receipt.seq, again };
    } finally {
      if (key !== null) this.#taking.delete(key);
    }
  }

  /** Where it has come to when it has left every flow, when time is up, or when there is nobody to tell any more. */
  async waitFor(
    id: string,
    waitMs: number,
    raw: ServerResponse,
    { reader, steadyMs, clock }: Pick<ApiContext, "reader" | "steadyMs" | "clock">,
  ): Promise<readonly Delivered[]> {
    const deadlineMs = clock.monoMs() + (this.#waits < WAITS_MAX ? waitMs : 0);
    const gone = new AbortController();
    const onClose = () => gone.abort();
    // A silent connection that somebody has an answer to this for is not closed by Node.
    const stay = () => {};
    raw.once("close", onClose).on("timeout", stay);
    this.#waits += 1;
    try {
      for (let turn = 0; ; turn++) {
        const found = await reader.query("messageHistory", { id, steadyNowMs: steadyMs() });
        const deliveries = (found?.deliveries ?? []).map(({ flow, state, reason }) => ({
          flow,
          state,
          reason,
        }));
        const leftMs = deadlineMs - clock.monoMs();
        if (leftMs <= 0 || gone.signal.aborted || deliveries.every(({ state }) => !isOpen(state))) {
          return deliveries;
        }
        const everyMs = ASK_EVERY_MS[Math.min(turn, ASK_EVERY_MS.length - 1)]!;
        await sleep(clock, Math.min(everyMs, leftMs), gone.signal);
      }
    } finally {
      this.#waits -= 1;
      raw.off("close", onClose).off("timeout", stay);
    }
  }
}

async function accept(
  draft: Draft,
  { intake, clock, storeIsFull }: Pick<ApiContext, "intake" | "clock" | "storeIsFull">,
) {
  if (storeIsFull()) throw noRoom();
  const waited = new AbortController();
  const timer = clock.after(ROOM_WAIT_MS, () => waited.abort(noRoom()));
  try {
    return await intake.accept(draft, waited.signal);
  } finally {
    timer.cancel();
  }
}

function noRoom(): HoldfastError {
  return new HoldfastError("HF_STORE_FULL", "the store has no room, so nothing is taken", {
    retryAfterS: RETRY_AFTER_S,
  });
}

/** Held against the message itself, for as long as there is one. */
async function demandSame(
  draft: Draft,
  { id, seq }: { readonly id: string; readonly seq: number },
  reader: Querying,
): Promise<void> {
  const first = await reader.query("messagePayload", { id });
  if (!first) return;
  const { topic, contentType, payload } = first;
  const same =
    topic === draft.topic &&
    contentType === (draft.contentType ?? null) &&
    Buffer.compare(payload, draft.payload) === 0;
  if (same) return;
  const message = `this Idempotency-Key stands for message ${id}, which has another content`;
  throw new HoldfastError("HF_KEY_REUSED", message, { id, seq });
}

function contentOf({ payload, text, base64, contentType }: z.output<typeof body>) {
  if (text !== undefined) return { payload: Buffer.from(text), contentType: contentType ?? "text/plain" };
  if (base64 !== undefined) {
    return { payload: Buffer.from(base64, "base64"), contentType: contentType ?? "application/octet-stream" };
  }
  return { payload: Buffer.from(JSON.stringify(payload)), contentType: contentType ?? "application/json" };
}
