/** Messages of the gateway to one device: none falls between a device's session and its connection. */
import { setImmediate as turn } from "node:timers/promises";
import { expect, it } from "vitest";
import type { WentTo } from "../../src/broker/addressed.ts";
import { startBroker, type TestBroker } from "../support/test-broker.ts";
import { WireClient } from "../support/wire-client.ts";

const PRESS = { clientId: "press", clean: false };
const TOPIC = "to/press";

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => `${from + at}`);

/** Hands it one message after the other, each with its number, and notes where each went. */
class Sender {
  readonly went: WentTo[] = [];
  readonly #test: TestBroker;
  readonly #mayWait: boolean;

  constructor(test: TestBroker, mayWait = true) {
    this.#test = test;
    this.#mayWait = mayWait;
  }

  send(): void {
    const payload = Buffer.from(`${this.went.length}`);
    const to = { device: "press", topic: TOPIC, payload, queue: this.#mayWait, onSent: () => {} };
    this.went.push(this.#test.broker.send(to));
  }

  /** One in each turn of the event loop, until this is done. */
  async whilst<T>(doing: Promise<T>): Promise<T> {
    let done = false;
    const ended = doing.finally(() => {
      done = true;
    });
    while (!done) {
      this.send();
      await turn();
    }
    return ended;
  }
}

async function subscribed(port: number): Promise<WireClient> {
  const client = await WireClient.connect(port, PRESS);
  await client.subscribe(TOPIC, 1);
  return client;
}

it("what is sent to a device in each moment of its coming back reaches it, in order", async () => {
  const test = await startBroker();
  await (await subscribed(test.port)).disconnect();
  const sender = new Sender(test);
  for (let round = 0; round < 20; round++) {
    const before = sender.went.length;
    const client = await WireClient.open(test.port);
    await sender.whilst(client.connect(PRESS));
    sender.send();
    await client.until(() => client.payloads().includes(`${sender.went.length - 1}`));
    expect(client.payloads()).toEqual(numbers(before, sender.went.length));
    for (const { qos, messageId } of client.of("publish"))
      if (qos === 1) client.send({ cmd: "puback", messageId });
    await client.disconnect();
  }
  expect(new Set(sender.went)).toEqual(new Set(["queued", "sent"]));
});

it("what waits for a device is not overtaken by what is sent to it once it is connected", async () => {
  const test = await startBroker({ limits: { inflightMax: 2 } });
  await (await subscribed(test.port)).disconnect();
  const sender = new Sender(test);
  for (let n = 0; n < 6; n++) sender.send();
  const client = await WireClient.connect(test.port, PRESS);
  sender.send();
  for (let n = 0; n < 6; n++)
    client.send({ cmd: "puback", messageId: (await client.next("publish")).messageId! });
  await client.until(() => client.payloads().includes("6"));
  expect(client.payloads()).toEqual(numbers(0, 7));
});

it("a message that is not to wait goes to nobody while its device is away, or on its way in", async () => {
  const test = await startBroker();
  await (await subscribed(test.port)).disconnect();
  const sender = new Sender(test, false);
  const client = await WireClient.open(test.port);
  await sender.whilst(client.connect(PRESS));
  sender.send();
  await client.until(() => client.payloads().includes(`${sender.went.length - 1}`));
  const sent = sender.went.flatMap((went, n) => (went === "sent" ? [`${n}`] : []));
  expect(client.payloads()).toEqual(sent);
  expect(new Set(sender.went)).toEqual(new Set(["nobody", "sent"]));
});
