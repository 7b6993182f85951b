/** A delivery as an MQTT PUBLISH: topic, payload, flags and, under MQTT 5, properties. */
import type { IConnackPacket, IPublishPacket } from "mqtt";
import { generate } from "mqtt-packet";
import { RESULT_SOURCE, type ResultHeaders } from "../core/command-message.ts";
import { type Outcome, reject, retryTarget } from "../core/outcome.ts";
import { topicNameProblem } from "../core/topic.ts";
import { renderPayload } from "./envelope.ts";
import { metadata, traceFields } from "./metadata.ts";
import type { MqttTargetConfig } from "./mqtt-options.ts";
import type { TargetDelivery } from "./target.ts";
import { Template, templateValues } from "./template.ts";

export interface Publication {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 1 | 2;
  readonly retain: boolean;
  readonly properties: IPublishPacket["properties"];
}

export class PublicationMaker {
  readonly #config: MqttTargetConfig;
  readonly #gateway: string;
  readonly #topic: Template;

  constructor(config: MqttTargetConfig, gateway: string) {
    this.#config = config;
    this.#gateway = gateway;
    this.#topic = new Template(config.topic);
  }

  /** `problem`: why it can never be published as the config says. */
  make(delivery: TargetDelivery): Publication | { readonly problem: string } {
    const { message } = delivery;
    let slash: string | null = null;
    const result = message.source === RESULT_SOURCE ? (message.headers as ResultHeaders) : null;
    const topic =
      result?.replyTo ??
      this.#topic.render(templateValues(delivery, this.#gateway), (value, name) => {
        // A device may not choose its own place in the tree by a slash in its name.
        if (name !== "topic" && value.includes("/")) slash = `${name} ${JSON.stringify(value)} has a /`;
        return value;
      });
    const problem = slash ?? topicNameProblem(topic);
    if (problem) return { problem: `topic ${JSON.stringify(topic)}: ${problem}` };
    const { body, contentType } = renderPayload(this.#config.payload, delivery, this.#gateway);
    const { retain } = this.#config;
    return {
      topic,
      payload: body,
      qos: this.#config.qos,
      retain: retain === "keep" ? message.retain : retain === "always",
      properties: this.#config.protocol === 5 ? this.#properties(delivery, contentType, result) : undefined,
    };
  }

  #properties(
    delivery: TargetDelivery,
    contentType: string | null,
    result: ResultHeaders | null,
  ): IPublishPacket["properties"] {
    const properties: NonNullable<IPublishPacket["properties"]> = {};
    if (contentType !== null) properties.contentType = contentType;
    if (this.#config.payload !== "raw") properties.payloadFormatIndicator = true;
    if (delivery.expiresInMs !== null) {
      // In whole seconds; rounded up, since 0 would expire it on the way.
      properties.messageExpiryInterval = Math.min(
        Math.max(Math.ceil(delivery.expiresInMs / 1000), 1),
        EXPIRY_S_MAX,
      );
    }
    if (result?.correlation) properties.correlationData = Buffer.from(result.correlation, "base64");
    // The state of a trace goes with that trace alone.
    const { tracestate: _, ...headers } = delivery.message.headers;
    properties.userProperties = {
      ...(result ? {} : headers),
      ...Object.fromEntries([...metadata(delivery, this.#gateway), ...traceFields(delivery)]),
    };
    return properties;
  }
}

/** A four byte integer (section 3.3.2.3.3). */
const EXPIRY_S_MAX = 0xffff_ffff;

/** The most that topic and properties can add to a payload. */
const OVERHEAD_BYTES_MAX = 128 * 2 ** 10;

/** `publication` as this broker takes it, or the outcome where it never will. MQTT 5 brokers tell when we connect. */
export function fitToBroker(
  publication: Publication,
  config: Pick<MqttTargetConfig, "retain">,
  broker: IConnackPacket["properties"],
): Publication | Outcome {
  if (!broker) return publication;
  const { qos, retain, payload } = publication;
  if (broker.maximumQoS !== undefined && broker.maximumQoS < qos) {
    return retryTarget(`the broker takes QoS ${broker.maximumQoS} at most; lower qos in the config`);
  }
  if (retain && broker.retainAvailable === false) {
    if (config.retain === "always")
      return retryTarget("the broker keeps no retained messages; change retain in the config");
    return { ...publication, retain: false };
  }
  const { maximumPacketSize: max } = broker;
  if (max !== undefined && payload.length + OVERHEAD_BYTES_MAX > max) {
    const { length } = generate(
      { cmd: "publish", dup: false, messageId: 1, ...publication },
      { protocolVersion: 5 },
    );
    if (length > max) return reject(`a packet of ${length} bytes is more than the broker takes (${max})`); // [MQTT-3.2.2-15]
  }
  return publication;
}
