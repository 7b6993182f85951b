/**
 * A web service that misbehaves on request. Takes messages by POST, PUT or PATCH on any path: one (named by
 * `holdfast-id`, `Idempotency-Key` or an `id` in the body), or many as a JSON array or NDJSON.
 *
 * GET /has/<id> answers 200 or 404, GET /health 200 or 503, GET /arrivals the ledger as JSON.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import {
  type Arrival,
  type BackendMode,
  type BackendOptions,
  carriesPoison,
  identifyJson,
  identifyObject,
} from "./backend.ts";
import { ServedBackend } from "./served-backend.ts";

type Item = Pick<Arrival, "id" | "device" | "topic" | "payload" | "flow">;

export interface HttpRequestSeen {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export interface HttpBackendOptions extends BackendOptions {
  /** Answers each message of a batch by itself (`{"results": […]}`); without it a batch is refused as a whole. */
  readonly itemResults?: boolean;
  /** What `reject-one` says of poison; default: 422. With 423 it says that a later try may do better. */
  readonly poisonStatus?: number;
  /** What `failing` answers; default: 500. With 401 it lets nobody in. */
  readonly failingStatus?: number;
}

export class HttpBackend extends ServedBackend {
  /** The last requests that carried messages, newest last; for tests that look at headers. */
  readonly requests: HttpRequestSeen[] = [];
  /** Answers in place of the mode, where set: for statuses that no mode has. */
  script: ((request: HttpRequestSeen, response: ServerResponse) => boolean) | null = null;
  readonly #options: HttpBackendOptions;

  constructor(options: HttpBackendOptions = {}) {
    super("http", options);
    this.#options = options;
  }

  protected override makeServer(): Server {
    const server = createServer((request, response) => void this.#receive(request, response));
    server.keepAliveTimeout = KEEP_ALIVE_MS;
    return server;
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return; // the sender went away in the middle: nothing arrived
    }
    const { method = "", url = "", headers } = request;
    const seen = { method, url, headers, body: Buffer.concat(chunks) };
    if (method === "GET" || method === "HEAD") {
      this.#ask(seen, response);
      return;
    }
    this.#keep(seen);
    if (this.script?.(seen, response)) return;
    this.#take(seen, response);
  }

  #keep(seen: HttpRequestSeen): void {
    this.requests.push(seen);
    const kept = seen.body.length > LARGE_BYTES ? LARGE_REQUESTS_KEPT : REQUESTS_KEPT;
    if (this.requests.length > kept) this.requests.splice(0, this.requests.length - kept);
  }

  #take(seen: HttpRequestSeen, response: ServerResponse): void {
    const items = itemsOf(seen);
    const isPoison = this.#options.isPoison ?? carriesPoison;
    const { mode } = this;
    const bad = new Set(mode === "reject-one" ? items.filter(isPoison) : []);
    // One bad message spoils the batch, unless the backend answers for each.
    const spoilt = bad.size > 0 && !(this.#options.itemResults && items.length > 1);
    const act = () => {
      for (const item of items)
        this.ledger.record(item, MODES_THAT_TAKE.has(mode) && !spoilt && !bad.has(item));
      if (spoilt)
        this.#answer(response, this.#options.poisonStatus ?? 422, { title: "there is poison in it" });
      else if (bad.size > 0) this.#answer(response, 207, this.#resultsOf(items, bad));
      else
        this.#answerByMode(
          mode,
          response,
          this.#options.itemResults && items.length > 1 ? this.#resultsOf(items, bad) : {},
        );
    };
    if (mode === "slow") this.clock.after(this.#options.slowMs ?? 200, act);
    else act();
  }

  #answerByMode(mode: BackendMode, response: ServerResponse, body: object): void {
    if (mode === "silent" || mode === "commit-then-silent") return;
    if (mode === "drop" || mode === "commit-then-drop") {
      response.destroy();
    } else if (mode === "failing") {
      this.#answer(response, this.#options.failingStatus ?? 500, { title: "the backend is failing" });
    } else if (mode === "busy") {
      response.setHeader("retry-after", String(this.#options.retryAfterS ?? 1));
      this.#answer(response, 429, { title: "the backend is busy" });
    } else {
      this.#answer(response, 201, body);
    }
  }

  #resultsOf(items: readonly Item[], bad: ReadonlySet<Item>): object {
    const { poisonStatus = 422 } = this.#options;
    const result = (item: Item) =>
      bad.has(item) ? { id: item.id, status: poisonStatus, reason: "poison" } : { id: item.id, status: 201 };
    return { results: items.map(result) };
  }

  #ask({ url }: HttpRequestSeen, response: ServerResponse): void {
    if (["silent", "commit-then-silent", "drop", "commit-then-drop"].includes(this.mode)) {
      this.#answerByMode(this.mode, response, {});
      return;
    }
    const id = /^\/has\/(.+)$/.exec(url)?.[1];
    if (id !== undefined) {
      this.#answer(response, this.ledger.has(decodeURIComponent(id)) ? 200 : 404, {});
    } else if (url === "/arrivals") {
      const arrivals = this.arrivals().map((each) => ({ ...each, payload: each.payload.toString("base64") }));
      this.#answer(response, 200, arrivals);
    } else {
      this.#answer(response, this.mode === "failing" || this.mode === "busy" ? 503 : 200, {
        mode: this.mode,
      });
    }
  }

  #answer(response: ServerResponse, status: number, body: object): void {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  }
}

const MODES_THAT_TAKE: ReadonlySet<BackendMode> = new Set([
  "ok",
  "slow",
  "commit-then-silent",
  "commit-then-drop",
  "reject-one",
]);

const REQUESTS_KEPT = 1000;
/** Batches, of which a thousand would be most of this process. */
const LARGE_REQUESTS_KEPT = 50;
const LARGE_BYTES = 16 * 2 ** 10;
const KEEP_ALIVE_MS = 30_000;

/** The messages in a request. */
function itemsOf({ headers, body }: HttpRequestSeen): Item[] {
  const header = (name: string) => {
    const value = headers[name];
    return typeof value === "string" ? decodeURIComponent(value) : undefined;
  };
  const type = String(headers["content-type"] ?? "");
  const item = (
    identity: { id?: string; device?: string; topic?: string },
    payload: Buffer,
    flow: unknown,
  ): Item => ({
    id: identity.id ?? "",
    device: identity.device ?? "",
    topic: identity.topic ?? "",
    payload,
    ...(typeof flow === "string" ? { flow } : {}),
  });
  if (headers["holdfast-batch"] !== undefined || type.includes("ndjson") || body[0] === 0x5b) {
    const text = body.toString("utf8");
    const objects = type.includes("ndjson")
      ? text
          .split("\n")
          .filter(Boolean)
          .map((line) => JSON.parse(line))
      : JSON.parse(text);
    return (objects as object[]).map((object) =>
      item(identifyObject(object), Buffer.from(JSON.stringify(object)), (object as { flow?: unknown }).flow),
    );
  }
  const inBody = identifyJson(body);
  return [
    item(
      {
        id: header("holdfast-id") ?? header("idempotency-key") ?? inBody.id,
        device: header("holdfast-device") ?? inBody.device,
        topic: header("holdfast-topic") ?? inBody.topic,
      },
      body,
      header("holdfast-flow"),
    ),
  ];
}
