import { describe, expect, it } from "vitest";
import { silentLogger } from "../../src/core/logger.ts";
import { topicLevel, topicNameProblem } from "../../src/core/topic.ts";
import { Publisher } from "../../src/watch/publisher.ts";
import type { DeviceFacts, Publish } from "../../src/watch/sources.ts";
import { ManualClock } from "../support/manual-clock.ts";

interface Said {
  topic: string;
  payload: string;
  retain: boolean;
}

function setUp(options: { deviceTopicsMax?: number; publish?: Publish } = {}) {
  const clock = new ManualClock();
  const said: Said[] = [];
  const record: Publish = async (topic, payload, { retain }) => void said.push({ topic, payload, retain });
  const publisher = new Publisher({
    gateway: "line-3",
    config: { deviceTopicsMax: options.deviceTopicsMax ?? 500, deviceInterval: 30_000 },
    publish: options.publish ?? record,
    clock,
    logger: silentLogger,
  });
  return { clock, said, publisher };
}

function device(name: string, facts: Partial<DeviceFacts> = {}): DeviceFacts {
  return {
    device: name,
    online: true,
    lastMessageAtMs: null,
    messages: 1,
    duplicates: 0,
    late: 0,
    refused: 0,
    ...facts,
  };
}

describe("the publisher", () => {
  it("keeps status and health as retained messages under the gateway's name", async () => {
    const { publisher, said } = setUp();
    publisher.status("online");
    publisher.health({ verdict: "ok" });
    await publisher.settled();
    expect(said).toEqual([
      { topic: "holdfast/line-3/status", payload: "online", retain: true },
      { topic: "holdfast/line-3/health", payload: '{"verdict":"ok"}', retain: true },
    ]);
  });

  it("says of a device whether it is online, when it last spoke and how often", async () => {
    const { publisher, said, clock } = setUp();
    publisher.devices([device("press-7", { messages: 10 })]);
    await publisher.settled();
    clock.advance(30_000);
    publisher.devices([device("press-7", { messages: 70, duplicates: 2, lastMessageAtMs: 5 })]);
    await publisher.settled();
    expect(said.map(({ topic }) => topic)).toEqual(Array(2).fill("holdfast/line-3/devices/press-7/health"));
    expect(JSON.parse(said[1]!.payload)).toEqual({
      device: "press-7",
      online: true,
      lastMessageAtMs: 5,
      messages: 70,
      late: 0,
      duplicates: 2,
      refused: 0,
      messagesPerSecond: 2,
    });
  });

  it("says it at once when a device goes, and not again while nothing changes", async () => {
    const { publisher, said, clock } = setUp();
    publisher.devices([device("press-7")]);
    clock.advance(1000);
    publisher.devices([device("press-7", { online: false })]);
    for (let i = 0; i < 100; i++) {
      clock.advance(1000);
      publisher.devices([device("press-7", { online: false })]);
    }
    await publisher.settled();
    expect(said.map(({ payload }) => JSON.parse(payload).online)).toEqual([true, false]);
  });

  it("says once that a device which spoke has fallen silent", async () => {
    const { publisher, said, clock } = setUp();
    for (const messages of [1, 31, 61, 61, 61, 61]) {
      publisher.devices([device("press-7", { messages })]);
      await publisher.settled();
      clock.advance(30_000);
    }
    expect(said.map(({ payload }) => JSON.parse(payload).messagesPerSecond)).toEqual([null, 1, 1, 0]);
  });

  it("gives topics to no more devices than allowed, and counts those left out", async () => {
    const { publisher, said } = setUp({ deviceTopicsMax: 2 });
    publisher.devices(["a", "b", "c"].map((name) => device(name)));
    await publisher.settled();
    expect(said).toHaveLength(2);
    expect(publisher.devicesLeftOut).toBe(1);
  });

  it("gives no topic to one that only listens", async () => {
    const { publisher, said } = setUp();
    publisher.devices([device("panel", { messages: 0 }), device("refused", { messages: 0, refused: 1 })]);
    await publisher.settled();
    expect(said.map(({ topic }) => topic)).toEqual(["holdfast/line-3/devices/refused/health"]);
  });

  it("lets one that is online take the place of one that is not, and never the other way round", async () => {
    const { publisher, said } = setUp({ deviceTopicsMax: 2 });
    const known = [device("a"), device("gone", { online: false }), device("old", { online: false })];
    publisher.devices(known);
    publisher.devices([...known, device("new")]);
    publisher.devices([...known, device("new")]);
    await publisher.settled();
    const names = said.map(
      ({ topic, payload }) => `${topic.split("/")[3]}${payload === "" ? " cleared" : ""}`,
    );
    expect(names.sort()).toEqual(["a", "gone", "gone cleared", "new"]);
  });

  it("takes back what an earlier run said of devices, but not of those that are back", async () => {
    const { publisher, said, clock } = setUp();
    const stale = Array.from({ length: 70 }, (_, at) => `holdfast/line-3/devices/d${at}/health`);
    publisher.takeBack(stale);
    for (let tick = 0; tick < 3; tick++) {
      publisher.devices([device("d3")]);
      await publisher.settled();
      expect(said.length).toBeLessThanOrEqual(50 * (tick + 1));
      clock.advance(1000);
    }
    expect(said.filter(({ payload }) => payload === "").map(({ topic }) => topic)).toEqual(
      stale.filter((topic) => !topic.includes("/d3/")),
    );
    expect(said.filter(({ topic }) => topic.includes("/d3/"))).toHaveLength(1);
  });

  it("publishes at most fifty devices a tick, and reaches all of them", async () => {
    const { publisher, said, clock } = setUp();
    const fleet = Array.from({ length: 120 }, (_, at) => device(`d${at}`));
    for (const expected of [50, 100, 120, 120]) {
      publisher.devices(fleet);
      await publisher.settled();
      expect(said).toHaveLength(expected);
      clock.advance(1000);
    }
  });

  it("clears the topic of a device that is no longer known", async () => {
    const { publisher, said } = setUp();
    publisher.devices([device("press-7")]);
    publisher.devices([]);
    await publisher.settled();
    expect(said.at(-1)).toEqual({
      topic: "holdfast/line-3/devices/press-7/health",
      payload: "",
      retain: true,
    });
  });

  it("is not held up by a publish that hangs: of what comes meanwhile only the newest goes out", async () => {
    const taken: string[] = [];
    const gate = Promise.withResolvers<void>();
    const { publisher } = setUp({
      publish: async (_topic, payload) => {
        taken.push(payload);
        await gate.promise;
      },
    });
    for (let n = 1; n <= 5; n++) publisher.health({ n });
    publisher.status("online");
    expect(taken).toEqual(['{"n":1}', "online"]);
    gate.resolve();
    await publisher.settled();
    expect(taken).toEqual(['{"n":1}', "online", '{"n":5}']);
  });

  it("goes on after a publish that failed", async () => {
    let failures = 0;
    const { publisher } = setUp({
      publish: async () => {
        failures += 1;
        throw new Error("closed");
      },
    });
    publisher.status("online");
    await publisher.settled();
    publisher.status("offline");
    await publisher.settled();
    expect(failures).toBe(2);
  });
});

describe("a device's name as a topic level", () => {
  it.each([
    ["press-7", "press-7"],
    ["Presse Süd 3", "Presse Süd 3"],
    ["line/3", "line%2F3"],
    ["100%", "100%25"],
    ["a+b#c", "a%2Bb%23c"],
    ["nul\u0000", "nul%00"],
    ["\ud800", "%EF%BF%BD"],
  ])("%j becomes %j", (name, level) => {
    expect(topicLevel(name)).toBe(level);
    expect(topicNameProblem(`holdfast/g/devices/${level}/health`)).toBeNull();
  });
});
