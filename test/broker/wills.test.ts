/** Last wills: sent when a client is lost, by whatever way, and only then; stored like any message. */
import { describe, expect, it } from "vitest";
import { hashPassword } from "../../src/broker/password.ts";
import { startBroker } from "../support/test-broker.ts";
import { WireClient } from "../support/wire-client.ts";

const will = (topic = "state/press-7", payload = "lost") => ({
  will: { topic, payload: Buffer.from(payload), qos: 1 as const, retain: true },
});
const cheap = await hashPassword("secret", { ln: 10, r: 8, p: 1 });

describe("a will", () => {
  it("is sent when the connection breaks: stored, retained, and seen by subscribers", async () => {
    const { port, store, broker } = await startBroker();
    const screen = await WireClient.connect(port, { clientId: "screen" });
    await screen.subscribe("state/#", 1);
    const client = await WireClient.connect(port, will());
    expect(store.rows("will").length).toBe(1);
    client.cut();
    expect(await screen.next("publish")).toMatchObject({ topic: "state/press-7", qos: 1, retain: false });
    expect(store.messages()).toMatchObject([{ device: "press-7", topic: "state/press-7", payload: "lost" }]);
    expect(store.rows("will")).toEqual([]);
    expect(store.rows("retained").length).toBe(1);
    expect(broker.stats().wills).toBe(1);
  });

  it("is not sent after DISCONNECT, and leaves nothing behind", async () => {
    const { port, store } = await startBroker();
    const client = await WireClient.connect(port, will());
    await client.disconnect();
    await expect.poll(() => store.rows("will")).toEqual([]);
    expect(store.messages()).toEqual([]);
  });

  it("is sent when the keepalive runs out, when another connection takes over, and when we close it", async () => {
    const { port, store, broker } = await startBroker();
    const silent = await WireClient.connect(port, { ...will("w", "silent"), keepalive: 1 });
    await silent.untilClosed();
    await WireClient.connect(port, will("w", "taken over"));
    await WireClient.connect(port, will("w", "kicked"));
    broker.kick("press-7");
    await expect.poll(() => store.payloads()).toEqual(["silent", "taken over", "kicked"]);
  });

  it("is on disk before CONNACK", async () => {
    const { port, store } = await startBroker();
    store.hold();
    const client = await WireClient.open(port);
    const connected = client.connect(will());
    await expect.poll(() => store.waiting).toBe(1);
    expect(client.received).toEqual([]);
    store.release();
    await connected;
    expect(store.rows("will").length).toBe(1);
  });

  it("of a client that dies before its CONNACK is not sent", async () => {
    const { port, store, broker } = await startBroker();
    store.hold();
    const client = await WireClient.open(port);
    void client.connect(will()).catch(() => {});
    await expect.poll(() => store.waiting).toBe(1);
    client.cut();
    await expect.poll(() => broker.stats().sockets).toBe(0);
    store.release();
    await expect.poll(() => store.rows("will")).toEqual([]);
    expect(store.messages()).toEqual([]);
  });
});

describe("after a crash", () => {
  it("the wills of all that were connected go out, once", async () => {
    const before = await startBroker();
    await WireClient.connect(before.port, { clientId: "a", ...will("state/a", "a lost") });
    await WireClient.connect(before.port, { clientId: "b", ...will("state/b", "b lost") });
    await WireClient.connect(before.port, { clientId: "c" });
    before.crash();
    const after = await startBroker({ file: before.file });
    await expect.poll(() => after.store.payloads()).toEqual(["a lost", "b lost"]);
    expect(after.store.rows("will")).toEqual([]);
    after.crash();
    const later = await startBroker({ file: before.file });
    expect(later.broker.stats().wills).toBe(0);
    expect(later.store.payloads()).toEqual(["a lost", "b lost"]);
  });

  it("a client that is back at once with a new will keeps the new one", async () => {
    const before = await startBroker();
    await WireClient.connect(before.port, will("w", "old"));
    before.crash();
    let let_go = () => {};
    const gate = new Promise<void>((resolve) => {
      let_go = resolve;
    });
    const after = await startBroker({
      file: before.file,
      intake: (real) => ({
        accept: async (draft) => {
          await gate;
          return real.accept(draft);
        },
      }),
    });
    await WireClient.connect(after.port, will("w", "new"));
    let_go();
    await expect.poll(() => after.store.payloads()).toEqual(["old"]);
    expect(after.store.rows("will").length).toBe(1);
    after.crash();
    const later = await startBroker({ file: before.file });
    await expect.poll(() => later.store.payloads()).toEqual(["old", "new"]);
  });

  it("wills go out for the device of their user, under the rules as they are now", async () => {
    const user = { password: cheap, device: "Press 7", clientIds: ["*"] };
    const credentials = { username: "press", password: Buffer.from("secret") };
    const before = await startBroker({ users: { press: { ...user, publish: ["a", "b"] } } });
    for (const topic of ["a", "b"]) {
      await WireClient.connect(before.port, { clientId: topic, ...credentials, ...will(topic, topic) });
    }
    before.crash();
    const after = await startBroker({ file: before.file, users: { press: { ...user, publish: ["b"] } } });
    await expect.poll(() => after.store.rows("will")).toEqual([]);
    expect(after.store.messages()).toMatchObject([{ device: "Press 7", topic: "b" }]);
    expect(after.broker.stats().refused).toEqual({ "will not allowed": 1 });
  });
});

describe("when the gateway stops", () => {
  it("the wills of its clients are stored before it is done", async () => {
    const { port, store, broker } = await startBroker();
    await WireClient.connect(port, will());
    await broker.stop();
    expect(store.payloads()).toEqual(["lost"]);
    expect(store.rows("will")).toEqual([]);
  });
});
