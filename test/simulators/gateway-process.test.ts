import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { embeddedConfig } from "../../simulators/embedded-config.ts";
import { gatewayFigures, messageStory, tellStory } from "../../simulators/gateway-figures.ts";
import { GatewayProcess } from "../../simulators/gateway-process.ts";
import { RawMqttClient } from "../../simulators/machines/raw-mqtt-client.ts";
import { OutboxReader } from "../../simulators/outbox-reader.ts";
import { scenarioSchema } from "../../simulators/scenario.ts";
import { capability } from "../support/capabilities.ts";

const wide = capability("wide");
let dir: string;
let gateway: GatewayProcess | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "holdfast-process-"));
});
afterEach(async () => {
  await gateway?.stop();
  rmSync(dir, { recursive: true, force: true });
});

const alive = (pid: number) => existsSync(`/proc/${pid}`);

function make(config: object, onCrash?: (how: string) => void): GatewayProcess {
  const scenario = scenarioSchema.parse({ machines: [{}], backend: { type: "file" }, gateway: { config } });
  gateway = new GatewayProcess({ config: stringify(embeddedConfig(scenario)), dir, onCrash });
  return gateway;
}

async function publish(port: number, n: number): Promise<void> {
  const client = await RawMqttClient.connect({ port, clientId: "press" });
  await client.publish({ topic: "plant/press", payload: JSON.stringify({ id: `press-${n}`, n }), qos: 1 });
  await client.disconnect();
}

/** A process takes a second to start, and many times that on a machine that is busy with something else. */
const SLOW_MS = 90_000;

describe("a gateway as a process of its own", () => {
  test(
    "survives kill -9 with what it had acknowledged, and is missed when it ends by itself",
    async () => {
      const crashes: string[] = [];
      const crashed = Promise.withResolvers<void>();
      // Paused: what is published stays in the store.
      const process = make({ flows: { all: { paused: true } } }, (how) => {
        crashes.push(how);
        crashed.resolve();
      });
      await process.start();
      await publish(process.address("tcp")!.port, 1);
      const pid = process.pid!;
      await process.kill();
      expect(process.up).toBe(false);
      expect(alive(pid)).toBe(false);

      await process.start();
      await publish(process.address("tcp")!.port, 2);
      const { host, port } = process.address("http")!;
      const http = `http://${host}:${port}`;
      expect(await gatewayFigures(http)).toMatchObject({ accepted: 2, open: 2, dead: 0, balanced: true });
      const story = await messageStory(http, "press-1");
      expect(story?.deliveries).toMatchObject([{ flow: "all", state: "waiting" }]);
      expect(tellStory(story!)).toContain("now waiting on all");
      expect(await messageStory(http, "nobody-1")).toBeNull();

      expect(crashes).toEqual([]);
      globalThis.process.kill(process.pid!, "SIGKILL");
      await crashed.promise;
      expect(crashes).toEqual(["by SIGKILL"]);
    },
    SLOW_MS,
  );

  test.skipIf(!wide.present)(
    "writes to its outbox, which reads back as arrivals",
    async () => {
      const process = make({});
      await process.start();
      await publish(process.address("tcp")!.port, 1);
      await process.stop();
      const reader = new OutboxReader(join(process.dataDir, "outbox"));
      expect(reader.arrivals().map(({ topic, payload }) => [topic, JSON.parse(String(payload))])).toEqual([
        ["plant/press", { id: "press-1", n: 1 }],
      ]);
      expect(reader.arrivals()).toHaveLength(1);
    },
    SLOW_MS,
  );

  test(
    "ends when what started it is killed",
    async () => {
      const holder = spawn(process.execPath, [join(import.meta.dirname, "gateway-holder.ts"), dir], {
        stdio: ["pipe", "pipe", "inherit"],
      });
      try {
        const [line] = (await once(holder.stdout, "data")) as [Buffer];
        const pid = Number(line);
        expect(alive(pid)).toBe(true);
        holder.kill("SIGKILL");
        await expect.poll(() => alive(pid), { timeout: 10_000 }).toBe(false);
      } finally {
        holder.kill("SIGKILL");
      }
    },
    SLOW_MS,
  );

  test.skipIf(!wide.present)(
    "that does not start says why",
    async () => {
      await expect(make({ flows: { all: { to: "nowhere" } } }).start()).rejects.toThrow("nowhere");
    },
    SLOW_MS,
  );
});
