/** Commands from a real mosquitto upstream, and their results back to it. */
import { rmSync } from "node:fs";
import { connectAsync, type IClientPublishOptions, type MqttClient } from "mqtt";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CommandResult } from "../../src/core/command-message.ts";
import type { TrailRow } from "../../src/queue/queries-commands.ts";
import { capability } from "../support/capabilities.ts";
import { eventually, Journey, shared } from "../support/journey.ts";
import { PACKER_COMMANDS, Packer } from "../support/packer.ts";
import { tempFolder } from "../targets/deliveries.ts";
import { freePort, Mosquitto } from "../targets/mosquitto.ts";

const program = capability("mosquitto");
const COMMANDS = "site/commands";

interface Told {
  readonly topic: string;
  readonly result: CommandResult;
  readonly correlation: string | undefined;
  readonly trace: unknown;
}

describe.skipIf(!program.present)("commands from a real mosquitto upstream", () => {
  const folder = tempFolder();
  let mosquitto: Mosquitto;
  let scada: MqttClient;
  const told: Told[] = [];
  const packer = new Packer("packer-1");

  beforeAll(async () => {
    mosquitto = new Mosquitto(folder, await freePort());
    await mosquitto.start();
    scada = await connectAsync({ host: "127.0.0.1", port: mosquitto.port, protocolVersion: 5 });
    scada.on("message", (topic, payload, { properties }) => {
      const correlation = properties?.correlationData?.toString();
      const trace = properties?.userProperties?.traceparent;
      told.push({ topic, result: JSON.parse(payload.toString()) as CommandResult, correlation, trace });
    });
    await scada.subscribeAsync("site/results/#", { qos: 1 });
  });
  afterAll(async () => {
    await scada?.endAsync(true);
    await packer.disconnect();
    await mosquitto?.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  const gateway = shared(async () => {
    const upstream = {
      url: `mqtt://127.0.0.1:${mosquitto.port}`,
      allow: [{ devices: ["packer-1"], signals: ["speed"] }],
      replyTopics: ["site/results/#"],
    };
    const journey = await Journey.start({
      config: {
        targets: { outbox: { type: "file" } },
        flows: { all: { from: "plant/#", to: "outbox" } },
        devices: {
          "packer-1": { type: "mqtt", commands: PACKER_COMMANDS },
          "packer-2": { type: "mqtt", commands: PACKER_COMMANDS },
        },
        commands: {
          answerWithin: "500ms",
          upstreams: {
            scada: { ...upstream, topic: COMMANDS },
            old: { ...upstream, protocol: "3.1.1", topic: "site/old", replyTopic: "site/results/old" },
          },
        },
      },
    });
    await packer.connect(journey.port);
    await eventually("both upstreams are subscribed to", async () => {
      const { targets } = (await journey.status()).health;
      return targets.filter(({ target }) => target.startsWith("$result/")).length === 2;
    });
    return journey;
  });

  const publish = (body: object | string, options: IClientPublishOptions = {}, topic = COMMANDS) => {
    const payload = typeof body === "string" ? body : JSON.stringify(body);
    return scada.publishAsync(topic, payload, { qos: 1, ...options });
  };
  const asked = (id: string, value: number, more = {}) => {
    return { id, device: "packer-1", signal: "speed", value, ...more };
  };
  const resultsOf = (id: string) => told.filter(({ result }) => result.id === id);
  const answered = (id: string, state: string) =>
    eventually(`${id} is answered with ${state}`, () =>
      resultsOf(id).find(({ result }) => result.state === state),
    );
  const replyingTo = (responseTopic: string, correlation = "c-1"): IClientPublishOptions => {
    return { properties: { responseTopic, correlationData: Buffer.from(correlation) } };
  };

  test("are carried out, and their result goes to their response topic with their correlation data", async () => {
    gateway();
    await publish(asked("a1", 40), replyingTo("site/results/me"));
    const { topic, correlation, result } = await answered("a1", "verified");
    expect([topic, correlation]).toEqual(["site/results/me", "c-1"]);
    expect(result).toMatchObject({ device: "packer-1", signal: "speed", value: 40, final: true });
    expect(result.detail).toBe("the device replied done (40)");
    expect(packer.executions.at(-1)).toMatchObject({ id: result.command, value: 40 });
  });

  test("under MQTT 3.1.1 say in their envelope where the result goes, or the config does", async () => {
    await publish(asked("b1", 41, { replyTo: "site/results/there" }), {}, "site/old");
    expect((await answered("b1", "verified")).topic).toBe("site/results/there");
    await publish(asked("b2", 42), {}, "site/old");
    expect((await answered("b2", "verified")).topic).toBe("site/results/old");
  });

  test("bring their trace with them, and their result takes it back; what is none is ignored", async () => {
    const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const with5 = (traceparent: string) => {
      return { properties: { responseTopic: "site/results/me", userProperties: { traceparent } } };
    };
    await publish(asked("t1", 23), with5(trace));
    await publish(asked("t2", 24), with5("00-0-0-00"));
    await publish(asked("t3", 25, { traceparent: trace }), {}, "site/old");
    const result = await answered("t1", "verified");
    expect(result.trace).toBe(trace);
    expect((await answered("t2", "verified")).trace).toBeUndefined();
    const old = await answered("t3", "verified");
    const { message } = await gateway().message(old.result.command!);
    expect(message.traceparent).toBe(trace);
  });

  test("that come again are carried out once, and answered again", async () => {
    await publish(asked("c1", 43), replyingTo("site/results/me"));
    await answered("c1", "verified");
    for (let n = 0; n < 2; n++) await publish(asked("c1", 43), replyingTo("site/results/me"));
    await eventually("each of them is answered", () => resultsOf("c1").length === 3);
    expect(packer.executions.filter(({ value }) => value === 43)).toHaveLength(1);
    expect(new Set(resultsOf("c1").map(({ result }) => result.command)).size).toBe(1);
    await publish(asked("c1", 44), replyingTo("site/results/me"));
    expect((await answered("c1", "refused")).result.detail).toMatch(/^id: /);
  });

  test.each([
    ["d1", { signal: "step" }, /^commands\.upstreams\.scada\.allow: /],
    ["d2", { device: "packer-2" }, /^commands\.upstreams\.scada\.allow: /],
    ["d3", { value: 500 }, /speed\.max: 500 is above 120/],
    ["d4", { ttl: "soon" }, /^envelope: ttl: /],
    ["d5", { expiresAt: "2026-01-02T00:00:00Z" }, /^expiresAt: /],
  ])("are refused by the rule they break, on record and to their sender: %s %o", async (id, more, rule) => {
    await publish(asked(id, 1, more), replyingTo("site/results/me"));
    expect((await answered(id, "refused")).result.detail).toMatch(rule);
    const response = await fetch(`${gateway().http}/v1/audit?limit=1`);
    const { entries } = (await response.json()) as { entries: TrailRow[] };
    expect(entries[0]).toMatchObject({ event: "refused", door: "mqtt", by: "scada" });
  });

  test("without a name, kept by the broker, or answered elsewhere than allowed, are not taken", async () => {
    const before = packer.executions.length;
    await publish(
      { device: "packer-1", signal: "speed", value: 50 },
      { properties: { responseTopic: "site/results/no-id" } },
    );
    await publish(asked("e1", 51), replyingTo("other/place"));
    await publish("no JSON", replyingTo("site/results/no-json"));
    await eventually("each is refused", () =>
      ["site/results/no-id", "site/results/no-json"].every((topic) =>
        told.some((each) => each.topic === topic),
      ),
    );
    // A later one is carried out, so the one before it has been dealt with.
    await publish(asked("e2", 52), replyingTo("site/results/me"));
    await answered("e2", "verified");
    expect(packer.executions.slice(before).map(({ value }) => value)).toEqual([52]);
    // Each is on record with what it asked for, as far as that could be read.
    const audit = await (await fetch(`${gateway().http}/v1/audit?limit=20`)).json();
    const refused = (audit as { entries: { event: string; value: unknown }[] }).entries.filter(
      ({ event }) => event === "refused",
    );
    expect(refused.slice(0, 3).map(({ value }) => value)).toEqual([null, 51, 50]);
  });

  test.skipIf(!capability("wide").present)(
    "and their results survive kill -9, and are taken while the gateway is down",
    async () => {
      const journey = gateway();
      packer.mode = "silent";
      await publish(asked("f1", 60), replyingTo("site/results/me"));
      await eventually("it is carried out", () => packer.executions.some(({ value }) => value === 60));
      await journey.process.kill();
      await publish(asked("f2", 61), replyingTo("site/results/me"));
      packer.mode = "done";
      await journey.process.start();
      expect((await answered("f1", "unknown")).result).toMatchObject({ final: false });
      await packer.connect(journey.port);
      await packer.reply(resultsOf("f1")[0]!.result.command!, "done");
      expect((await answered("f1", "verified")).result).toMatchObject({ final: true });
      await answered("f2", "verified");
      for (const value of [60, 61]) {
        expect(packer.executions.filter((each) => each.value === value)).toHaveLength(1);
      }
      expect(await journey.audited()).toMatchObject({ state: "balanced" });
    },
  );
});
