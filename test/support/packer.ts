/**
 * An MQTT device that takes commands, on a client that is not ours (mqtt.js), with a ledger of what it did. What it is
 * told twice it does twice: nobody but the gateway keeps it from that.
 */
import { connect, type MqttClient } from "mqtt";

export type PackerMode =
  | "done"
  | "accepted"
  | "failed"
  /** Does it, and says nothing. */
  | "silent"
  /** Does it, and drops the connection. */
  | "gone";

export interface Execution {
  readonly id: string;
  readonly signal: string;
  readonly value: unknown;
}

export const PACKER_COMMANDS = {
  topic: "plant/{device}/commands/{signal}",
  replyTopic: "plant/{device}/replies",
  signals: {
    speed: { type: "float", unit: "packs/min", min: 0, max: 120, idempotent: true },
    step: { type: "none" },
  },
};

export class Packer {
  readonly executions: Execution[] = [];
  mode: PackerMode = "done";
  onExecuted: (execution: Execution) => void = () => {};
  readonly #name: string;
  #client: MqttClient | null = null;

  constructor(name: string) {
    this.#name = name;
  }

  /** Resolves when it is subscribed to its commands. */
  async connect(port: number, { clean = true }: { clean?: boolean } = {}): Promise<void> {
    const client = connect({ host: "127.0.0.1", port, clientId: this.#name, clean, reconnectPeriod: 0 });
    this.#client = client;
    client.on("error", () => {});
    client.on("message", (_topic, payload) => this.#execute(JSON.parse(payload.toString()) as Execution));
    await new Promise<void>((resolve, reject) => {
      client.once("connect", () => resolve());
      client.once("close", () => reject(new Error(`${this.#name} was not let in`)));
    });
    await client.subscribeAsync(`plant/${this.#name}/commands/+`, { qos: 1 });
  }

  async disconnect(): Promise<void> {
    await this.#client?.endAsync(true);
    this.#client = null;
  }

  /** Resolves when the gateway has acknowledged the reply. */
  async reply(id: string, status: string, more: object = {}): Promise<void> {
    const payload = JSON.stringify({ id, status, ...more });
    await this.#client!.publishAsync(`plant/${this.#name}/replies`, payload, { qos: 1 });
  }

  #execute(execution: Execution): void {
    this.executions.push(execution);
    this.onExecuted(execution);
    const { id, value } = execution;
    if (this.mode === "gone") this.#client?.stream.destroy();
    else if (this.mode !== "silent") {
      const more = this.mode === "failed" ? { reason: "jammed" } : { value };
      void this.reply(id, this.mode, more).catch(() => {});
    }
  }
}
