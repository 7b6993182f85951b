/**
 * The HTTP door: probes, metrics and the API.
 *
 * Promise: what it answers is as of the store's last commit, and asking never delays an acknowledgement:
 * questions go to the reader's thread, and everything that a client could make large is bounded (bodies,
 * pages, connections, time).
 * Who may ask is entrance.ts's to say. Until there is a token it listens on loopback alone, and says so: anything else
 * is refused at the start, with a sentence.
 */
import { readFileSync } from "node:fs";
import type { AddressInfo, Socket } from "node:net";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { errorText, HoldfastError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import { nodeHttp } from "../core/node-http.ts";
import { BaseService } from "../core/service.ts";
import { Reconciling } from "../queue/reconciling.ts";
import { type Caller, demand, NOBODY } from "./callers.ts";
import type { WebParts } from "./context.ts";
import { Entrance } from "./entrance.ts";
import { guardOrigin } from "./guard.ts";
import { Handing } from "./intake.ts";
import { addOperation } from "./operation.ts";
import { addPages } from "./pages.ts";
import { PROBLEM_TYPE, problemOf } from "./problem.ts";
import { OPERATIONS } from "./routes.ts";
import { isLoopback, type WebConfig } from "./schema.ts";
import { Streams } from "./stream.ts";
import { Uploads } from "./uploads.ts";

const BODY_BYTES_MAX = 512 * 1024;
const CONNECTIONS_MAX = 64;
/** A request must have arrived within this, so that slow senders do not hold connections. */
const REQUEST_MS_MAX = 10_000;
/** Node looks for overdue requests this often. */
const OVERDUE_CHECK_MS = 2_000;
/** An id of 256 bytes, percent-encoded. */
const PARAM_CHARS_MAX = 1024;

/** Every interface, and how this machine calls itself there. */
const EVERYWHERE: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "::": "::1" };

export interface WebOptions extends WebParts {
  readonly dataDir: string;
  readonly config: WebConfig;
  /** Sent with each answer, so that a client knows which run of which gateway it talks to. */
  readonly boot: string;
  readonly logger: Logger;
}

export class Web extends BaseService {
  readonly #options: WebOptions;
  readonly #app: FastifyInstance;
  readonly #entrance: Entrance;
  readonly #streams: Streams;
  readonly #uploads = new Uploads();
  readonly #callers = new WeakMap<FastifyRequest, Caller>();
  #address: AddressInfo | undefined;

  constructor(options: WebOptions) {
    super();
    this.#options = options;
    const { config } = options;
    this.#entrance = new Entrance(options);
    this.#app = Fastify({
      ...(config.tls ? { https: pems(config.tls) } : {}),
      logger: false,
      bodyLimit: BODY_BYTES_MAX,
      requestTimeout: REQUEST_MS_MAX,
      connectionTimeout: REQUEST_MS_MAX,
      ...(config.tls ? {} : { http: { connectionsCheckingInterval: OVERDUE_CHECK_MS } }),
      // A stop does not wait for clients that keep their connection open.
      forceCloseConnections: true,
      // What comes in is checked in routes.ts. Fastify's own compilers of JSON schemas are a hundred files to load.
      schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
      routerOptions: { maxParamLength: PARAM_CHARS_MAX },
      // A path that cannot be read is refused before any hook: its answer is to look like all others.
      frameworkErrors: (error, _request, reply) => void this.#answerProblem(reply, error),
      clientErrorHandler: (error, socket) => {
        if (!this.#uploads.mayTakeLonger(error, socket)) answerUnreadable(error, socket);
      },
    });
    this.#app.server.maxConnections = CONNECTIONS_MAX;
    // Node takes the longer of the two for the whole request, whichever that is; its own for the head is a minute.
    this.#app.server.headersTimeout = REQUEST_MS_MAX;
    // JSON alone: what a form can send without asking (text/plain) is not taken.
    this.#app.removeContentTypeParser("text/plain");
    this.#addHooks();
    this.#streams = new Streams({ ...options, entrance: this.#entrance, clientsMax: config.limits.streams });
    const context = {
      ...options,
      entrance: this.#entrance,
      streams: this.#streams,
      handing: new Handing(),
      uploads: this.#uploads,
      reconciling: new Reconciling(options.dataDir),
      secure: config.tls !== undefined,
    };
    const callerOf = (request: FastifyRequest) => this.#callers.get(request) ?? NOBODY;
    for (const each of OPERATIONS) addOperation(this.#app, each, context, callerOf);
    addPages(this.#app);
  }

  /** Where it listens, once started. */
  address(): { readonly host: string; readonly port: number } {
    if (!this.#address) throw new Error("the HTTP door is not open");
    return { host: this.#address.address, port: this.#address.port };
  }

  /** Where this machine reaches it: `http://127.0.0.1:8080`. */
  url(): string {
    const { host: bound, port } = this.address();
    const host = EVERYWHERE[bound] ?? bound;
    const scheme = this.#options.config.tls ? "https" : "http";
    return `${scheme}://${host.includes(":") ? `[${host}]` : host}:${port}`;
  }

  protected async onStart(): Promise<void> {
    const { host, port } = this.#options.config;
    const { tokens } = this.#entrance;
    if (!isLoopback(host)) this.#demandToken(host);
    else if (tokens.problem)
      this.#options.logger.error({ problem: tokens.problem }, "nobody gets in by a token");
    this.#openForLocals();
    try {
      await this.#app.listen({ host, port });
    } catch (error) {
      throw listenError(error, host, port);
    }
    this.#address = this.#app.server.address() as AddressInfo;
    const { watch } = this.#options;
    watch.events.onEvent = (event) => this.#streams.event(event);
    watch.onLook = (report) => this.#streams.looked(report);
  }

  protected async onStop(): Promise<void> {
    this.#streams.stop();
    await this.#app.close();
    this.#entrance.close();
  }

  #openForLocals(): void {
    try {
      this.#entrance.open();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
      // Better a gateway whose command line needs a token than none.
      this.#options.logger.warn("no room for the key of the local command line");
    }
  }

  /** A door that others reach needs somebody who may come in. */
  #demandToken(host: string): void {
    const { dataDir, config, logger } = this.#options;
    const { tokens } = this.#entrance;
    if (!tokens.exist || tokens.problem) {
      const why = tokens.problem ?? `there is no token in ${dataDir}`;
      const message = `web.host is ${host}, which is open to the network, and ${why}; make one with \`holdfast token create\`, or listen on 127.0.0.1`;
      throw new HoldfastError("HF_OPEN_DOOR", message, { host, path: "web.host" });
    }
    if (!config.tls) logger.warn({ host }, "without web.tls, tokens cross the network in the clear");
  }

  #addHooks(): void {
    const { logger } = this.#options;
    this.#app.addHook("onRequest", async (request, reply) => {
      reply.headers(this.#usualHeaders());
      guardOrigin(request.raw, this.#options.config);
      const { headers, method, ip } = request;
      const caller = this.#entrance.callerOf({ headers, method, address: ip });
      this.#callers.set(request, caller);
      const { role } = request.routeOptions.config;
      if (role !== undefined && role !== "anyone") demand(caller, role);
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
      return reply.code(problem.status).headers(headersOf(problem)).type(PROBLEM_TYPE).send(problem);
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

/** What goes with a problem, for programs that look at headers alone. */
function headersOf({ status, details }: ReturnType<typeof problemOf>): Record<string, string> {
  const { retryAfterS } = details;
  return {
    ...(status === 401 ? { "www-authenticate": 'Bearer realm="holdfast"' } : {}),
    ...(typeof retryAfterS === "number" ? { "retry-after": String(retryAfterS) } : {}),
  };
}

function pems({ cert, key }: NonNullable<WebConfig["tls"]>) {
  return { cert: readPem(cert, "cert"), key: readPem(key, "key"), minVersion: "TLSv1.2" } as const;
}

function readPem(file: string, what: "cert" | "key"): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    const path = `web.tls.${what}`;
    throw new HoldfastError(
      "HF_CONFIG",
      `${path} cannot be read: ${errorText(error)}`,
      { path, file },
      error,
    );
  }
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
    `HTTP/1.1 ${problem.status} ${nodeHttp.STATUS_CODES[problem.status]}`,
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
