/**
 * The HTTP door: probes, metrics and the API, on loopback.
 *
 * Promise: what it answers is as of the store's last commit, and asking never delays an acknowledgement:
 * questions go to the reader's thread, and everything that a client could make large is bounded (bodies,
 * pages, connections, time).
 * Constraint: there are no tokens in this version. So it listens on loopback only and answers to loopback
 * names only (guard.ts); anything else is refused at the start, with a sentence.
 */
import { STATUS_CODES } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import Fastify, { type FastifyInstance, type FastifyReply } from "fastify";
import { errorText, HoldfastError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import { BaseService } from "../core/service.ts";
import { LOCAL } from "./callers.ts";
import type { ApiContext } from "./context.ts";
import { guardOrigin } from "./guard.ts";
import { addOperation } from "./operation.ts";
import { addPages } from "./pages.ts";
import { PROBLEM_TYPE, problemOf } from "./problem.ts";
import { OPERATIONS } from "./routes.ts";
import { isLoopback, type WebConfig } from "./schema.ts";

const BODY_BYTES_MAX = 512 * 1024;
const CONNECTIONS_MAX = 64;
/** A request must have arrived within this, so that slow senders do not hold connections. */
const REQUEST_MS_MAX = 10_000;
/** Node looks for overdue requests this often. */
const OVERDUE_CHECK_MS = 2_000;
/** An id of 256 bytes, percent-encoded. */
const PARAM_CHARS_MAX = 1024;

export interface WebOptions extends ApiContext {
  readonly config: WebConfig;
  /** Sent with each answer, so that a client knows which run of which gateway it talks to. */
  readonly boot: string;
  readonly logger: Logger;
}

export class Web extends BaseService {
  readonly #options: WebOptions;
  readonly #app: FastifyInstance;
  #address: AddressInfo | undefined;

  constructor(options: WebOptions) {
    super();
    this.#options = options;
    this.#app = Fastify({
      logger: false,
      bodyLimit: BODY_BYTES_MAX,
      requestTimeout: REQUEST_MS_MAX,
      connectionTimeout: REQUEST_MS_MAX,
      http: { connectionsCheckingInterval: OVERDUE_CHECK_MS },
      // A stop does not wait for clients that keep their connection open.
      forceCloseConnections: true,
      // What comes in is checked in routes.ts. Fastify's own compilers of JSON schemas are a hundred files to load.
      schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
      routerOptions: { maxParamLength: PARAM_CHARS_MAX },
      // A path that cannot be read is refused before any hook: its answer is to look like all others.
      frameworkErrors: (error, _request, reply) => void this.#answerProblem(reply, error),
      clientErrorHandler: answerUnreadable,
    });
    this.#app.server.maxConnections = CONNECTIONS_MAX;
    // JSON alone: what a form can send without asking (text/plain) is not taken.
    this.#app.removeContentTypeParser("text/plain");
    this.#addHooks();
    for (const each of OPERATIONS) addOperation(this.#app, each, options, () => LOCAL);
    addPages(this.#app);
  }

  /** Where it listens, once started. */
  address(): { readonly host: string; readonly port: number } {
    if (!this.#address) throw new Error("the HTTP door is not open");
    return { host: this.#address.address, port: this.#address.port };
  }

  /** `http://127.0.0.1:8080` */
  url(): string {
    const { host, port } = this.address();
    return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  }

  protected async onStart(): Promise<void> {
    const { host, port } = this.#options.config;
    if (!isLoopback(host)) {
      const message = `web.host is ${host}, but the HTTP door has no tokens in this version, so it opens on loopback only: use 127.0.0.1 or ::1`;
      throw new HoldfastError("HF_CONFIG", message, { host });
    }
    try {
      await this.#app.listen({ host, port });
    } catch (error) {
      throw listenError(error, host, port);
    }
    this.#address = this.#app.server.address() as AddressInfo;
  }

  protected async onStop(): Promise<void> {
    await this.#app.close();
  }

  #addHooks(): void {
    const { logger } = this.#options;
    this.#app.addHook("onRequest", async (request, reply) => {
      reply.headers(this.#usualHeaders());
      guardOrigin(request.headers);
    });
    this.#app.setNotFoundHandler((request) => {
      const { method, url } = request;
      throw Object.assign(new Error(`there is no ${method} ${url.split("?")[0]}`), { statusCode: 404 });
    });
    this.#app.setErrorHandler((error, request, reply) => {
      const problem = problemOf(error);
      if (problem.status >= 500 && problem.code === "HF_INTERNAL") {
        logger.error({ err: error, method: request.method, url: request.url }, "a request failed");
      }
      return reply.code(problem.status).type(PROBLEM_TYPE).send(problem);
    });
  }

  #usualHeaders(): Record<string, string> {
    return {
      "holdfast-boot": this.#options.boot,
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    };
  }

  #answerProblem(reply: FastifyReply, error: unknown): FastifyReply {
    const problem = problemOf(error);
    return reply.code(problem.status).headers(this.#usualHeaders()).type(PROBLEM_TYPE).send(problem);
  }
}

function noSchemas(): never {
  throw new Error("a route of the HTTP door has a JSON schema, and there is no compiler for it");
}

/** What is no HTTP, too long in its head, or too slow: there is no request yet to answer to, only a socket. */
function answerUnreadable(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const problem = problemOf(unreadable(error.code));
  const body = JSON.stringify(problem);
  const head = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
    `content-type: ${PROBLEM_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
  ];
  // Nothing else would close it where the other side does not.
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}

function unreadable(code: string | undefined): Error {
  const said = (message: string, statusCode: number) => Object.assign(new Error(message), { statusCode });
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return said("the request's line and headers are too long", 431);
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return said(`the request was not there after ${REQUEST_MS_MAX / 1000} s`, 408);
    default:
      return said("the request is not HTTP that can be understood", 400);
  }
}

function listenError(error: unknown, host: string, port: number): HoldfastError {
  const where = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const details = { host, port, path: "web.port" };
  if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") {
    const message = `another program already listens on ${where} (web.port)`;
    return new HoldfastError("HF_PORT_IN_USE", message, details, error);
  }
  return new HoldfastError("HF_CONFIG", `web cannot listen on ${where}: ${errorText(error)}`, details, error);
}
