/** Targets on the bench: each kind with its misbehaving backend and, on a network, a link between. */
import { rmSync } from "node:fs";
import type { BackendMode } from "../../simulators/backends/backend.ts";
import { HttpBackend, type HttpBackendOptions } from "../../simulators/backends/http-backend.ts";
import { MqttBackend, type MqttBackendOptions } from "../../simulators/backends/mqtt-backend.ts";
import { TcpProxy } from "../../simulators/backends/tcp-proxy.ts";
import { FileTarget } from "../../src/targets/file.ts";
import { fileTargetSchema } from "../../src/targets/file-options.ts";
import { HttpTarget } from "../../src/targets/http.ts";
import { httpTargetSchema } from "../../src/targets/http-options.ts";
import { MqttTarget } from "../../src/targets/mqtt.ts";
import { mqttTargetSchema } from "../../src/targets/mqtt-options.ts";
import type { Target } from "../../src/targets/target.ts";
import type { Bench } from "./conformance.ts";
import { makeContext, tempFolder } from "./deliveries.ts";
import { FolderBackend } from "./folder-backend.ts";

/** How long a hasty target waits for a backend that says nothing. */
const HASTY_MS = 200;
const PATIENT_MS = 10_000;
const SLOW_MS = 30;

async function networkBench(
  backend: HttpBackend | MqttBackend,
  make: (address: { host: string; port: number }, limitMs: number) => Target,
  what: { readonly modes: readonly BackendMode[]; readonly canReject: boolean },
): Promise<Bench> {
  const { hostname, port } = new URL((await backend.start()).url);
  const link = new TcpProxy({ to: { host: hostname, port: Number(port) } });
  await link.start();
  const targets: Target[] = [];
  return {
    ...what,
    backend,
    link,
    async createTarget(patience) {
      const target = make(link, patience === "hasty" ? HASTY_MS : PATIENT_MS);
      targets.push(target);
      await target.start();
      return target;
    },
    async dispose() {
      await Promise.all(targets.map((target) => target.stop()));
      await link.stop();
      await backend.stop();
    },
  };
}

const EVERY_MODE: readonly BackendMode[] = [
  "ok",
  "slow",
  "silent",
  "drop",
  "commit-then-silent",
  "commit-then-drop",
  "failing",
  "busy",
  "reject-one",
];

export function httpBench(
  options: Record<string, unknown> = {},
  backend: HttpBackendOptions = {},
): Promise<Bench> {
  return networkBench(
    new HttpBackend({ slowMs: SLOW_MS, ...backend }),
    ({ host, port }, limitMs) =>
      new HttpTarget(
        httpTargetSchema.parse({
          type: "http",
          url: `http://${host}:${port}/messages`,
          connectTimeout: limitMs,
          requestTimeout: limitMs,
          ...options,
        }),
        makeContext(),
      ),
    { modes: EVERY_MODE, canReject: true },
  );
}

export function mqttBench(
  options: Record<string, unknown> = {},
  backend: MqttBackendOptions = {},
  modes: readonly BackendMode[] = EVERY_MODE,
): Promise<Bench> {
  return networkBench(
    new MqttBackend({ slowMs: SLOW_MS, ...backend }),
    ({ host, port }, limitMs) =>
      new MqttTarget(
        mqttTargetSchema.parse({
          type: "mqtt",
          url: `mqtt://${host}:${port}`,
          connectTimeout: limitMs,
          ackTimeout: limitMs,
          // Under 3.1.1 the id travels in the envelope.
          payload: options.protocol === 5 ? "raw" : "envelope",
          ...options,
        }),
        makeContext(),
      ),
    { modes, canReject: options.protocol === 5 },
  );
}

export async function fileBench(options: Record<string, unknown> = {}): Promise<Bench> {
  const dataDir = tempFolder();
  const backend = new FolderBackend(`${dataDir}/outbox`);
  const targets: Target[] = [];
  return {
    backend,
    link: null,
    modes: ["ok", "failing", "drop", "commit-then-drop"],
    canReject: false,
    async createTarget() {
      const target = new FileTarget(
        fileTargetSchema.parse({ type: "file", ...options }),
        makeContext({ dataDir }),
        backend.disk,
      );
      targets.push(target);
      await target.start();
      return target;
    },
    async dispose() {
      await Promise.all(targets.map((target) => target.stop()));
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
