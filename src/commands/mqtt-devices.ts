/**
 * Commands to MQTT devices: a JSON envelope on the device's command topic, answered by its reply.
 *
 *   sent     {"id": "…", "signal": "speed", "value": 40, "answerWithinMs": 5000}
 *   replied  {"id": "…", "status": "done" | "accepted" | "failed", "value"?: …, "reason"?: "…"}
 *
 * Promise: a command goes out at most once each time it is executed, at QoS 0 and to the device's own connection: a
 * broker that repeats what was not acknowledged, as QoS 1 wants it, would carry out by itself what nobody has decided
 * on. No reply in time is `unknown`. A reply counts only from the device itself, under the id of its command.
 *
 * A reply that comes too late is remembered for a while: whoever asks later what became of the command is told.
 *
 * With `whenAway: queue` a command for a device that is away goes into its persistent session instead (QoS 1), and is
 * unknown until it replies.
 */
import type { Clock } from "../core/clock.ts";
import type {
  Command,
  CommandableSignal,
  Commanded,
  CommandOutcome,
  CommandValue,
  ProbeOutcome,
} from "../core/command.ts";
import { parseJson } from "../core/json-pointer.ts";
import { topicMatches } from "../core/topic.ts";
import type { Accepting, Draft, Receipt } from "../intake/draft.ts";
import type { MqttDeviceConfig } from "./schema.ts";

/** Replies that nobody waits for any more, remembered for a later question. */
const LATE_MAX = 1000;

/**
 * How the broker is asked to send. `sent`: to the one connection of the device that subscribes to the topic;
 * `queued`: into its session; `nobody`, `several`: nothing was sent.
 */
export type SendToDevice = (message: {
  readonly device: string;
  readonly topic: string;
  readonly payload: Buffer;
  readonly queue: boolean;
  readonly onSent: () => void;
}) => "sent" | "queued" | "nobody" | "several";

interface Reply {
  readonly status: "done" | "accepted" | "failed";
  readonly value: CommandValue | undefined;
  readonly reason: string | null;
}

export interface MqttDevicesOptions {
  readonly devices: Readonly<Record<string, MqttDeviceConfig>>;
  readonly send: SendToDevice;
  /** Whether a message of this topic would be sent to the device now. */
  readonly reaches: (device: string, topic: string) => boolean;
  readonly clock: Clock;
}

export class MqttDevices implements Commanded {
  readonly #options: MqttDevicesOptions;
  readonly #commandable: ReadonlyMap<string, readonly CommandableSignal[]>;
  /** Commands that wait for their reply, by id. */
  readonly #waiting = new Map<string, { readonly device: string; readonly answer: (reply: Reply) => void }>();
  /** By device and id; the oldest first. */
  readonly #late = new Map<string, Reply>();

  constructor(options: MqttDevicesOptions) {
    this.#options = options;
    this.#commandable = new Map(
      Object.entries(options.devices).map(([device, { commands }]) => [
        device,
        Object.entries(commands.signals).map(([signal, { type, unit, min, max, idempotent }]) => {
          return { signal, type, unit, min, max, idempotent, verifiable: true };
        }),
      ]),
    );
  }

  commandable(): ReadonlyMap<string, readonly CommandableSignal[]> {
    return this.#commandable;
  }

  refusal({ device, signal, value, preconditions }: Command): ReturnType<Commanded["refusal"]> {
    const config = this.#options.devices[device]!.commands.signals[signal];
    const rule = `devices.${device}.commands.signals.${signal}`;
    if (!config) return { rule: `devices.${device}.commands.signals`, reason: `there is no ${signal}` };
    if (preconditions.length > 0) {
      const reason =
        "Holdfast does not read the signals of an MQTT device, so it cannot check a precondition";
      return { rule: "preconditions", reason };
    }
    const shown = JSON.stringify(value);
    if (!isOfType(config.type, value))
      return { rule: `${rule}.type`, reason: `${shown} is no ${config.type}` };
    if (typeof value !== "number") return null;
    if (config.min !== undefined && value < config.min) {
      return { rule: `${rule}.min`, reason: `${shown} is below ${config.min}` };
    }
    if (config.max !== undefined && value > config.max) {
      return { rule: `${rule}.max`, reason: `${shown} is above ${config.max}` };
    }
    return null;
  }

  async execute(command: Command, onSent: () => void, signal: AbortSignal): Promise<CommandOutcome> {
    const refusal = this.refusal(command);
    if (refusal) return { kind: "refused", ...refusal };
    const { id, device, value, answerWithinMs } = command;
    const { whenAway } = this.#options.devices[device]!.commands;
    const topic = this.#topic(device, command.signal);
    const envelope = { id, signal: command.signal, value, answerWithinMs };
    const { promise, resolve } = Promise.withResolvers<CommandOutcome>();
    this.#waiting.set(id, { device, answer: (reply) => resolve(outcomeOf(reply)) });
    const timer = this.#options.clock.after(answerWithinMs, () =>
      resolve({ kind: "unknown", reason: `no reply from ${device} within ${answerWithinMs} ms` }),
    );
    const stopping = () => resolve({ kind: "unknown", reason: "the gateway stopped before the reply" });
    signal.addEventListener("abort", stopping, { once: true });
    try {
      const queue = whenAway === "queue";
      const payload = Buffer.from(JSON.stringify(envelope));
      const went = this.#options.send({ device, topic, payload, queue, onSent });
      if (went === "nobody") {
        return {
          kind: "unreachable",
          reason: `${device} is not connected, or does not subscribe to ${topic}`,
        };
      }
      if (went === "several") {
        const reason = `several connections of ${device} subscribe to ${topic}, and one command would become several`;
        return { kind: "refused", rule: `devices.${device}.commands.topic`, reason };
      }
      return await promise;
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", stopping);
      this.#waiting.delete(id);
    }
  }

  /** Whether it can be reached, by evidence; null for a device of another kind. */
  presence(device: string): { readonly reachable: boolean; readonly detail: string } | null {
    if (!this.#commandable.has(device)) return null;
    const { whenAway, signals } = this.#options.devices[device]!.commands;
    const topics = Object.keys(signals).map((signal) => this.#topic(device, signal));
    const reachable = whenAway === "queue" || topics.some((topic) => this.#options.reaches(device, topic));
    return { reachable, detail: reachable ? "connected" : `${device} does not subscribe to its commands` };
  }

  #topic(device: string, signal: string): string {
    const { topic } = this.#options.devices[device]!.commands;
    return topic.replaceAll("{device}", device).replaceAll("{signal}", signal);
  }

  async probe({ id, device }: Command): Promise<ProbeOutcome> {
    const reply = this.#late.get(lateKey(device, id));
    if (!reply) return { kind: "cannot say", reason: `${device} has not replied to it` };
    if (reply.status === "failed") return { kind: "failed", reason: evidenceOf(reply), value: reply.value };
    return { kind: "done", evidence: evidenceOf(reply), value: reply.value };
  }

  /** Lets everything in as it is, and looks for replies on the way. */
  listening(intake: Accepting): Accepting {
    return {
      accept: (draft: Draft, signal?: AbortSignal): Promise<Receipt> => {
        this.#look(draft);
        return intake.accept(draft, signal);
      },
    };
  }

  #look({ device, topic, payload }: Draft): void {
    const config = Object.hasOwn(this.#options.devices, device) ? this.#options.devices[device] : undefined;
    if (!config || !topicMatches(config.commands.replyTopic.replaceAll("{device}", device), topic)) return;
    const json = parseJson(payload);
    if (json === null || typeof json !== "object") return;
    const { id, status, value, reason } = json as Record<string, unknown>;
    if (typeof id !== "string" || (status !== "done" && status !== "accepted" && status !== "failed")) return;
    const reply: Reply = {
      status,
      value: isValue(value) ? value : undefined,
      reason: typeof reason === "string" ? reason : null,
    };
    const waiting = this.#waiting.get(id);
    if (waiting?.device === device) {
      waiting.answer(reply);
      return;
    }
    this.#late.set(lateKey(device, id), reply);
    if (this.#late.size > LATE_MAX) this.#late.delete(this.#late.keys().next().value!);
  }
}

function lateKey(device: string, id: string): string {
  return `${device}\n${id}`;
}

function evidenceOf({ status, reason }: Reply): string {
  return `the device replied ${status}${reason === null ? "" : `: ${reason}`}`;
}

function outcomeOf(reply: Reply): CommandOutcome {
  const { status, value } = reply;
  if (status === "failed") return { kind: "failed", reason: evidenceOf(reply), value };
  return { kind: status === "done" ? "verified" : "acknowledged", evidence: evidenceOf(reply), value };
}

function isValue(value: unknown): value is CommandValue {
  return value === null || ["boolean", "number", "string"].includes(typeof value);
}

function isOfType(type: string, value: CommandValue): boolean {
  switch (type) {
    case "none":
      return value === null;
    case "bool":
      return typeof value === "boolean";
    case "int":
      return Number.isSafeInteger(value);
    case "float":
      return typeof value === "number" && Number.isFinite(value);
    default:
      return typeof value === "string";
  }
}
