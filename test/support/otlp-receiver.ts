/**
 * A collector of traces: takes OTLP over HTTP in JSON, as the specification has it, and refuses what is not so (400), so
 * that a test that gets spans from it knows them to be well formed. Misbehaves on request.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import { z } from "zod";

const id = (digits: number) =>
  z
    .string()
    .regex(new RegExp(`^[0-9a-f]{${digits}}$`))
    .refine((text) => !/^0+$/.test(text));
/** 64-bit numbers are text in JSON. */
const int64 = z.string().regex(/^\d{1,20}$/);
const attributes = z
  .array(
    z.strictObject({
      key: z.string().min(1),
      value: z.union([
        z.strictObject({ stringValue: z.string().refine((text) => text.isWellFormed()) }),
        z
          .strictObject({ intValue: z.string().regex(/^-?\d{1,19}$/) })
          .transform(({ intValue }) => Number(intValue)),
        z.strictObject({ doubleValue: z.number() }),
        z.strictObject({ boolValue: z.boolean() }),
      ]),
    }),
  )
  .transform((list) => {
    const plain = list.map(({ key, value }) => [
      key,
      typeof value === "object" ? Object.values(value)[0] : value,
    ]);
    return Object.fromEntries(plain) as Record<string, string | number | boolean>;
  });
const span = z
  .strictObject({
    traceId: id(32),
    spanId: id(16),
    parentSpanId: id(16).optional(),
    traceState: z.string().optional(),
    flags: z.int().min(0),
    name: z.string().min(1),
    kind: z.int().min(1).max(5),
    startTimeUnixNano: int64,
    endTimeUnixNano: int64,
    attributes,
    links: z.array(
      z.strictObject({
        traceId: id(32),
        spanId: id(16),
        traceState: z.string().optional(),
        flags: z.int().min(0),
        attributes,
      }),
    ),
    droppedLinksCount: z.int().min(1).optional(),
    status: z.strictObject({ code: z.int().optional(), message: z.string().optional() }),
  })
  .refine((each) => BigInt(each.endTimeUnixNano) >= BigInt(each.startTimeUnixNano), "ends before it starts");
const request = z.strictObject({
  resourceSpans: z.array(
    z.strictObject({
      resource: z.strictObject({ attributes }),
      scopeSpans: z.array(
        z.strictObject({
          scope: z.strictObject({ name: z.string(), version: z.string() }),
          spans: z.array(span),
        }),
      ),
    }),
  ),
});

export type ReceivedSpan = z.output<typeof span>;

/** `hang`: takes the request and never answers. A number: answers with that status. */
export type ReceiverMode = "ok" | "hang" | number;

export class OtlpReceiver {
  mode: ReceiverMode = "ok";
  /** Sent with every answer. */
  answerHeaders: Record<string, string> = {};
  /** Of each batch so many are said to be rejected. */
  rejectedSpans = 0;
  readonly spans: ReceivedSpan[] = [];
  readonly resources: Record<string, unknown>[] = [];
  /** Each request, whatever was answered. */
  readonly requests: { readonly path: string; readonly headers: IncomingMessage["headers"] }[] = [];
  /** What was no OTLP. */
  readonly problems: string[] = [];
  #server: Server | null = null;
  #port = 0;
  readonly #waiters = new Set<() => void>();

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** On the same port as before, where it was there before. */
  async start(): Promise<this> {
    this.#server = createServer((incoming, response) => void this.#receive(incoming, response));
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (!server) return;
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  }

  /** Resolves when `find` finds something, looked for after each request; rejects after `waitMs`. */
  async until<T>(what: string, find: () => T | undefined | null | false, waitMs = 20_000): Promise<T> {
    const deadlineMs = performance.now() + waitMs;
    for (;;) {
      const found = find();
      if (found) return found;
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0)
        throw new Error(`waited ${waitMs} ms in vain for ${what}; ${this.spans.length} spans came`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#waiters.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  async #receive(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of incoming) chunks.push(chunk as Buffer);
    } catch {
      return;
    }
    const { url = "", headers, method } = incoming;
    this.requests.push({ path: url, headers });
    const answer = (status: number, body: object = {}) => {
      response.writeHead(status, { "content-type": "application/json", ...this.answerHeaders });
      response.end(JSON.stringify(body));
    };
    if (this.mode === "ok") {
      const problem = method === "POST" ? this.#take(Buffer.concat(chunks), headers) : `a ${method}`;
      if (problem) this.problems.push(problem);
      const { rejectedSpans } = this;
      const partial = rejectedSpans > 0 ? { partialSuccess: { rejectedSpans: String(rejectedSpans) } } : {};
      answer(problem ? 400 : 200, problem ? { message: problem } : partial);
    } else if (this.mode !== "hang") answer(this.mode);
    for (const wake of [...this.#waiters]) wake();
    this.#waiters.clear();
  }

  #take(body: Buffer, headers: IncomingMessage["headers"]): string | null {
    if (headers["content-type"] !== "application/json") return `content-type ${headers["content-type"]}`;
    try {
      const text = headers["content-encoding"] === "gzip" ? gunzipSync(body) : body;
      const parsed = request.safeParse(JSON.parse(text.toString("utf8")));
      if (!parsed.success) return z.prettifyError(parsed.error);
      for (const { resource, scopeSpans } of parsed.data.resourceSpans) {
        this.resources.push(resource.attributes);
        for (const { spans } of scopeSpans) this.spans.push(...spans);
      }
      return null;
    } catch (error) {
      return String(error);
    }
  }
}
