/** A web service in a simulated world: reads requests off a stream and answers each as its mode says. */
import type { Duplex } from "node:stream";
import type { Random } from "../../../src/core/random.ts";
import type { BackendBook, BackendMode } from "./backend-book.ts";
import type { VirtualTime } from "./virtual-time.ts";

const HEAD_END = Buffer.from("\r\n\r\n");
const ANSWER_MS_MAX = 4;
const SLOW_MS_MAX = 6000;

interface HttpMessage {
  readonly method: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

export class SimHttpBackend {
  mode: BackendMode = "well";
  readonly book: BackendBook;
  readonly #time: VirtualTime;
  readonly #random: Random;

  constructor(book: BackendBook, time: VirtualTime, random: Random) {
    this.book = book;
    this.#time = time;
    this.#random = random;
  }

  accept(stream: Duplex): void {
    let read: Buffer = Buffer.alloc(0);
    stream.on("data", (bytes: Buffer) => {
      read = Buffer.concat([read, bytes]);
      for (;;) {
        const taken = takeRequest(read);
        if (!taken) return;
        read = taken.rest;
        this.#serve(stream, taken.request);
      }
    });
    stream.on("end", () => stream.destroy());
  }

  #serve(stream: Duplex, request: HttpMessage): void {
    const answer = (status: number, words = "", extra = "") => {
      if (stream.destroyed) return;
      const body = request.method === "HEAD" ? "" : words;
      stream.write(`HTTP/1.1 ${status} x\r\n${extra}content-length: ${body.length}\r\n\r\n${body}`);
    };
    const { mode } = this;
    if (request.method === "HEAD") {
      if (mode === "drops") stream.destroy();
      else if (mode !== "commits-then-silent") answer(mode === "fails" || mode === "busy" ? 503 : 200);
    } else if (mode === "drops") stream.destroy();
    else if (mode === "busy") answer(429, "later", "retry-after: 2\r\n");
    else if (mode === "fails") answer(503, "not now");
    else {
      const delayMs = this.#random.below(mode === "slow" ? SLOW_MS_MAX : ANSWER_MS_MAX);
      this.#time.after(delayMs, () => this.#commit(stream, request, answer));
    }
  }

  #commit(stream: Duplex, request: HttpMessage, answer: (status: number, words?: string) => void): void {
    const { mode } = this;
    const messages = messagesOf(request);
    if (messages.some(({ payload }) => this.book.refuses(payload))) {
      // A batch is taken as a whole or not at all.
      answer(422, "poison");
      return;
    }
    for (const { id, payload } of messages) this.book.commit(id, payload, this.#time.monoMs());
    if (mode === "commits-then-drops") stream.destroy();
    else if (mode === "commits-then-garbage") stream.write("%PDF-1.4 this is not HTTP\r\n\r\n");
    else if (mode === "commits-then-lies") answer(500, "it failed");
    else if (mode !== "commits-then-silent") answer(200, "ok");
  }
}

function messagesOf({ headers, body }: HttpMessage): { readonly id: string; readonly payload: string }[] {
  if (headers.has("holdfast-batch")) {
    const envelopes = JSON.parse(body) as { id: string; payload: unknown }[];
    return envelopes.map(({ id, payload }) => ({ id, payload: JSON.stringify(payload) }));
  }
  return [{ id: headers.get("idempotency-key")!, payload: body }];
}

/** The first whole request, and what is left; null while it is not whole. */
function takeRequest(read: Buffer): { readonly request: HttpMessage; readonly rest: Buffer } | null {
  const headEnd = read.indexOf(HEAD_END);
  if (headEnd < 0) return null;
  const [first, ...lines] = read.subarray(0, headEnd).toString("latin1").split("\r\n");
  const headers = new Map(
    lines.map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
    }),
  );
  const bodyStart = headEnd + HEAD_END.length;
  const bodyEnd = bodyStart + Number(headers.get("content-length") ?? 0);
  if (read.length < bodyEnd) return null;
  const body = read.subarray(bodyStart, bodyEnd).toString();
  return { request: { method: first!.split(" ")[0]!, headers, body }, rest: read.subarray(bodyEnd) };
}
