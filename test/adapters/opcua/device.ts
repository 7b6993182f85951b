/** OPC UA devices in front of a server whose stack is not ours, with an intake that writes down what it is given. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { OpcuaAdapter } from "../../../src/adapters/opcua/opcua.ts";
import { type OpcuaDeviceConfig, opcuaDeviceSchema } from "../../../src/adapters/opcua/schema.ts";
import { readingsMessage, type Value } from "../../../src/adapters/readings.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/logger.ts";
import { seededRandom } from "../../../src/core/random.ts";
import type { Draft } from "../../../src/intake/draft.ts";
import { eventually } from "../../support/journey.ts";

export type Raw = Record<string, unknown>;

export const NODES = {
  level: { node: "ns=1;s=Tank.Level", unit: "l" },
  speed: { node: "ns=1;s=Motor.Speed" },
};

export function deviceAt(endpoint: string, more: Raw = {}, group: Raw = {}): OpcuaDeviceConfig {
  return opcuaDeviceSchema.parse({
    type: "opcua",
    endpoint,
    security: { mode: "None" },
    // Answers take their time where the machine has other things to do; silence is told by this too.
    timeout: "5s",
    keepAlive: "500ms",
    backoffMax: "600ms",
    groups: { fast: { every: "50ms", sampling: "0ms", queueSize: 100, nodes: NODES, ...group } },
    ...more,
  });
}

export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-opcua-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A device and its messages, as somebody downstream sees them. */
export class Watching {
  readonly adapter: OpcuaAdapter;
  readonly drafts: Draft[] = [];
  readonly dataDir: string;
  readonly #waiting: (() => void)[] = [];
  #takes = true;

  constructor(device: OpcuaDeviceConfig, dataDir = scratchFolder()) {
    this.dataDir = dataDir;
    this.adapter = new OpcuaAdapter(
      { plant: device },
      {
        intake: {
          accept: async (draft) => {
            if (!this.#takes) await new Promise<void>((resolve) => this.#waiting.push(resolve));
            this.drafts.push(draft);
            return { kind: "stored", id: draft.producerId!, seq: this.drafts.length, flows: 1, late: false };
          },
        },
        boot: "boot-1",
        dataDir,
        clock: systemClock,
        random: seededRandom(1),
        logger: silentLogger,
      },
    );
    onTestFinished(() => this.adapter.stop());
  }

  static async start(device: OpcuaDeviceConfig, dataDir?: string): Promise<Watching> {
    const watching = new Watching(device, dataDir);
    await watching.adapter.start();
    return watching;
  }

  /** The store has no room, or has room again. */
  takes(takes: boolean): void {
    this.#takes = takes;
    if (takes) for (const go of this.#waiting.splice(0)) go();
  }

  get messages() {
    return this.drafts.map(({ payload }) => readingsMessage.parse(JSON.parse(payload.toString())));
  }

  get gaps() {
    return this.messages.filter((message) => message.kind === "gap");
  }

  of(signal: string) {
    return this.messages.flatMap((message) =>
      message.kind === "poll" ? (message.readings[signal] ?? []) : [],
    );
  }

  /** The good values of a signal, in order. */
  values(signal: string): Value[] {
    return this.of(signal).flatMap(({ quality, value }) => (quality === "good" ? [value] : []));
  }

  get report() {
    return this.adapter.devices()[0]!;
  }

  async until(state: string): Promise<void> {
    await eventually(`the device is ${state}`, () => this.report.state === state);
  }

  async has(signal: string, value: unknown): Promise<void> {
    await eventually(`${signal} is ${value}`, () => this.values(signal).at(-1) === value);
  }
}
