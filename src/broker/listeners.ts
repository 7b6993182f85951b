/**
 * Where clients connect: TCP, TLS, and both again with WebSocket, each on one named interface.
 *
 * A listener counts connections (in total and by address) before anything is read, so that what is above a
 * limit costs a closed socket. It hands over plain streams; what is said on them is no business of it.
 *
 * Connections that have not sent their CONNECT are strangers: they take up room for nothing. Where a limit is
 * reached, a new connection takes the place of the oldest stranger of whoever has most of them, so that
 * connections that say nothing shut nobody out, whatever their number.
 */
import { readFileSync } from "node:fs";
import type { Server as HttpServer, IncomingMessage } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createServer as createTcpServer, isIP, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { errorText, HoldfastError } from "../core/errors.ts";
import { nodeHttp } from "../core/node-http.ts";
import { isLoopback } from "./access.ts";
import type { Origin } from "./connection.ts";
import type { ListenerConfig } from "./schema.ts";
import { acceptHandshake, handshakeProblem, WebSocketStream } from "./web-socket.ts";

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
  readonly greetingsMax: number;
  readonly connectTimeoutMs: number;
  readonly onConnection: (stream: Duplex, origin: Origin) => void;
  readonly onRefused: (reason: string, origin: Origin) => void;
}

type WithTls = Extract<ListenerConfig, { type: "tls" | "wss" }>;
type WithWebSocket = Extract<ListenerConfig, { type: "ws" | "wss" }>;

/** When TCP begins to ask whether a silent peer is still there: for clients that set no keepalive. */
const KEEPALIVE_MS = 60_000;

/**
 * Connections that the system keeps until we take them. With fewer, a burst of them makes it drop others' first
 * packets, which are sent again after one, two, four seconds.
 */
const BACKLOG = 4096;

export class Listeners {
  readonly #options: ListenersOptions;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #byAddress = new Map<string, number>();
  /** Connections without a CONNECT, by address, each by the ports at both ends, oldest first. */
  readonly #strangers = new Map<string, Map<number, Socket>>();
  #strangerCount = 0;
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
          this.#options.onConnection(socket, this.#originOf(socket, name, null));
        });
        return server;
      }
      case "tls": {
        const server = createTlsServer({ ...this.#tls(config, at), allowHalfOpen: true, noDelay: true });
        server.on("secureConnection", (socket) => {
          this.#options.onConnection(socket, this.#originOf(socket, name, commonName(socket)));
        });
        server.on("tlsClientError", (error, socket) => {
          this.#options.onRefused("TLS handshake failed", this.#originOf(socket, name, null));
          socket.destroy();
          void error;
        });
        this.#count(server, name);
        return server;
      }
      case "ws": {
        const server = nodeHttp.createServer();
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
      const { remoteAddress: address = "" } = socket;
      const ports = portsOf(socket);
      const problem = this.#makeRoom(address, name);
      if (problem) {
        this.#options.onRefused(problem, this.#originOf(socket, name, null));
        socket.destroy();
        return;
      }
      this.#sockets.add(socket);
      this.#byAddress.set(address, (this.#byAddress.get(address) ?? 0) + 1);
      const strangers = this.#strangers.get(address) ?? new Map<number, Socket>();
      this.#strangers.set(address, strangers.set(ports, socket));
      this.#strangerCount++;
      socket.once("close", () => this.#forget(socket, address, ports));
      taken?.(socket);
    });
    // What goes wrong later concerns one socket; listen() has its own listener.
    server.on("error", ignore);
  }

  /** Why there is no room for a connection from this address, or null where there is, or is now. */
  #makeRoom(address: string, name: string): string | null {
    const { connectionsMax, connectionsPerAddressMax, greetingsMax } = this.#options;
    const ofAddress = this.#byAddress.get(address) ?? 0;
    const tooManyOfAddress = ofAddress >= connectionsPerAddressMax;
    const tooMany = this.#sockets.size >= connectionsMax;
    if (!tooMany && !tooManyOfAddress && this.#strangerCount < greetingsMax) return null;
    const whose = tooManyOfAddress ? address : this.#addressWithMostStrangers();
    const [oldest] = this.#strangers.get(whose) ?? [];
    if (!oldest) return tooMany ? "too many connections" : "too many from one address";
    const [ports, socket] = oldest;
    this.#options.onRefused("no CONNECT when room was needed", this.#originOf(socket, name, null));
    this.#forget(socket, whose, ports);
    socket.destroy();
    return null;
  }

  #addressWithMostStrangers(): string {
    let most = "";
    for (const [address, strangers] of this.#strangers) {
      if (strangers.size > (this.#strangers.get(most)?.size ?? 0)) most = address;
    }
    return most;
  }

  #forget(socket: Socket, address: string, ports: number): void {
    this.#greeted(address, ports);
    if (!this.#sockets.delete(socket)) return;
    const left = (this.#byAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#byAddress.set(address, left);
    else this.#byAddress.delete(address);
  }

  /** It is no stranger any more. */
  #greeted(address: string, ports: number): void {
    const strangers = this.#strangers.get(address);
    if (!strangers?.delete(ports)) return;
    this.#strangerCount--;
    if (strangers.size === 0) this.#strangers.delete(address);
  }

  #originOf(socket: Duplex, listener: string, certificate: string | null): Origin {
    const { remoteAddress: address = "" } = socket as Socket;
    const ports = portsOf(socket as Socket);
    return { listener, address, certificate, greeted: () => this.#greeted(address, ports) };
  }

  #webSockets(server: HttpServer, config: WithWebSocket, name: string): void {
    server.headersTimeout = this.#options.connectTimeoutMs;
    server.requestTimeout = this.#options.connectTimeoutMs;
    server.on("request", (_request, response) => {
      response.writeHead(426, { Connection: "close", "Content-Type": "text/plain" });
      response.end("This is an MQTT listener: connect with WebSocket and the subprotocol mqtt.\n");
    });
    server.on("upgrade", (request, socket, head) => {
      socket.on("error", ignore);
      const origin = this.#originOf(request.socket, name, commonName(request.socket));
      const problem = webSocketProblem(request, config);
      if (problem) {
        this.#options.onRefused(problem.reason, origin);
        socket.end(`HTTP/1.1 ${problem.status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
        return;
      }
      (socket as Socket).setNoDelay(true);
      acceptHandshake(request, socket, subprotocolOf(offeredBy(request))!);
      const stream = new WebSocketStream(socket as Socket, head);
      stream.on("error", ignore);
      this.#options.onConnection(stream, origin);
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
    server.listen({ host, port, backlog: BACKLOG }, resolve);
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

/** With the address, what tells one connection from all others. */
function portsOf({ remotePort = 0, localPort = 0 }: Socket): number {
  return remotePort * 65_536 + localPort;
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

function offeredBy({ headers }: IncomingMessage): Set<string> {
  const offered = headers["sec-websocket-protocol"] ?? "";
  return new Set(offered.split(",").map((name) => name.trim()));
}

function webSocketProblem(
  request: IncomingMessage,
  config: WithWebSocket,
): { status: string; reason: string } | null {
  const path = (request.url ?? "").split("?")[0];
  if (config.path !== undefined && path !== config.path) {
    return { status: "404 Not Found", reason: "WebSocket path" };
  }
  const broken = handshakeProblem(request);
  if (broken) return { status: "400 Bad Request", reason: `WebSocket handshake: ${broken}` };
  if (!subprotocolOf(offeredBy(request))) {
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
