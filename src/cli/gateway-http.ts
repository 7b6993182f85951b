/**
 * Requests to the running gateway: with the key that its data folder holds for whoever may read it, or with
 * HOLDFAST_TOKEN; over TLS believing no other certificate than the gateway's own.
 */
import { readFileSync } from "node:fs";
import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { z } from "zod";
import { type Clock, sleep } from "../core/clock.ts";
import { ERRORS, type ErrorCode, HoldfastError } from "../core/errors.ts";
import { safeParse } from "../core/safe-parse.ts";

const LOCAL_KEY_FILE = "local.token";
/** How long a gateway may take to answer. */
const ANSWER_MS_MAX = 10_000;

export interface GatewayPlace {
  readonly http: string;
  /** Of the run that is meant: another program may have taken its port. */
  readonly boot: string;
  /** PEM file with its certificate, where it speaks TLS. */
  readonly cert?: string;
}

export interface Answered {
  readonly status: number;
  readonly body: unknown;
}

export class GatewayHttp {
  readonly #place: GatewayPlace;
  readonly #clock: Clock;
  readonly #token: string | undefined;

  constructor(place: GatewayPlace, token: string | undefined, clock: Clock) {
    this.#place = place;
    this.#token = token;
    this.#clock = clock;
  }

  /** Rejects with the problem that the gateway tells, or with why there is no answer. */
  async ask(
    method: "GET" | "POST",
    path: string,
    body?: unknown,
    expected: readonly number[] = [200],
    {
      headers = {},
      waitMs = 0,
    }: { readonly headers?: Record<string, string>; readonly waitMs?: number } = {},
  ): Promise<Answered> {
    const patienceMs = ANSWER_MS_MAX + waitMs;
    const aborted = new AbortController();
    const answered = new AbortController();
    void sleep(this.#clock, patienceMs, answered.signal).then(() =>
      aborted.abort(new Error(`no answer within ${patienceMs / 1000} s`)),
    );
    try {
      const found = await this.#exchange(method, path, body, headers, aborted.signal);
      if (!expected.includes(found.status)) throw problemError(found.body, found.status);
      return found;
    } catch (error) {
      throw aborted.signal.aborted ? aborted.signal.reason : error;
    } finally {
      answered.abort();
    }
  }

  /** An answer as it comes, however long it is. Rejects as ask() does where there is none, or a problem. */
  async stream(path: string): Promise<IncomingMessage> {
    const aborted = new AbortController();
    const begun = new AbortController();
    void sleep(this.#clock, ANSWER_MS_MAX, begun.signal).then(() => {
      if (!begun.signal.aborted) aborted.abort(new Error(`no answer within ${ANSWER_MS_MAX / 1000} s`));
    });
    const response = await this.#send("GET", path, undefined, {}, aborted.signal).finally(() =>
      begun.abort(),
    );
    if (response.statusCode === 200) return response;
    throw problemError(await json(response), response.statusCode ?? 0);
  }

  async #exchange(
    method: string,
    path: string,
    body: unknown,
    more: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Answered> {
    const response = await this.#send(method, path, body, more, signal);
    return { status: response.statusCode ?? 0, body: await json(response) };
  }

  #send(
    method: string,
    path: string,
    body: unknown,
    more: Record<string, string>,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const { http, boot, cert } = this.#place;
    const url = new URL(path, http);
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      ...more,
      ...(text === undefined
        ? {}
        : { "content-type": "application/json", "content-length": String(Buffer.byteLength(text)) }),
      // Whether it lives is asked first and by anyone, so that no other program on its port is shown the key.
      ...(this.#token === undefined || path === "/livez" ? {} : { authorization: `Bearer ${this.#token}` }),
    };
    return new Promise((resolve, reject) => {
      const send = url.protocol === "https:" ? requestHttps : requestHttp;
      const trust = cert === undefined ? {} : { ca: readFileSync(cert), ...ITS_OWN_CERTIFICATE };
      const request = send(url, { method, headers, signal, ...trust }, (response) => {
        if (response.headers["holdfast-boot"] !== boot) {
          request.destroy(new Error("another program answers there"));
          return;
        }
        resolve(response);
      });
      request.once("error", reject);
      request.end(text);
    });
  }
}

/** It is the certificate itself that is believed, whoever signed it and whatever name it is for. */
const ITS_OWN_CERTIFICATE = { allowPartialTrustChain: true, checkServerIdentity: () => undefined };

/** What the command line shows of itself: HOLDFAST_TOKEN, or the key of this run. */
export function tokenFor(
  dataDir: string,
  env: Readonly<Record<string, string | undefined>>,
): string | undefined {
  if (env.HOLDFAST_TOKEN) return env.HOLDFAST_TOKEN;
  try {
    return readFileSync(join(dataDir, LOCAL_KEY_FILE), "utf8").trim();
  } catch {
    // Of a version without one, or not for us to read: the gateway says what it wants.
    return undefined;
  }
}

const problemShape = z.looseObject({
  code: z.string(),
  detail: z.string(),
  details: z.record(z.string(), z.unknown()),
});

/** A problem of the API as the error it was there. */
function problemError(body: unknown, status: number): HoldfastError {
  const parsed = safeParse(problemShape, body);
  if (!parsed.success) return new HoldfastError("HF_INTERNAL", `the gateway answered with status ${status}`);
  const { code, detail, details } = parsed.data;
  return new HoldfastError(
    Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : "HF_INTERNAL",
    detail,
    details,
  );
}
