/** Deliveries as an HTTP request: body, headers and the key that makes a resend recognisable. */
import { createHash } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { authHeader, webhookHeaders, webhookKey } from "../core/http-auth.ts";
import type { HttpRequest } from "../core/http-exchange.ts";
import { renderCloudEvent, renderEnvelope, renderPayload } from "./envelope.ts";
import type { HttpTargetConfig } from "./http-options.ts";
import { metadata, traceFields } from "./metadata.ts";
import type { TargetDelivery } from "./target.ts";
import { Template, type TemplateValues, templateValues } from "./template.ts";

/** A metadata header longer than this is left out, not cut: servers refuse requests with long headers. */
const HEADER_CHARS_MAX = 2048;

/** A value as one header line: what is not printable ASCII, and `%` itself, is percent-encoded UTF-8. */
export function headerText(value: string): string {
  return value
    .toWellFormed()
    .replaceAll(/[^\x20-\x24\x26-\x7e]+/g, encodeURIComponent)
    .replaceAll(/^ +| +$/g, (spaces) => "%20".repeat(spaces.length));
}

/**
 * The Idempotency-Key: a message's own id, or for many a digest of their ids, the same whenever the same
 * messages go together again in the same order.
 */
export function idempotencyKey(deliveries: readonly TargetDelivery[]): string {
  if (deliveries.length === 1) return headerText(deliveries[0]!.message.id);
  const digest = createHash("sha256").update(JSON.stringify(deliveries.map(({ message }) => message.id)));
  return `batch-${digest.digest("base64url")}`;
}

/** A URL's path and query for `values`, or the reason why there is none. */
export function requestPath(
  template: Template,
  values: TemplateValues,
): { readonly path: string } | { readonly problem: string } {
  const text = template.render(values, (value) => encodeURIComponent(value.toWellFormed()));
  const path = text.replace(/^https?:\/\/[^/?#]*/i, "").split("?", 1)[0]!;
  // WHATWG URL, section "double-dot URL path segment": such a segment would lead to another place.
  const dots = path.split("/").find((segment) => /^(\.|%2e){1,2}$/i.test(segment));
  if (dots !== undefined) return { problem: `the URL would have the path segment ${JSON.stringify(dots)}` };
  const url = new URL(text);
  return { path: url.pathname + url.search };
}

export class HttpRequestMaker {
  readonly #config: HttpTargetConfig;
  readonly #gateway: string;
  readonly #clock: Clock;
  readonly #url: Template;
  readonly #fixed: Record<string, string>;
  readonly #key: Buffer | null;

  constructor(config: HttpTargetConfig, gateway: string, clock: Clock) {
    this.#config = config;
    this.#gateway = gateway;
    this.#clock = clock;
    this.#url = new Template(config.url);
    this.#key = config.sign ? webhookKey(config.sign.secret) : null;
    const headers: Record<string, string> = {
      "user-agent": "holdfast",
      accept: "application/json, */*;q=0.5",
    };
    for (const [name, value] of Object.entries(config.headers)) headers[name.toLowerCase()] = value.trim();
    if (config.auth) {
      const [name, value] = authHeader(config.auth);
      headers[name] = value;
    }
    this.#fixed = headers;
  }

  /** True where the URL says which message it is. */
  get urlFromMessage(): boolean {
    return (["device", "topic", "id", "flow"] as const).some((name) => this.#url.uses(name));
  }

  /** Headers for questions that carry no message. */
  get fixedHeaders(): Record<string, string> {
    return this.#fixed;
  }

  single(delivery: TargetDelivery): HttpRequest | { readonly problem: string } {
    const found = requestPath(this.#url, templateValues(delivery, this.#gateway));
    if ("problem" in found) return found;
    const form = this.#config.payload ?? "raw";
    const { body, contentType } = renderPayload(form, delivery, this.#gateway);
    const headers: Record<string, string> = { ...this.#fixed };
    headers["content-type"] = usableType(contentType) ?? this.#config.contentType;
    for (const [name, value] of metadata(delivery, this.#gateway)) setHeader(headers, name, value);
    setHeader(headers, "holdfast-topic", delivery.message.topic);
    Object.assign(headers, Object.fromEntries(traceFields(delivery)));
    return this.#finish(found.path, headers, body, [delivery]);
  }

  many(deliveries: readonly TargetDelivery[]): HttpRequest | { readonly problem: string } {
    const found = requestPath(this.#url, templateValues(deliveries[0]!, this.#gateway));
    if ("problem" in found) return found;
    const events = this.#config.payload === "cloudevents";
    const render = events ? renderCloudEvent : renderEnvelope;
    const lines = deliveries.map((delivery) => render(delivery, this.#gateway));
    const ndjson = this.#config.batch === "ndjson";
    const body = Buffer.from(ndjson ? `${lines.join("\n")}\n` : `[${lines.join(",\n")}]`);
    const headers: Record<string, string> = { ...this.#fixed, "holdfast-gateway": headerText(this.#gateway) };
    headers["content-type"] = ndjson
      ? "application/x-ndjson"
      : events
        ? "application/cloudevents-batch+json"
        : "application/json";
    headers["holdfast-batch"] = String(deliveries.length);
    // Each has its own in its line; the request has one where it is itself a span.
    if (deliveries[0]!.trace) Object.assign(headers, Object.fromEntries(traceFields(deliveries[0]!)));
    return this.#finish(found.path, headers, body, deliveries);
  }

  #finish(
    path: string,
    headers: Record<string, string>,
    body: Buffer,
    deliveries: readonly TargetDelivery[],
  ): HttpRequest {
    const key = idempotencyKey(deliveries);
    headers["idempotency-key"] = key;
    if (this.#key) {
      for (const [name, value] of webhookHeaders(this.#key, key, this.#clock.wallMs(), body))
        headers[name] = value;
    }
    return { method: this.#config.method, path, headers, body };
  }
}

function setHeader(headers: Record<string, string>, name: string, value: string): void {
  const text = headerText(value);
  if (text.length <= HEADER_CHARS_MAX) headers[name] = text;
}

function usableType(contentType: string | null): string | null {
  return contentType !== null && /^[\x20-\x7e]{1,255}$/.test(contentType) ? contentType.trim() || null : null;
}
