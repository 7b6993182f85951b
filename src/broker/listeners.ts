/**
 * Where clients connect: TCP, TLS, and both again with WebSocket, each on one named interface.
 *
 * A listener counts connections (in total and by address) before anything is read, so that what is above a
 * limit costs a closed socket. It hands over plain streams; what is said on them is no business of it.
 */
import { readFileSync } from "node:fs";
import { createServer as createHttpServer, type Server as HttpServer, type IncomingMessage } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createServer as createTcpServer, isIP, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { createWebSocketStream, WebSocketServer } from "ws";
import { errorText, HoldfastError } from "../core/errors.ts";
import { isLoopback } from "./access.ts";
import type { Origin } from "./connection.ts";
import type { ListenerConfig } from "./schema.ts";

export interface ListenerAddress {
  readonly name: string;
  readonly kind: ListenerConfig["type"];
  readonly host: string;
  /** The port in use, also where 0 was asked for. */
  readonly port: number;
}

export interface ListenersOptions {
  readonly listeners: readonly ListenerConfig[];
  readonly connectionsMax: number;
  readonly connectionsPerAddressMax: number;
  readonly connectTimeoutMs: number;
  /** The largest WebSocket message: whole packets and a little more. */
  readonly messageBytesMax: number;
  readonly onConnection: (stream: Duplex, origin: Origin) => void;
  readonly onRefused: (reason: string, origin: Origin) => void;
}

type WithTls = Extract<ListenerConfig, { type: "tls" | "wss" }>;
type WithWebSocket = Extract<ListenerConfig, { type: "ws" | "wss" }>;

/** When TCP begins to ask whether a silent peer is still there: for clients that set no keepalive. */
const KEEPALIVE_MS = 60_000;

export class Listeners {
  readonly #options: ListenersOptions;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #byAddress = new Map<string, number>();
  readonly #addresses: ListenerAddress[] = [];

  constructor(options: ListenersOptions) {
    this.#options = options;
  }

  get addresses(): readonly ListenerAddress[] {
    return this.#addresses;
  }

  /** Open sockets, those included that have not said anything yet. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Rejects with HF_PORT_IN_USE or HF_CONFIG; what was opened before is for close() to close. */
  async open(): Promise<void> {
    for (const [at, config] of this.#options.listeners.entries()) {
      const name = config.name ?? config.type;
      const server = this.#server(config, name, at);
      this.#servers.push(server);
      await listen(server, config, at);
      const bound = server.address();
      const port = bound && typeof bound === "object" ? bound.port : config.port;
      this.#addresses.push({ name, kind: config.type, host: config.host, port });
    }
  }

  /** Takes no more connections. */
  stopListening(): void {
    for (const server of this.#servers) server.close();
  }

  /** Closes what is still open and resolves when nothing is. */
  async close(): Promise<void> {
    this.stopListening();
    const closed = [...this.#sockets].map(
      (socket) => new Promise((resolve) => socket.once("close", resolve)),
    );
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
  }

  #server(config: ListenerConfig, name: string, at: number): Server {
    switch (config.type) {
      case "tcp": {
        const server = createTcpServer({ allowHalfOpen: true, noDelay: true });
        this.#count(server, name, (socket) => {
          this.#options.onConnection(socket, originOf(socket, name, null));
        });
        return server;
      }
      case "tls": {
        const server = createTlsServer({ ...this.#tls(config, at), allowHalfOpen: true, noDelay: true });
        server.on("secureConnection", (socket) => {
          this.#options.onConnection(socket, originOf(socket, name, commonName(socket)));
        });
        server.on("tlsClientError", (error, socket) => {
          this.#options.onRefused("TLS handshake failed", originOf(socket, name, null));
          socket.destroy();
          void error;
        });
        this.#count(server, name);
        return server;
      }
      case "ws": {
        const server = createHttpServer();
        this.#count(server, name);
        this.#webSockets(server, config, name);
        return server;
      }
      case "wss": {
        const server = createHttpsServer(this.#tls(config, at));
        this.#count(server, name);
        this.#webSockets(server, config, name);
        return server;
      }
    }
  }

  /** Counts raw sockets, of which there is one per connection whatever is spoken on it. */
  #count(server: Server, name: string, taken?: (socket: Socket) => void): void {
    server.on("connection", (socket: Socket) => {
      socket.on("error", ignore);
      socket.setKeepAlive(true, KEEPALIVE_MS);
      const address = socket.remoteAddress ?? "";
      const ofAddress = this.#byAddress.get(address) ?? 0;
      const { connectionsMax, connectionsPerAddressMax } = this.#options;
      if (this.#sockets.size >= connectionsMax || ofAddress >= connectionsPerAddressMax) {
        const which =
          this.#sockets.size >= connectionsMax ? "too many connections" : "too many from one address";
        this.#options.onRefused(which, originOf(socket, name, null));
        socket.destroy();
        return;
      }
      this.#sockets.add(socket);
      this.#byAddress.set(address, ofAddress + 1);
      socket.once("close", () => {
        this.#sockets.delete(socket);
        const left = (this.#byAddress.get(address) ?? 1) - 1;
        if (left > 0) this.#byAddress.set(address, left);
        else this.#byAddress.delete(address);
      });
      taken?.(socket);
    });
    // What goes wrong later concerns one socket; listen() has its own listener.
    server.on("error", ignore);
  }

  #webSockets(server: HttpServer, config: WithWebSocket, name: string): void {
    server.headersTimeout = this.#options.connectTimeoutMs;
    server.requestTimeout = this.#options.connectTimeoutMs;
    const sockets = new WebSocketServer({
      noServer: true,
      maxPayload: this.#options.messageBytesMax,
      perMessageDeflate: false,
      handleProtocols: (offered) => subprotocolOf(offered) ?? false,
    });
    sockets.on("error", ignore);
    server.on("request", (_request, response) => {
      response.writeHead(426, { Connection: "close", "Content-Type": "text/plain" });
      response.end("This is an MQTT listener: connect with WebSocket and the subprotocol mqtt.\n");
    });
    server.on("upgrade", (request, socket, head) => {
      socket.on("error", ignore);
      const origin = originOf(request.socket, name, commonName(request.socket));
      const problem = webSocketProblem(request, config);
      if (problem) {
        this.#options.onRefused(problem.reason, origin);
        socket.end(`HTTP/1.1 ${problem.status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
        return;
      }
      (socket as Socket).setNoDelay(true);
      sockets.handleUpgrade(request, socket, head, (webSocket) => {
        webSocket.on("error", ignore);
        const stream = createWebSocketStream(webSocket);
        stream.on("error", ignore);
        this.#options.onConnection(stream, origin);
      });
    });
  }

  #tls(config: WithTls, at: number) {
    return {
      cert: readPem(config.cert, at, "cert"),
      key: readPem(config.key, at, "key"),
      ca: config.clientCa === undefined ? undefined : readPem(config.clientCa, at, "clientCa"),
      requestCert: config.clientCa !== undefined,
      rejectUnauthorized: config.requireClientCert,
      handshakeTimeout: this.#options.connectTimeoutMs,
      minVersion: "TLSv1.2",
    } as const;
  }
}

function listen(server: Server, { host, port }: ListenerConfig, at: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const where = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
      const details = { host, port, path: `broker.listeners[${at}]` };
      if (error.code === "EADDRINUSE") {
        const message = `another program already listens on ${where} (broker.listeners[${at}].port)`;
        reject(new HoldfastError("HF_PORT_IN_USE", message, details, error));
      } else {
        const message = `broker.listeners[${at}] cannot listen on ${where}: ${errorText(error)}`;
        reject(new HoldfastError("HF_CONFIG", message, details, error));
      }
    });
    server.listen({ host, port }, resolve);
  });
}

function readPem(file: string, at: number, key: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const message = `broker.listeners[${at}].${key} cannot be read: ${errorText(cause)}`;
    throw new HoldfastError("HF_CONFIG", message, { file }, cause);
  }
}

function originOf(socket: Duplex, listener: string, certificate: string | null): Origin {
  return { listener, address: (socket as Socket).remoteAddress ?? "", certificate };
}

/** The common name of a client certificate that our clientCa signed; a subject with several has none. */
function commonName(socket: Duplex): string | null {
  const { authorized, getPeerCertificate } = socket as Partial<TLSSocket>;
  if (authorized !== true || !getPeerCertificate) return null;
  const name: unknown = getPeerCertificate.call(socket)?.subject?.CN;
  return typeof name === "string" && name !== "" ? name : null;
}

/** [MQTT-6.0.0-3] [MQTT-6.0.0-4]; the other name is that of MQTT 3.1. */
function subprotocolOf(offered: Set<string>): string | undefined {
  return ["mqtt", "mqttv3.1"].find((name) => offered.has(name));
}

function webSocketProblem(
  request: IncomingMessage,
  config: WithWebSocket,
): { status: string; reason: string } | null {
  const offered = request.headers["sec-websocket-protocol"] ?? "";
  const path = (request.url ?? "").split("?")[0];
  if (config.path !== undefined && path !== config.path) {
    return { status: "404 Not Found", reason: "WebSocket path" };
  }
  if (!subprotocolOf(new Set(offered.split(",").map((name) => name.trim())))) {
    return { status: "400 Bad Request", reason: "WebSocket subprotocol is not mqtt" };
  }
  // A browser takes any page to any address, also to this machine's own; only the page's origin tells.
  if (!originAllowed(request.headers.origin, config.origins)) {
    return { status: "403 Forbidden", reason: "WebSocket origin" };
  }
  return null;
}

export function originAllowed(origin: string | undefined, allowed: readonly string[]): boolean {
  if (origin === undefined || allowed.includes("*") || allowed.includes(origin)) return true;
  if (!URL.canParse(origin)) return false;
  return isLoopback(new URL(origin).hostname.replace(/^\[|\]$/g, ""));
}

function ignore(): void {}
