/**
 * Changes as they come, for pages: server-sent events.
 *
 *   hello    first of all: the run, and whether something was missed (`gap`)
 *   event    what happened (watch/events.ts), with its id, so that a client that comes back with Last-Event-ID gets
 *            what it missed, for as long as that is kept
 *   status   the report, whenever more than ages has changed, about once a second at most
 *   changed  in its place, for who asks for that: which parts of the report are others now
 *
 * Nobody is waited for: what is written to a client goes to its socket, and one that has let more than a bound pile up
 * there is cut off. It comes back by itself, and gets what it missed.
 */
import type { FastifyReply } from "fastify";
import { z } from "zod";
import type { Clock, Timer } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { GatewayEvent } from "../watch/events.ts";
import type { SignedReport, Watch } from "../watch/watch.ts";
import type { Caller } from "./callers.ts";
import type { Entrance } from "./entrance.ts";
import { type Operation, otherOperation } from "./operation.ts";

/** Written to a client and not taken by its socket yet. */
const UNSENT_BYTES_MAX = 256 * 1024;
/** So that a client, and whatever stands between, knows that the line is up. */
const BEAT_MS = 15_000;
/** How long a client waits before it comes back. */
const RETRY_MS = 2000;
/** What changes by itself, and is no news. */
const VOLATILE = new Set([
  "atMs",
  "uptimeMs",
  "ageMs",
  "evidenceAgeMs",
  "nextTryInMs",
  "walBytes",
  "diskFreeBytes",
]);

export interface StreamsOptions {
  readonly watch: Pick<Watch, "report" | "rates" | "events">;
  readonly entrance: Pick<Entrance, "stillIn">;
  readonly boot: string;
  readonly clientsMax: number;
  readonly clock: Clock;
}

interface Client {
  readonly reply: FastifyReply;
  readonly caller: Caller;
  /** Is told which parts of the report have changed, and asks for what it shows. */
  readonly brief: boolean;
}

export class Streams {
  readonly #options: StreamsOptions;
  readonly #clients = new Set<Client>();
  /** By part of the report. */
  #signs = new Map<string, string>();
  #beat: Timer | undefined;

  constructor(options: StreamsOptions) {
    this.#options = options;
  }

  get clients(): number {
    return this.#clients.size;
  }

  /** Throws HF_TOO_MANY where there are as many as there may be. */
  add({ reply, caller, brief }: Client, after: string | undefined): void {
    const { watch, boot, clientsMax } = this.#options;
    if (this.#clients.size >= clientsMax) {
      const message = `${clientsMax} clients follow changes already (web.limits.streams)`;
      throw new HoldfastError("HF_TOO_MANY", message, { retryAfterS: 5 });
    }
    const client = { reply, caller, brief };
    reply.hijack();
    const { raw } = reply;
    // A silent connection that somebody has an answer to this for is not closed by Node.
    raw.on("timeout", () => {});
    raw.writeHead(200, {
      ...reply.getHeaders(),
      "content-type": "text/event-stream; charset=utf-8",
    } as never);
    raw.once("close", () => this.#clients.delete(client));
    // Others have been told of every look before.
    if (this.#clients.size === 0) this.#signs = signsOf(watch.report());
    this.#clients.add(client);
    const missed = after === undefined ? [] : watch.events.after(after);
    const { lastId } = watch.events;
    const hello = message("hello", { boot, lastId, gap: missed === null }, lastId);
    const kept = (missed ?? watch.events.all()).map(eventMessage);
    // However much it missed: that is bounded by what is kept.
    raw.write(`retry: ${RETRY_MS}\n\n${kept.join("")}${hello}${brief ? "" : this.#status(watch.report())}`);
    this.#armBeat();
  }

  event(event: GatewayEvent): void {
    if (this.#clients.size > 0) this.#writeAll(eventMessage(event));
  }

  /** After each look. */
  looked(report: SignedReport): void {
    for (const client of this.#clients) {
      if (!this.#options.entrance.stillIn(client.caller)) client.reply.raw.destroy();
    }
    if (this.#clients.size === 0) return;
    const signs = signsOf(report);
    const of = [...signs].flatMap(([part, sign]) => (this.#signs.get(part) === sign ? [] : part));
    this.#signs = signs;
    if (of.length === 0) return;
    const texts = { brief: message("changed", { of }), whole: this.#status(report) };
    for (const client of this.#clients) this.#write(client, client.brief ? texts.brief : texts.whole);
  }

  stop(): void {
    this.#beat?.cancel();
    for (const { reply } of this.#clients) reply.raw.destroy();
  }

  #status(report: SignedReport): string {
    const { watch } = this.#options;
    const flows = report.flows.map((flow) => ({ ...flow, ...watch.rates(flow.flow) }));
    return message("status", { ...report, flows });
  }

  #writeAll(text: string): void {
    for (const client of this.#clients) this.#write(client, text);
  }

  #write({ reply: { raw } }: Client, text: string): void {
    raw.write(text);
    if (raw.writableLength > UNSENT_BYTES_MAX) raw.destroy();
  }

  #armBeat(): void {
    this.#beat ??= this.#options.clock.after(BEAT_MS, () => {
      this.#beat = undefined;
      if (this.#clients.size === 0) return;
      this.#writeAll(": still here\n\n");
      this.#armBeat();
    });
  }
}

function signsOf(report: SignedReport): Map<string, string> {
  return new Map(
    Object.entries(report)
      .filter(([part]) => !VOLATILE.has(part))
      .map(([part, of]) => [
        part,
        JSON.stringify(of, (key, value) => (VOLATILE.has(key) ? undefined : value)),
      ]),
  );
}

function eventMessage(event: GatewayEvent): string {
  return message("event", event, event.id);
}

/** JSON has no line breaks of its own, so one data line holds it. */
function message(kind: string, data: unknown, id?: string): string {
  return `${id === undefined ? "" : `id: ${id}\n`}event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`;
}

export const streamOperations: readonly Operation[] = [
  otherOperation({
    method: "GET",
    path: "/v1/stream",
    name: "followChanges",
    tag: "gateway",
    summary: "Changes as they come: server-sent events",
    notes:
      "`event` as in /v1/events, with its id; `status` as `health` of /v1/status, whenever more than ages has changed (`brief=true`: `changed`, which says what part of it); `hello` says whether something was missed. A client that does not keep up is cut off; with Last-Event-ID it gets what it missed.",
    role: "view",
    query: z.strictObject({
      after: z.string().max(64).optional().describe("As Last-Event-ID, for the first connection."),
      brief: z
        .enum(["true", "false"])
        .optional()
        .describe("`true`: `changed`, with the names of its parts, in the place of the report itself."),
    }),
    headers: { "last-event-id": "Id of the last event that the client has." },
    answer: "text/event-stream",
    handle({ query: { after, brief }, request, reply, caller }, { streams }) {
      const last = [request.headers["last-event-id"]].flat()[0] ?? after;
      streams.add({ reply, caller, brief: brief === "true" }, last);
      return reply;
    },
  }),
];
