/**
 * Who a request is from: the door's own rules on one place.
 *
 *   a token          `Authorization: Bearer hf_…`
 *   a session        the cookie that a page got for a token; signed, so that it outlives a restart of the gateway, and
 *                    good for as long as its token is, and half a day at most
 *   this run's key   `<data>/local.token`, which only the user that runs the gateway can read: who can read the store
 *                    itself needs no other permission, and so the command line goes on working
 *   nothing          on loopback, while there are no tokens: programs on this machine
 *
 * What a page sends with its cookie must carry the header `holdfast-page`, which no page of another origin can set, for
 * all but GET (beside SameSite=Strict and the checks of guard.ts). Wrong tokens are counted by address, and above a
 * pace answered with 429; a right one always works, so that nobody is locked out by others.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import { join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { type Caller, LOCAL, LOCAL_WITHOUT_KEY, NOBODY } from "./callers.ts";
import { Pace } from "./pace.ts";
import { isLoopback, type WebConfig } from "./schema.ts";
import { type TokenRecord, Tokens, writePrivately } from "./tokens.ts";

export const LOCAL_KEY_FILE = "local.token";
const SESSION_KEY_FILE = "session.key";
export const SESSION_COOKIE = "holdfast_session";
export const PAGE_HEADER = "holdfast-page";
export const SESSION_MS_MAX = 12 * 3_600_000;

export interface EntranceOptions {
  readonly config: WebConfig;
  readonly dataDir: string;
  readonly clock: Clock;
}

export interface Visit {
  readonly headers: IncomingHttpHeaders;
  readonly method: string;
  /** Of the peer. */
  readonly address: string;
}

export class Entrance {
  readonly #options: EntranceOptions;
  readonly tokens: Tokens;
  readonly #requests: Pace;
  readonly #failures: Pace;
  #localKey: string | undefined;
  #sessionKey: Buffer | undefined;

  constructor(options: EntranceOptions) {
    this.#options = options;
    const { config, dataDir, clock } = options;
    const monoMs = () => clock.monoMs();
    this.tokens = new Tokens(dataDir, monoMs);
    const { requestsPerSecond, failedLoginsPerMinute } = config.limits;
    this.#requests = new Pace({ everyMs: 1000 / requestsPerSecond, burst: 2 * requestsPerSecond, monoMs });
    this.#failures = new Pace({
      everyMs: 60_000 / failedLoginsPerMinute,
      burst: failedLoginsPerMinute,
      monoMs,
    });
  }

  open(): void {
    const { dataDir } = this.#options;
    const key = randomBytes(32).toString("base64url");
    writePrivately(join(dataDir, LOCAL_KEY_FILE), `${key}\n`);
    this.#localKey = key;
  }

  close(): void {
    if (this.#localKey === undefined) return;
    rmSync(join(this.#options.dataDir, LOCAL_KEY_FILE), { force: true });
    this.#localKey = undefined;
  }

  /** Throws HF_UNAUTHENTICATED for what is shown and not right, HF_TOO_MANY above a pace. */
  callerOf(visit: Visit): Caller {
    const { headers, address } = visit;
    const shown = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1];
    if (shown !== undefined && this.#isLocalKey(shown)) return LOCAL;
    hold(
      this.#requests.take(address),
      "this client asks more often than web.limits.requestsPerSecond allows",
    );
    if (headers.authorization !== undefined) return this.login(shown ?? "", address).caller;
    const session = cookieOf(headers.cookie, SESSION_COOKIE);
    const caller = session === undefined ? undefined : this.#ofSession(session);
    if (caller) {
      if (visit.method !== "GET" && visit.method !== "HEAD" && headers[PAGE_HEADER] === undefined) {
        const message = `a request with the session's cookie needs the header ${PAGE_HEADER}`;
        throw new HoldfastError("HF_FORBIDDEN", message);
      }
      return caller;
    }
    const open = isLoopback(this.#options.config.host) && !this.tokens.exist;
    return open ? LOCAL_WITHOUT_KEY : NOBODY;
  }

  /** The caller that a token makes, and a session for it. Throws HF_UNAUTHENTICATED, or HF_TOO_MANY. */
  login(
    token: string,
    address: string,
  ): { readonly caller: Caller; readonly tokenId: string; readonly expiresAtMs: number | null } {
    const record = this.tokens.check(token, this.#options.clock.wallMs());
    if (record) {
      return { caller: callerWith(record), tokenId: record.id, expiresAtMs: record.expiresAtMs };
    }
    hold(this.#failures.take(address), "too many wrong tokens from this address");
    throw new HoldfastError(
      "HF_UNAUTHENTICATED",
      "this token is not known here, has expired, or was revoked",
    );
  }

  /** Whether a caller may still be here: for what goes on for long. */
  stillIn(caller: Caller): boolean {
    const { token } = caller;
    if (token !== null) return this.tokens.byId(token, this.#options.clock.wallMs()) !== null;
    return caller === LOCAL || !this.tokens.exist;
  }

  /** The cookie's value for a token that was right, and until when it is good. */
  sessionFor(
    tokenId: string,
    tokenExpiresAtMs: number | null,
  ): { readonly value: string; readonly expiresAtMs: number } {
    const expiresAtMs = Math.min(
      this.#options.clock.wallMs() + SESSION_MS_MAX,
      tokenExpiresAtMs ?? Number.MAX_SAFE_INTEGER,
    );
    const content = `${tokenId}.${expiresAtMs}`;
    return { value: `${content}.${this.#sign(content)}`, expiresAtMs };
  }

  #ofSession(value: string): Caller | undefined {
    const match = /^(([0-9a-f]{12})\.(\d{1,16}))\.([A-Za-z0-9_-]{43})$/.exec(value);
    if (!match) return undefined;
    const [, content = "", id = "", expiresAtMs, sign = ""] = match;
    if (!timingSafeEqual(Buffer.from(this.#sign(content)), Buffer.from(sign))) return undefined;
    const nowMs = this.#options.clock.wallMs();
    const record = Number(expiresAtMs) > nowMs ? this.tokens.byId(id, nowMs) : null;
    return record ? callerWith(record) : undefined;
  }

  #sign(content: string): string {
    this.#sessionKey ??= this.#keptKey();
    return createHmac("sha256", this.#sessionKey).update(content).digest("base64url");
  }

  #keptKey(): Buffer {
    const file = join(this.#options.dataDir, SESSION_KEY_FILE);
    try {
      const key = Buffer.from(readFileSync(file, "utf8").trim(), "base64url");
      if (key.length === 32) return key;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    const key = randomBytes(32);
    writePrivately(file, `${key.toString("base64url")}\n`);
    return key;
  }

  #isLocalKey(shown: string): boolean {
    if (this.#localKey === undefined || shown.length !== this.#localKey.length) return false;
    return timingSafeEqual(Buffer.from(shown), Buffer.from(this.#localKey));
  }
}

function callerWith({ name, role, id, commands }: TokenRecord): Caller {
  return { name, role, token: id, commands };
}

function hold(waitMs: number, message: string): void {
  if (waitMs === 0) return;
  const retryAfterS = Math.ceil(waitMs / 1000);
  throw new HoldfastError("HF_TOO_MANY", `${message}; ask again in ${retryAfterS} s`, { retryAfterS });
}

function cookieOf(header: string | undefined, name: string): string | undefined {
  for (const part of (header ?? "").split(";")) {
    const at = part.indexOf("=");
    if (at !== -1 && part.slice(0, at).trim() === name) return part.slice(at + 1).trim();
  }
  return undefined;
}
