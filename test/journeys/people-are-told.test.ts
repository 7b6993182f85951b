/**
 * People are told once when something is wrong and once when it is over, by webhook and by MQTT; over a kill, and also
 * where the way to tell them was away meanwhile.
 */
import { createHmac } from "node:crypto";
import type { IPublishPacket } from "mqtt-packet";
import { expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { MqttBackend } from "../../simulators/backends/mqtt-backend.ts";
import { capability } from "../support/capabilities.ts";
import { eventually, FLOW, Journey, reading, shared, startBackend } from "../support/journey.ts";

const KEY = Buffer.alloc(32, 7);
const TOPIC = "holdfast/journey/notifications";

interface Body {
  readonly type: string;
  readonly id: string;
  readonly text: string;
  readonly alerts: readonly { event: string; key: string; id: string }[];
}

const site = shared(async () => {
  const [backend, phone, chat, upstream] = [
    new HttpBackend(),
    new HttpBackend(),
    new HttpBackend(),
    new MqttBackend(),
  ];
  const urls = await Promise.all(
    [backend, phone, chat, upstream].map(async (each) => (await startBackend(each)).url),
  );
  const rule = { for: "0s", clearAfter: "0s" };
  const journey = await Journey.start({
    config: {
      targets: {
        backend: { type: "http", url: urls[0] },
        upstream: { type: "mqtt", url: urls[3] },
      },
      flows: { all: FLOW },
      health: { auditEvery: "1s", provenWithin: "1500ms", stalledAfter: "1s", deviceSilentAfter: "1s" },
      relay: {
        probeDelayMin: "50ms",
        probeDelayMax: "250ms",
        probeIdleEvery: "500ms",
        drainTimeout: "500ms",
      },
      notify: {
        channels: {
          phone: {
            type: "webhook",
            url: `${urls[1]}/ring?to=anna`,
            headers: { Title: "Line 3" },
            auth: { type: "bearer", token: "secret" },
            sign: { secret: `whsec_${KEY.toString("base64")}` },
            pause: "0s",
          },
          chat: { type: "webhook", url: urls[2], body: "text", severity: "alarm" },
          plant: { type: "mqtt", pause: "0s" },
          above: { type: "mqtt", topic: "sites/{gateway}/alerts", target: "upstream", pause: "0s" },
        },
        rules: { targets: rule, flows: { enabled: false }, channels: { ...rule, channels: ["plant"] } },
      },
    },
  });
  const panel = await journey.client("panel");
  await panel.subscribe(TOPIC, 1);
  return { journey, backend, phone, chat, upstream, panel };
});

const bodies = (phone: HttpBackend): Body[] => phone.requests.map(({ body }) => JSON.parse(body.toString()));
const events = (phone: HttpBackend) =>
  bodies(phone).flatMap(({ alerts }) => alerts.map(({ event, key }) => `${event} ${key}`));

/** The backend is away, and something waits for it. */
async function takeAway(): Promise<void> {
  const { journey, backend } = site();
  await backend.goAway();
  const press = await journey.client("press");
  await press.publish({ topic: "plant/press", payload: reading("press", 1), qos: 1 });
  await press.disconnect();
}

test("a webhook and topics on both brokers are told that a target is away, and that it is back", async () => {
  const { backend, phone, chat, upstream, panel } = site();
  await takeAway();
  await eventually("the phone is told", () => events(phone).length === 1);
  await backend.comeBack();
  await eventually("the phone is told that it is over", () => events(phone).length === 2);
  expect(events(phone)).toEqual(["raised target-down:backend", "resolved target-down:backend"]);
  const [raised, resolved] = bodies(phone);
  expect(raised!.text).toMatch(/^journey: target backend is away: .*ECONNREFUSED/);
  expect(resolved!.text).toMatch(/^journey: over: target backend is away/);
  expect(resolved!.alerts[0]!.id).toBe(raised!.alerts[0]!.id);
  // Alarms alone go to the chat.
  expect(chat.requests).toEqual([]);

  for (const event of ["raised", "resolved"]) {
    const { topic, payload, qos, retain } = (await panel.take("publish")) as IPublishPacket;
    expect({ topic, qos, retain }).toEqual({ topic: TOPIC, qos: 1, retain: false });
    expect(JSON.parse(payload.toString()).alerts[0]).toMatchObject({ event, key: "target-down:backend" });
  }
  await eventually("the broker of the target has both", () => upstream.arrivals().length >= 2);
  expect(new Set(upstream.arrivals().map(({ topic }) => topic))).toEqual(new Set(["sites/journey/alerts"]));
});

test("the webhook is signed by Standard Webhooks, under the id of what it tells", () => {
  const { url, headers, body } = site().phone.requests[0]!;
  expect(url).toBe("/ring?to=anna");
  expect(headers).toMatchObject({ title: "Line 3", authorization: "Bearer secret" });
  const { "webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature } = headers;
  const digest = createHmac("sha256", KEY).update(`${id}.${at}.`).update(body).digest("base64");
  expect(signature).toBe(`v1,${digest}`);
  expect(JSON.parse(body.toString())).toMatchObject({ id, type: "holdfast.alerts", gateway: "journey" });
});

test.skipIf(!capability("wide").present)(
  "an alert that a kill came between is not raised twice, and gets its end",
  async () => {
    const { journey, backend, phone } = site();
    phone.requests.length = 0;
    await takeAway();
    await eventually("the phone is told", () => events(phone).length === 1);
    await journey.killAndStart();
    // Long enough for it to be seen again.
    await eventually("the target is known to be away", async () =>
      (await journey.status()).health.problems.some(({ key }) => key === "target-down:backend"),
    );
    await backend.comeBack();
    await eventually("the phone is told that it is over", () =>
      events(phone).includes("resolved target-down:backend"),
    );
    // Where the kill came between the phone's yes and our note of it, it rang again under the same id.
    const told = new Map(bodies(phone).map(({ id, alerts }) => [id, alerts[0]!]));
    expect([...told.values()].map(({ event }) => event)).toEqual(["raised", "resolved"]);
    expect(new Set([...told.values()].map(({ id }) => id)).size).toBe(1);
  },
);

test("a webhook that is away is tried again, shown as failing, and gets what it missed", async () => {
  const { journey, backend, phone } = site();
  phone.requests.length = 0;
  phone.script = (_, response) => {
    response.writeHead(503).end("over quota");
    return true;
  };
  await takeAway();
  await eventually("it is said that the phone cannot be reached", async () => {
    const { stdout } = await journey.cli("notify", "list", "--json");
    return JSON.parse(stdout).channels[0].state === "failing";
  });
  const { stdout } = await journey.cli("notify", "list", "--json");
  const { channels, current, recent } = JSON.parse(stdout);
  expect(channels[0]).toMatchObject({ channel: "phone", waiting: 1, type: "webhook" });
  expect(channels[0].lastError).toContain("over quota");
  expect(channels[0].where).not.toContain("anna");
  expect(current.map(({ key }: { key: string }) => key)).toEqual(["target-down:backend"]);
  expect(recent).toContainEqual(
    expect.objectContaining({ channel: "phone", outcome: "failed", event: "raised" }),
  );
  const screen = await journey.cli("notify", "list");
  expect(screen.stdout).toMatch(/phone\s+webhook.*failing/);

  const down = await journey.cli("notify", "test", "phone");
  expect(down).toMatchObject({ code: 1 });
  expect(down.stdout).toContain("not taken  phone: HTTP 503");
  phone.script = null;
  phone.requests.length = 0;
  const test = await journey.cli("notify", "test", "phone", "--json", "--reason", "new number");
  expect(JSON.parse(test.stdout)).toEqual({ results: [{ channel: "phone", sent: true, reason: null }] });
  await eventually("the phone gets what it missed", () =>
    events(phone).includes("raised target-down:backend"),
  );
  expect(bodies(phone)[0]).toMatchObject({ type: "holdfast.test", alerts: [] });
  await backend.comeBack();
  await eventually("and its end", () => events(phone).includes("resolved target-down:backend"));

  const acts = (await (await fetch(`${journey.http}/v1/acts?what=testNotification`)).json()) as {
    acts: object[];
  };
  expect(acts.acts[0]).toMatchObject({
    who: "local",
    detail: { channel: "phone", taken: ["phone"] },
    reason: "new number",
  });
  const metrics = await (await fetch(`${journey.http}/metrics`)).text();
  expect(metrics).toMatch(/holdfast_notifications_total\{channel="phone",outcome="sent"\} [1-9]/);
  expect(metrics).toMatch(/holdfast_notifications_total\{channel="phone",outcome="failed"\} [1-9]/);
  // What a commit waits for the disk is a part of it.
  const sum = (name: string) =>
    Number(new RegExp(`^${name}_duration_seconds_sum (\\S+)$`, "m").exec(metrics)![1]);
  expect(sum("holdfast_commit_sync")).toBeGreaterThan(0);
  expect(sum("holdfast_commit_sync")).toBeLessThan(sum("holdfast_commit"));
  const told = (await (await fetch(`${journey.http}/v1/events`)).json()) as {
    events: { sentence: string }[];
  };
  const sentences = told.events.map(({ sentence }) => sentence);
  expect(sentences).toContainEqual(
    expect.stringMatching(/^channel phone does not take notifications: HTTP 503/),
  );
  expect(sentences).toContain("told phone: raised target-down:backend");
});

test("a channel that does not exist is not found, and a test goes down all where none is named", async () => {
  const { journey } = site();
  expect(await journey.cli("notify", "test", "fax")).toMatchObject({ code: 66 });
  const { stdout, code } = await journey.cli("notify", "test");
  expect(code).toBe(0);
  expect(stdout.split("\n").filter((line) => line.startsWith("taken"))).toHaveLength(4);
});
