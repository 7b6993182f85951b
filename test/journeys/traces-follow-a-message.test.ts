/**
 * A trace leads from a producer's own span through the gateway to the span that the backend is told of: over HTTP and
 * MQTT 5, for single messages, batches and commands, and over a kill while the message waits.
 */
import { beforeEach, describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { MqttBackend } from "../../simulators/backends/mqtt-backend.ts";
import { eventually, Journey, reading, shared, startBackend } from "../support/journey.ts";
import { OtlpReceiver, type ReceivedSpan } from "../support/otlp-receiver.ts";

const PRODUCER = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" };
const sampled = `00-${PRODUCER.traceId}-${PRODUCER.spanId}-01`;
const unsampled = `00-${PRODUCER.traceId}-${PRODUCER.spanId}-00`;
const STATE = "vendor=a%2Fb,other=1";
const FLOW = { retry: { delayMin: "20ms", delayMax: "100ms" } };

async function setUp() {
  const collector = await new OtlpReceiver().start();
  const one = await startBackend(new HttpBackend());
  const many = await startBackend(new HttpBackend());
  const broker = await startBackend(new MqttBackend());
  const journey = await Journey.start({
    config: {
      telemetry: { traces: { endpoint: collector.url, interval: "50ms", headers: { "x-tenant": "line-3" } } },
      intake: { identities: [{ topics: "plant/#", traceparent: { pointer: "/traceparent" } }] },
      targets: {
        one: { type: "http", url: `${one.url}/messages` },
        many: { type: "http", url: many.url, batch: "ndjson" },
        broker: { type: "mqtt", url: broker.url, protocol: 5 },
      },
      flows: {
        one: { from: "plant/one", to: "one", ...FLOW },
        many: { from: "plant/many", to: "many", ...FLOW },
        broker: { from: "plant/broker", to: "broker", ...FLOW },
      },
    },
  });
  return { collector, one: one.backend, many: many.backend, broker: broker.backend, journey };
}

type Made = Awaited<ReturnType<typeof setUp>>;

async function handIn({ journey }: Made, topic: string, n: number, headers: Record<string, string>) {
  const response = await fetch(`${journey.http}/v1/messages`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ topic, device: "press-7", payload: JSON.parse(reading("press-7", n)) }),
  });
  expect(response.status).toBe(202);
  return ((await response.json()) as { id: string }).id;
}

const spanOf = ({ collector }: Made, name: string, id: string) =>
  collector.until(`${name} of ${id}`, () =>
    collector.spans.find((span) => span.name === name && idsOf(span).includes(id)),
  );

const idsOf = ({ attributes, links }: ReceivedSpan) =>
  [attributes, ...links.map((link) => link.attributes)].map((each) => each["messaging.message.id"]);

const told = (span: ReceivedSpan) => `00-${span.traceId}-${span.spanId}-01`;

/** The chain from a producer to a backend, or where it breaks. */
function chain(receive: ReceivedSpan, send: ReceivedSpan, backendTold: unknown): string {
  if (receive.traceId !== PRODUCER.traceId || receive.parentSpanId !== PRODUCER.spanId)
    return "not the producer's";
  const link = send.links.find(({ spanId }) => spanId === receive.spanId);
  if (link?.traceId !== receive.traceId) return "no link to where it was received";
  return backendTold === told(send) ? "whole" : "the backend was told of another span";
}

describe("a trace", () => {
  const made = shared(setUp);

  beforeEach(() => {
    made().collector.mode = "ok";
    for (const backend of [made().one, made().many, made().broker]) backend.setMode("ok");
  });

  test("leads from a producer over HTTP to a backend over HTTP", async () => {
    const id = await handIn(made(), "plant/one", 1, { traceparent: sampled, tracestate: STATE });
    const receive = await spanOf(made(), "receive http", id);
    const send = await spanOf(made(), "send one", id);
    const { headers } = made().one.requests.at(-1)!;
    expect(chain(receive, send, headers.traceparent)).toBe("whole");
    // A chain that is broken anywhere would be seen.
    expect(chain({ ...receive, parentSpanId: undefined }, send, headers.traceparent)).toMatch(/producer/);
    expect(chain(receive, { ...send, links: [] }, headers.traceparent)).toMatch(/link/);
    expect(chain(receive, send, sampled)).toMatch(/another/);

    expect(receive).toMatchObject({ kind: 2, traceState: STATE, status: {} });
    expect(receive.attributes).toMatchObject({
      "messaging.system": "http",
      "messaging.operation.type": "receive",
      "messaging.destination.name": "plant/one",
      "holdfast.device": "press-7",
      "holdfast.receipt": "stored",
    });
    const commit = made().collector.spans.find(({ parentSpanId }) => parentSpanId === receive.spanId)!;
    expect(commit).toMatchObject({ name: "commit", traceId: receive.traceId, kind: 1 });
    expect(send).toMatchObject({ kind: 3, status: {} });
    expect(send.traceId).not.toBe(receive.traceId);
    // What begins a trace has no state from another one.
    expect(headers.tracestate).toBeUndefined();
    expect(send.links[0]).toMatchObject({ traceState: STATE });
    expect(send.attributes).toMatchObject({
      "messaging.system": "http",
      "messaging.operation.type": "send",
      "messaging.destination.name": "one",
      "holdfast.flow": "one",
      "holdfast.attempt": 1,
      "holdfast.outcome": "delivered",
      "holdfast.wait_ms": expect.any(Number),
    });
    expect(made().collector.resources[0]).toMatchObject({
      "service.name": "holdfast",
      "service.instance.id": "journey",
    });
    expect(made().collector.requests[0]).toMatchObject({
      path: "/v1/traces",
      headers: { "x-tenant": "line-3", "content-encoding": "gzip" },
    });
    // What the store shows of the message is the way to its trace.
    const { message } = await made().journey.message(id);
    expect(message.traceparent).toBe(told(receive));
  });

  test("begins at the gateway where an MQTT machine names none, and goes on where its payload does", async () => {
    const client = await made().journey.client("press-7");
    await client.publish({ topic: "plant/broker", payload: reading("press-7", 2), qos: 1 });
    const payload = reading("press-7", 3, { traceparent: sampled });
    await client.publish({ topic: "plant/broker", payload, qos: 1 });
    const arrived = await eventually("both are there", () => {
      const packets = made().broker.packets.flatMap((packet) =>
        packet.cmd === "publish" && packet.topic === "plant/broker" ? [packet] : [],
      );
      return packets.length >= 2 && packets;
    });
    const [own, given] = await Promise.all(
      arrived.map(async ({ properties }) => {
        const user = properties!.userProperties!;
        const id = String(user["holdfast-id"]);
        const receive = await spanOf(made(), "receive mqtt", id);
        const send = await spanOf(made(), "send broker", id);
        expect(send.kind).toBe(4);
        expect(send.links[0]!.spanId).toBe(receive.spanId);
        expect(user.traceparent).toBe(told(send));
        return receive;
      }),
    );
    expect(own).toMatchObject({ kind: 5 });
    expect(own!.parentSpanId).toBeUndefined();
    expect(given).toMatchObject({ traceId: PRODUCER.traceId, parentSpanId: PRODUCER.spanId });
  });

  test("of a batch is one span with a link to each of its messages, and what became of it", async () => {
    const { many } = made();
    many.setMode("reject-one");
    const ids = await Promise.all(
      [10, 11, 12].map((n) => handIn(made(), "plant/many", n, n === 12 ? {} : { traceparent: sampled })),
    );
    const sends = await Promise.all(ids.map((id) => spanOf(made(), "send many", id)));
    const links = sends.flatMap(({ links: each }) => each);
    for (const id of ids) {
      const receive = await spanOf(made(), "receive http", id);
      const link = links.find(({ attributes }) => attributes["messaging.message.id"] === id)!;
      expect([link.traceId, link.spanId]).toEqual([receive.traceId, receive.spanId]);
      expect(link.attributes).toMatchObject({ "holdfast.outcome": "delivered", "holdfast.attempt": 1 });
    }
    for (const send of sends) {
      expect(send.attributes["messaging.batch.message_count"]).toBe(send.links.length);
      expect(many.requests.map(({ headers }) => headers.traceparent)).toContain(told(send));
    }
  });

  test("shows each try that failed, with the reason", async () => {
    made().one.setMode("failing");
    const id = await handIn(made(), "plant/one", 20, { traceparent: sampled });
    const failed = await made().collector.until("a failed try", () =>
      made().collector.spans.find((span) => idsOf(span).includes(id) && span.status.code === 2),
    );
    expect(failed.status.message).toMatch(/500/);
    expect(failed.attributes).toMatchObject({ "holdfast.outcome": "retry", "error.type": "retry" });
    made().one.setMode("ok");
    const delivered = await made().collector.until("one that went through", () =>
      made().collector.spans.find(
        (span) => idsOf(span).includes(id) && span.attributes["holdfast.outcome"] === "delivered",
      ),
    );
    expect(delivered.traceId).not.toBe(failed.traceId);
    expect(delivered.links[0]!.spanId).toBe(failed.links[0]!.spanId);
  });

  test("and the message's id are in the log where it says what came of it", async () => {
    made().one.script = (_, response) => {
      response.writeHead(422).end("no such order");
      return true;
    };
    const id = await handIn(made(), "plant/one", 25, { traceparent: sampled });
    const line = await eventually("the log says that it is dead", () =>
      made().journey.process.log.find((each) => each.includes(id)),
    );
    made().one.script = null;
    expect(JSON.parse(line)).toMatchObject({
      level: "warn",
      msg: "delivery dead",
      messageId: id,
      traceId: PRODUCER.traceId,
      flow: "one",
      device: "press-7",
    });
    const send = await spanOf(made(), "send one", id);
    expect(send.status).toMatchObject({ code: 2, message: expect.stringMatching(/422/) });
  });

  test("is still linked when the gateway was killed while its message waited", async () => {
    made().one.setMode("failing");
    const id = await handIn(made(), "plant/one", 30, { traceparent: sampled });
    const other = await handIn(made(), "plant/one", 31, { traceparent: unsampled });
    const receive = await spanOf(made(), "receive http", id);
    await made().journey.killAndStart();
    made().one.setMode("ok");
    const send = await made().collector.until("the delivery after the kill", () =>
      made().collector.spans.find(
        (span) => idsOf(span).includes(id) && span.attributes["holdfast.outcome"] === "delivered",
      ),
    );
    const requests = () => made().one.requests.filter(({ headers }) => headers["holdfast-id"] !== undefined);
    const requestOf = (wanted: string) =>
      requests().findLast(({ headers }) => headers["holdfast-id"] === wanted);
    expect(chain(receive, send, requestOf(id)!.headers.traceparent)).toBe("whole");
    // What its producer does not have traced is not, and its context goes on as it came.
    await eventually("the other one is delivered", () => requestOf(other));
    expect(requestOf(other)!.headers.traceparent).toBe(unsampled);
    await made().journey.drained();
    expect(made().collector.spans.filter((span) => idsOf(span).includes(other))).toEqual([]);
  });

  test("is not made of what is none, and nothing is refused for it", async () => {
    for (const traceparent of [
      "00-00000000000000000000000000000000-b7ad6b7169203331-01",
      "x",
      sampled.toUpperCase(),
    ]) {
      const id = await handIn(made(), "plant/one", 40, { traceparent, tracestate: STATE });
      const receive = await spanOf(made(), "receive http", id);
      expect(receive.parentSpanId).toBeUndefined();
      expect(receive.traceState).toBeUndefined();
    }
  });

  test("waits for a collector that hangs, while messages do not", async () => {
    const { collector, journey, one } = made();
    collector.mode = "hang";
    const before = one.requests.length;
    await handIn(made(), "plant/one", 50, { traceparent: sampled });
    await handIn(made(), "plant/one", 51, { traceparent: sampled });
    await eventually("both are at the backend", () => one.requests.length === before + 2);
    const beganMs = performance.now();
    expect(await journey.process.stop()).toBe("with exit code 0");
    // 2 s for the collector, and not the 10 s that a request may take.
    expect(performance.now() - beganMs).toBeLessThan(8000);
    // All that came until here was as the specification has it.
    expect(collector.problems).toEqual([]);
  });
});
