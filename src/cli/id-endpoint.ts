/**
 * Ids that a backend tells by HTTP, page after page: a JSON array of ids or of objects, an object with such an array and
 * `next`, JSON lines, or CSV. The next page is where a `Link: <…>; rel="next"` header or `next` says; never at another
 * origin, to which the token would be shown. Throws HF_BACKEND for an endpoint that does not tell them so.
 */
import { Readable } from "node:stream";
import { type Clock, sleep, systemClock } from "../core/clock.ts";
import { errorText, HoldfastError } from "../core/errors.ts";
import { idsIn, idsInJson, jsonIn } from "../core/id-lines.ts";

/** A page that is not whole after this long is given up. */
const PAGE_MS_MAX = 60_000;
/** JSON is read whole; lines are not. */
const JSON_BYTES_MAX = 64 * 2 ** 20;
/** An endpoint that names the same pages again and again is left at some time. */
const PAGES_MAX = 100_000;

export interface EndpointOptions {
  readonly column: string;
  /** Sent as `Authorization: Bearer`. */
  readonly token?: string;
  readonly clock?: Clock;
}

export async function* idsAt(first: string, options: EndpointOptions): AsyncGenerator<string[]> {
  const origin = urlOf(first, first).origin;
  let url: string | null = first;
  for (let pages = 0; url !== null; pages++) {
    if (pages === PAGES_MAX) throw wrong(first, `it has more than ${PAGES_MAX} pages`);
    if (urlOf(url, first).origin !== origin) throw wrong(first, `its next page is at another origin, ${url}`);
    const at: string = url;
    const place = { column: options.column, refuse: (sentence: string) => wrong(at, sentence) };
    const given = new AbortController();
    const whole = new AbortController();
    void sleep(options.clock ?? systemClock, PAGE_MS_MAX, whole.signal).then(() => {
      if (!whole.signal.aborted) given.abort(new Error(`no whole answer within ${PAGE_MS_MAX / 1000} s`));
    });
    try {
      const response: Response = await answerAt(at, options, given.signal);
      const linked = linkedNext(response.headers.get("link"));
      const type = response.headers.get("content-type") ?? "";
      const body: AsyncIterable<Uint8Array> = response.body ?? Readable.from([]);
      let next: string | null = linked;
      if (/^application\/([a-z.-]+\+)?json\b/.test(type)) {
        const page = await jsonIn(body, JSON_BYTES_MAX, place.refuse);
        next ??= nextIn(page);
        yield idsInJson(page, place);
      } else yield* idsIn(body, place);
      url = next === null ? null : urlOf(next, at).href;
    } catch (error) {
      if (error instanceof HoldfastError) throw error;
      throw wrong(at, given.signal.aborted ? errorText(given.signal.reason) : errorText(error));
    } finally {
      whole.abort();
    }
  }
}

async function answerAt(url: string, { token }: EndpointOptions, signal: AbortSignal): Promise<Response> {
  const headers = {
    accept: "application/json, application/jsonl, text/csv",
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  // A redirect could lead to another origin with it.
  const response = await fetch(url, { headers, signal, redirect: "error" }).catch((error) => {
    throw wrong(url, signal.aborted ? errorText(signal.reason) : errorText((error as Error).cause ?? error));
  });
  if (response.ok) return response;
  await response.body?.cancel();
  throw wrong(url, `it answers with status ${response.status}`);
}

function nextIn(page: unknown): string | null {
  const { next } = (page ?? {}) as { readonly next?: unknown };
  return typeof next === "string" && next !== "" ? next : null;
}

/** RFC 8288, as far as paging goes. */
function linkedNext(link: string | null): string | null {
  return /<([^>]*)>[^,]*;\s*rel="?next"?/i.exec(link ?? "")?.[1] ?? null;
}

function urlOf(text: string, base: string): URL {
  const url = URL.parse(text, base);
  if (url && (url.protocol === "http:" || url.protocol === "https:")) return url;
  throw new HoldfastError("HF_USAGE", `${text} is no http or https URL`);
}

function wrong(url: string, problem: string): HoldfastError {
  return new HoldfastError("HF_BACKEND", `${url}: ${problem}`, { url });
}
