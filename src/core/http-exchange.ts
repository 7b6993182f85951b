/**
 * One HTTP request and what came of it, with the one distinction that matters for honesty: whether a byte
 * of it may have reached the backend.
 *
 * undici's `request()` throws the same ECONNRESET for a handshake that failed and for an answer that was
 * lost. Its dispatch handler tells them apart: `onRequestStart` runs when a connected socket is about to
 * be written to, in the same turn. Before it nothing was sent; after it everything may have been.
 */
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Dispatcher, Pool as HttpPool, buildConnector as tcp } from "undici";
import type { Clock } from "./clock.ts";
import { errorText } from "./errors.ts";
import { afterStopGrace } from "./stop-grace.ts";
import { type TlsConfig, tlsOptions } from "./tls.ts";
import { buildConnector, Pool } from "./undici-parts.ts";

export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: Buffer | null;
}

export type HttpExchange =
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly headers: Readonly<Record<string, string | string[] | undefined>>;
      readonly body: Buffer;
      /** False where the body broke off or was longer than we read. */
      readonly whole: boolean;
    }
  | { readonly kind: "not sent"; readonly reason: string }
  | { readonly kind: "no answer"; readonly reason: string };

export type Connect = (host: string, port: number) => Duplex;

export interface HttpClientOptions {
  readonly origin: string;
  readonly connections: number;
  readonly connectTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly responseBytesMax: number;
  readonly tls: TlsConfig | undefined;
  readonly clock: Clock;
  /** Opens a stream in place of TCP. It emits `connect` or `error`. */
  readonly connect?: Connect | undefined;
}

export class HttpClient {
  readonly #options: HttpClientOptions;
  readonly #pool: HttpPool;

  constructor(options: HttpClientOptions) {
    this.#options = options;
    this.#pool = new Pool(options.origin, {
      connections: options.connections,
      pipelining: 1,
      allowH2: false,
      // Ours, on the clock passed in, replace undici's own.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: (where, done) =>
        options.connect ? connectThrough(options.connect, where, done) : this.#connect(where, done),
    });
  }

  /** Certificates are read for each connection, so that renewed ones are taken up without a restart. */
  #connect(where: tcp.Options, done: tcp.Callback): void {
    let connector: tcp.connector;
    try {
      connector = buildConnector({
        ...tlsOptions(this.#options.tls),
        timeout: this.#options.connectTimeoutMs,
        allowH2: false,
      });
      connector(where, done);
    } catch (error) {
      done(error as Error, null);
    }
  }

  /** Never rejects. Gives up at the request timeout, or a grace after `signal` aborts. */
  send(request: HttpRequest, signal: AbortSignal): Promise<HttpExchange> {
    const { clock, requestTimeoutMs, responseBytesMax } = this.#options;
    return new Promise((resolve) => {
      let controller: Dispatcher.DispatchController | null = null;
      let status = 0;
      let headers: Record<string, string | string[] | undefined> = {};
      const chunks: Buffer[] = [];
      let bytes = 0;
      let settled = false;

      const settle = (exchange: HttpExchange) => {
        if (settled) return;
        settled = true;
        timer.cancel();
        disarm();
        resolve(exchange);
      };
      const answer = (whole: boolean) =>
        settle({ kind: "answer", status, headers, body: Buffer.concat(chunks), whole });
      /** An answer whose body broke off is still an answer: the status line came. */
      const fail = (reason: string) => {
        if (status > 0) answer(false);
        else settle({ kind: controller ? "no answer" : "not sent", reason });
      };
      const giveUp = (reason: string) => {
        fail(reason);
        controller?.abort(new Error(reason));
      };
      const timer = clock.after(requestTimeoutMs, () =>
        giveUp(`${controller ? "no answer" : "no connection"} within ${requestTimeoutMs} ms`),
      );
      const disarm = afterStopGrace(clock, signal, () => giveUp("the gateway is stopping"));

      const handler: Dispatcher.DispatchHandler = {
        onRequestStart(started) {
          // Given up while it waited for a connection: it must not go out any more.
          if (settled) started.abort(new Error("given up"));
          else controller = started;
        },
        onResponseStart(_, statusCode, responseHeaders) {
          if (statusCode < 200) return;
          status = statusCode;
          headers = responseHeaders;
        },
        onResponseData(active, chunk) {
          bytes += chunk.length;
          if (bytes <= responseBytesMax) {
            chunks.push(chunk);
            return;
          }
          answer(false);
          active.abort(new Error(`the answer is longer than ${responseBytesMax} bytes`));
        },
        onResponseEnd: () => answer(true),
        onResponseError: (_, error) => fail(errorText(error)),
      };
      try {
        this.#pool.dispatch({ ...request, idempotent: true }, handler);
      } catch (error) {
        fail(errorText(error));
      }
    });
  }

  /** Ends every connection; requests under way are answered as lost. */
  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}

function connectThrough(connect: Connect, { hostname, port }: tcp.Options, done: tcp.Callback): void {
  const stream = connect(hostname, Number(port));
  const onError = (error: Error) => done(error, null);
  stream.once("error", onError);
  stream.once("connect", () => {
    stream.off("error", onError);
    // undici asks no more of it than a stream can do.
    done(null, stream as Socket);
  });
}
