/** A gateway without a collector makes no span and passes on what comes; the config says what is wrong, and where. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { MqttBackend } from "../../simulators/backends/mqtt-backend.ts";
import { configSchema, loadConfig, printable } from "../../src/config.ts";
import { type Random, systemRandom } from "../../src/core/random.ts";
import { Gateway } from "../../src/gateway.ts";
import { OtlpReceiver } from "../support/otlp-receiver.ts";
import { scratchFolder } from "../support/test-store.ts";

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const STATE = "vendor=a%2Fb,other=1";
const MESSAGES = 8;

/** How often chance is asked for bytes: once for the id of a message, and once more for each span of it. */
function countingRandom(): { random: Random; filled: () => number } {
  const system = systemRandom();
  let filled = 0;
  const fill: Random["fill"] = (bytes) => {
    filled += 1;
    system.fill(bytes);
  };
  return { random: { ...system, fill }, filled: () => filled };
}

/** Carries some messages; answers with what both backends were told, and what it cost. */
async function carry(telemetry: object) {
  const http = new HttpBackend();
  const mqtt = new MqttBackend();
  const [{ url }, { url: brokerUrl }] = await Promise.all([http.start(), mqtt.start()]);
  const { random, filled } = countingRandom();
  const config = configSchema.parse({
    telemetry,
    broker: { listeners: [{ type: "tcp", port: 0 }] },
    web: { port: 0 },
    targets: {
      one: { type: "http", url: `${url}/messages` },
      broker: { type: "mqtt", url: brokerUrl, protocol: 5 },
    },
    flows: { one: { from: "plant/#", to: "one" }, broker: { from: "plant/#", to: "broker" } },
  });
  const gateway = new Gateway({ config, dataDir: scratchFolder(), random });
  onTestFinished(async () => {
    await gateway.stop();
    await Promise.all([http.stop(), mqtt.stop()]);
  });
  await gateway.start();
  const { port } = gateway.addresses().find(({ name }) => name === "http")!;
  const before = filled();
  for (let n = 0; n < MESSAGES; n++) {
    const { status } = await fetch(`http://127.0.0.1:${port}/v1/messages`, {
      method: "POST",
      headers: { "content-type": "application/json", traceparent: TRACEPARENT, tracestate: STATE },
      body: JSON.stringify({ topic: "plant/press-7", payload: { n } }),
    });
    expect(status).toBe(202);
  }
  const published = () => mqtt.packets.flatMap((packet) => (packet.cmd === "publish" ? [packet] : []));
  await vi.waitUntil(() => http.requests.length === MESSAGES && published().length === MESSAGES, {
    timeout: 20_000,
    interval: 20,
  });
  const { headers } = http.requests[0]!;
  const user = published()[0]!.properties!.userProperties!;
  return {
    told: [headers.traceparent, headers.tracestate, user.traceparent, user.tracestate],
    cost: filled() - before,
    metrics: await (await fetch(`http://127.0.0.1:${port}/metrics`)).text(),
  };
}

describe("a gateway", () => {
  it("without a collector passes a trace on as it came, and does nothing for it", async () => {
    const collector = await new OtlpReceiver().start();
    onTestFinished(() => collector.stop());
    const { told, cost, metrics } = await carry({});
    expect(told).toEqual([TRACEPARENT, STATE, TRACEPARENT, STATE]);
    expect(cost).toBeLessThan(MESSAGES * 2);
    expect(metrics).not.toContain("holdfast_trace_spans_total{");
    expect(collector.requests).toEqual([]);
    // With one it is another gateway: that is what was looked for.
    const traced = await carry({ traces: { endpoint: collector.url, interval: "50ms" } });
    expect(traced.told[0]).not.toBe(TRACEPARENT);
    expect(traced.told[2]).not.toBe(TRACEPARENT);
    expect(traced.cost).toBeGreaterThanOrEqual(MESSAGES * 4);
    await collector.until("its spans", () => collector.spans.length > 0);
    await vi.waitUntil(() => collector.spans.length >= MESSAGES * 4, { timeout: 10_000 });
  });
});

describe("the config of traces", () => {
  async function load(text: string, env: Record<string, string> = {}) {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-traces-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const path = join(folder, "holdfast.yaml");
    writeFileSync(path, text);
    return loadConfig({ path, env, cwd: folder });
  }

  it("says what is wrong, by line", async () => {
    const text = [
      "telemetry:",
      "  traces:",
      "    endpoint: collector:4318",
      "    sampleRatio: 2",
      "    queueBytesMax: 10B",
      "    headers: { authorization: Bearer x }",
      "    samplerate: 1",
    ].join("\n");
    const problem = await load(text).then(
      () => "",
      (error: Error) => error.message,
    );
    const lines = problem
      .split("\n")
      .slice(1)
      .map((line) => line.trim());
    expect(lines).toEqual([
      expect.stringMatching(/^holdfast\.yaml:3:\d+: telemetry\.traces\.endpoint: .*http:\/\//),
      expect.stringMatching(/^holdfast\.yaml:4:\d+: telemetry\.traces\.sampleRatio: .*0 to 1/),
      expect.stringMatching(/^holdfast\.yaml:5:\d+: telemetry\.traces\.queueBytesMax: .*1\.0 KiB/),
      expect.stringMatching(/^holdfast\.yaml:6:\d+: telemetry\.traces\.headers\.authorization: .*use auth/),
      expect.stringMatching(/^holdfast\.yaml:7:\d+: telemetry\.traces\.samplerate: .*sampleRatio/),
    ]);
  });

  it("takes its secrets from the environment, and never shows them", async () => {
    const text = `telemetry: { traces: { endpoint: "\${URL}", auth: { type: bearer, token: "\${TOKEN}" } } }`;
    const { config } = await load(text, { URL: "https://collector.example/otlp", TOKEN: "s3cret" });
    expect(config.telemetry.traces).toMatchObject({
      endpoint: "https://collector.example/otlp",
      auth: { token: "s3cret" },
    });
    expect(JSON.stringify(printable(config))).not.toContain("s3cret");
  });
});
