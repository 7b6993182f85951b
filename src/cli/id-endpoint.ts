/**
 * Ids that a backend tells by HTTP, page after page: a JSON array of ids or of objects, an object with such an array and
 * `next`, JSON lines, or CSV. The next page is where a `Link: <…>; rel="next"` header or `next` says; never at another
 * origin, to which the token would be shown. Throws HF_BACKEND for an endpoint that does not tell them so.
 */
import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";
import { type Clock, sleep, systemClock } from "../core/clock.ts";
import { errorText, HoldfastError } from "../core/errors.ts";
import { MESSAGE_ID_BYTES_MAX } from "../core/limits.ts";
import { idsIn } from "./id-file.ts";

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
    const given = new AbortController();
    const whole = new AbortController();
    void sleep(options.clock ?? systemClock, PAGE_MS_MAX, whole.signal).then(() => {
      if (!whole.signal.aborted) given.abort(new Error(`no whole answer within ${PAGE_MS_MAX / 1000} s`));
    });
    try {
      const response: Response = await answerAt(at, options, given.signal);
      const linked = linkedNext(response.headers.get("link"));
      const type = response.headers.get("content-type") ?? "";
      let next: string | null = linked;
      if (/^application\/([a-z.-]+\+)?json\b/.test(type)) {
        const page = pageOf(await jsonOf(response, at), options.column, at);
        next ??= page.next;
        yield page.ids;
      } else if (response.body) {
        yield* idsIn(Readable.fromWeb(response.body as ReadableStream), options.column);
      }
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

async function jsonOf(response: Response, url: string): Promise<unknown> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > JSON_BYTES_MAX)
      throw wrong(
        url,
        `a page is larger than ${JSON_BYTES_MAX / 2 ** 20} MiB: have it paged, or told as JSON lines`,
      );
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    throw wrong(url, `its answer is no JSON (${errorText(error)})`);
  }
}

/** The only array in an object is meant, whatever it is called. */
function pageOf(value: unknown, column: string, url: string): { ids: string[]; next: string | null } {
  const object = Array.isArray(value) ? { ids: value } : ((value ?? {}) as Record<string, unknown>);
  const arrays = Object.values(object).filter(Array.isArray);
  if (arrays.length !== 1)
    throw wrong(url, "its answer is neither an array nor an object with one array in it");
  const ids = arrays[0]!.map((each: unknown, at: number) => {
    const id = typeof each === "object" && each !== null ? (each as Record<string, unknown>)[column] : each;
    const text = typeof id === "number" ? String(id) : id;
    if (typeof text === "string" && text !== "" && Buffer.byteLength(text) <= MESSAGE_ID_BYTES_MAX)
      return text;
    throw wrong(url, `entry ${at + 1} has no id in \`${column}\`: ${JSON.stringify(each)?.slice(0, 80)}`);
  });
  const { next } = object as { next?: unknown };
  return { ids, next: typeof next === "string" && next !== "" ? next : null };
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
