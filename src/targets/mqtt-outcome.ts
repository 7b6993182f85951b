/**
 * What a broker's answer to a PUBLISH says of the message. Pure; docs/targets.md has it as a table.
 *
 * MQTT 3.1.1 has no such answers: a broker that will not take a message must acknowledge it all the same or
 * close the connection (section 4.8), and then it is `unknown`.
 */
import { delivered, type Outcome, reject, retryMessage, retryTarget, unknown } from "../core/outcome.ts";

/** MQTT 5, sections 3.4.2.1 (PUBACK) and 3.5.2.1 (PUBREC), and what sections 2.4 and 4.13 let a broker say besides. */
const REASONS: Readonly<Record<number, string>> = {
  128: "Unspecified error",
  131: "Implementation specific error",
  135: "Not authorized",
  136: "Server unavailable",
  137: "Server busy",
  144: "Topic Name invalid",
  145: "Packet Identifier in use",
  146: "Packet Identifier not found",
  149: "Packet too large",
  150: "Message rate too high",
  151: "Quota exceeded",
  153: "Payload format invalid",
  154: "Retain not supported",
  155: "QoS not supported",
};

/** `reasonCode` is 0 where the packet has none (section 3.4.2.1); `says` is the broker's own reason string. */
export function mqttOutcome(reasonCode: number, says?: string): Outcome {
  // 16 is "No matching subscribers": taken, and nobody is there to read it.
  if (reasonCode < 128) return delivered(reasonCode === 16 ? "no matching subscribers" : undefined);
  const name = REASONS[reasonCode] ?? "unknown reason code";
  const reason = `MQTT 0x${reasonCode.toString(16)} ${name}${says ? `: ${says}` : ""}`;
  switch (reasonCode) {
    case 135:
    case 144:
    case 149:
    case 153:
      return reject(reason);
    case 136:
    case 137:
    case 150:
    case 151:
    case 154:
    case 155:
      return retryTarget(reason);
    case 146: // to our PUBREL: it took the message before and has forgotten it since
      return unknown(reason);
    default:
      return retryMessage(reason);
  }
}
