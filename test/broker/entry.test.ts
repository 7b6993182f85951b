/** Who gets in, under which name, and what they may do. Each weakness of the protocol engine by its name. */
import { generate } from "mqtt-packet";
import { describe, expect, it } from "vitest";
import { hashPassword } from "../../src/broker/password.ts";
import { startBroker, type TestBroker } from "../support/test-broker.ts";
import { connectPacket, WireClient } from "../support/wire-client.ts";

const cheap = await hashPassword("secret", { ln: 10, r: 8, p: 1 });
const as = (username: string, password = "secret") => ({ username, password: Buffer.from(password) });
const USERS = {
  press: { password: cheap, publish: ["%u/#"], subscribe: ["%u/#", "all/+"] },
  mixer: { password: cheap, publish: ["%u/%c/#", "all/#"], subscribe: ["#"], clientIds: ["*"] },
  panel: { certificate: "panel.local", subscribe: ["#"] },
};

async function returnCode(port: number, options: object): Promise<number> {
  const client = await WireClient.open(port);
  const { returnCode } = await client.connect(options);
  if (returnCode !== 0) await client.untilClosed();
  return returnCode!;
}
const refused = ({ broker }: TestBroker) => broker.stats().refused;

describe("once users are configured", () => {
  it("nobody enters without the right name and password", async () => {
    const test = await startBroker({ users: USERS });
    const code = (options: object) => returnCode(test.port, { clientId: "press", ...options });
    expect(await code({})).toBe(5);
    expect(await code({ username: "press" })).toBe(5);
    expect(await code(as("press", "wrong"))).toBe(4);
    expect(await code(as("nobody"))).toBe(4);
    expect(await code(as("constructor"))).toBe(4);
    // A user with a certificate alone has no password, not an empty one.
    expect(await code(as("panel", ""))).toBe(4);
    expect(await code(as("press"))).toBe(0);
    expect(refused(test)).toEqual({ "no credentials": 2, "wrong user name or password": 4 });
  });

  it("nobody enters as a device that an adapter reads, by its user or by the name it was given", async () => {
    const users = { ...USERS, spy: { password: cheap, device: "plc-1" } };
    const test = await startBroker({ users, devicesTaken: ["plc-1", "mixer"] });
    expect(await returnCode(test.port, { clientId: "spy", ...as("spy") })).toBe(5);
    expect(await returnCode(test.port, { clientId: "any", ...as("mixer") })).toBe(5);
    expect(await returnCode(test.port, { clientId: "press", ...as("press") })).toBe(0);
    expect(refused(test)).toEqual({ "device name is that of a machine in the config (devices)": 2 });
  });

  it("nothing is done for a client before it is known, though it sends on without waiting", async () => {
    const { port, store } = await startBroker({ users: USERS });
    const client = await WireClient.open(port);
    void client.connect({ clientId: "press", ...as("press", "wrong") }).catch(() => {});
    client.publish("press/a", "x", { qos: 1, id: 1 });
    await client.untilClosed();
    expect(client.received.map((packet) => packet.cmd)).toEqual(["connack"]);
    expect(store.messages()).toEqual([]);
  });

  it("what a client sends behind its CONNECT is done once it is in, however much it is", async () => {
    const { port, store } = await startBroker({ users: USERS });
    const client = await WireClient.open(port);
    void client.connect({ clientId: "press", ...as("press") });
    for (let id = 1; id <= 100; id++) client.publish("press/a", `${id}`, { qos: 1, id });
    await client.until(() => client.of("puback").length === 100);
    expect(store.payloads()).toEqual(Array.from({ length: 100 }, (_, at) => `${at + 1}`));
  });

  it("a message on a topic that no rule allows is not stored and not acknowledged", async () => {
    const test = await startBroker({ users: USERS });
    const client = await WireClient.connect(test.port, { clientId: "press", ...as("press") });
    client.publish("press/ok", "1", { qos: 1, id: 1 });
    client.publish("mixer/no", "2", { qos: 1, id: 2 });
    await client.untilClosed();
    expect(client.of("puback").map((packet) => packet.messageId)).toEqual([1]);
    expect(test.store.payloads()).toEqual(["1"]);
    expect(refused(test)).toEqual({ "no rule allows the topic": 1 });
  });

  it("a subscription that no rule allows is refused, those beside it are not, also not over a reconnect", async () => {
    const test = await startBroker({ users: USERS });
    const hello = { clientId: "press", clean: false, ...as("press") };
    const client = await WireClient.connect(test.port, hello);
    const filters = ["press/#", "#", "mixer/#", "all/+", "$SYS/#"];
    const suback = await client.subscribe(filters, 1);
    expect(suback.granted).toEqual([1, 128, 128, 1, 128]);
    const stored = () => test.store.rows("subscription").map((row) => row.key);
    expect(stored()).toEqual(["", "all/+", "press/#"]);
    await client.disconnect();
    const mixer = await WireClient.connect(test.port, { clientId: "m", ...as("mixer") });
    mixer.publish("mixer/m/x", "not for press", { qos: 1, id: 1 });
    mixer.publish("all/x", "for press", { qos: 1, id: 2 });
    await mixer.next("puback");
    await mixer.next("puback");
    const back = await WireClient.connect(test.port, hello);
    await back.next("publish");
    await back.ping();
    expect(back.payloads()).toEqual(["for press"]);
  });

  it("a rule that is taken away takes its subscriptions and what waits for them with it", async () => {
    const before = await startBroker({ users: USERS });
    const hello = { clientId: "press", clean: false, ...as("press") };
    const client = await WireClient.connect(before.port, hello);
    await client.subscribe(["press/#", "all/+"], 1);
    await client.disconnect();
    const early = await WireClient.connect(before.port, { clientId: "m", ...as("mixer") });
    early.publish("all/x", "already waiting", { qos: 1, id: 1 });
    await early.next("puback");
    before.crash();
    const users = { ...USERS, press: { ...USERS.press, subscribe: ["%u/#"] } };
    const after = await startBroker({ users, file: before.file });
    await expect.poll(() => after.store.rows("subscription").map((row) => row.key)).toEqual(["", "press/#"]);
    const mixer = await WireClient.connect(after.port, { clientId: "m", ...as("mixer") });
    mixer.publish("all/x", "no more", { qos: 1, id: 1 });
    await mixer.next("puback");
    const back = await WireClient.connect(after.port, hello);
    await back.ping();
    expect(back.payloads()).toEqual([]);
  });

  it("a session from before there were users is held to the rules of the user who comes for it", async () => {
    const before = await startBroker();
    const hello = { clientId: "press", clean: false };
    const client = await WireClient.connect(before.port, hello);
    await client.subscribe(["press/#", "mixer/#"], 1);
    await client.disconnect();
    const sender = await WireClient.connect(before.port, { clientId: "sender" });
    for (const [id, topic] of ["press/a", "mixer/a"].entries()) {
      sender.publish(topic, topic, { qos: 1, id: id + 1 });
      await sender.next("puback");
    }
    before.crash();
    const after = await startBroker({ users: USERS, file: before.file });
    const back = await WireClient.connect(after.port, { ...hello, ...as("press") });
    await back.next("publish");
    await back.ping();
    expect(back.payloads()).toEqual(["press/a"]);
    await expect.poll(() => after.store.rows("subscription").map((row) => row.key)).toEqual(["", "press/#"]);
  });

  it("messages carry the name of the user's device", async () => {
    const { port, store, broker } = await startBroker({
      users: { press: { ...USERS.press, device: "Press 7" } },
    });
    const client = await WireClient.connect(port, { clientId: "press:2", ...as("press") });
    client.publish("press/a", "1", { qos: 1, id: 1 });
    await client.next("puback");
    expect(store.messages()).toMatchObject([{ device: "Press 7" }]);
    expect(broker.devices()).toMatchObject([{ device: "Press 7", connections: 1, accepted: 1 }]);
    expect(broker.clients()).toMatchObject([{ clientId: "press:2", user: "press", device: "Press 7" }]);
  });
});

describe("an open door", () => {
  it("on anything but loopback is not opened, and the error says what to do", async () => {
    const starting = startBroker({ listeners: [{ type: "tcp", host: "0.0.0.0", port: 0 }] });
    await expect(starting).rejects.toMatchObject({
      code: "HF_OPEN_DOOR",
      message: expect.stringContaining("broker.listeners[0]"),
      hint: expect.stringContaining("access.users"),
    });
  });

  it("is opened where there are users", async () => {
    const { port } = await startBroker({
      users: USERS,
      listeners: [{ type: "tcp", host: "0.0.0.0", port: 0 }],
    });
    expect(await returnCode(port, { clientId: "press", ...as("press") })).toBe(0);
  });
});

describe("client-id hijack", () => {
  it("is refused: a client id belongs to a credential", async () => {
    const test = await startBroker({ users: USERS });
    expect(await returnCode(test.port, { clientId: "mixer", ...as("press") })).toBe(2);
    expect(await returnCode(test.port, { clientId: "press2", ...as("press") })).toBe(2);
    expect(await returnCode(test.port, { clientId: "press:2", ...as("press") })).toBe(0);
    expect(refused(test)).toEqual({ "client id not allowed for the user": 2 });
  });

  it("is refused where both may use the id: neither a connection nor a session changes hands", async () => {
    const users = { ...USERS, press: { ...USERS.press, clientIds: ["*"] } };
    const test = await startBroker({ users });
    const hello = { clientId: "shared", clean: false };
    const owner = await WireClient.connect(test.port, { ...hello, ...as("press") });
    await owner.subscribe("press/#", 1);
    expect(await returnCode(test.port, { ...hello, ...as("mixer") })).toBe(2);
    expect(await returnCode(test.port, { ...hello, clean: true, ...as("mixer") })).toBe(2);
    await owner.ping();
    await owner.disconnect();
    expect(await returnCode(test.port, { ...hello, ...as("mixer") })).toBe(2);
    const back = await WireClient.open(test.port);
    expect((await back.connect({ ...hello, ...as("press") })).sessionPresent).toBe(true);
  });

  it("does not hinder a client without an id, which is given one of its user's", async () => {
    const { port, broker } = await startBroker({ users: USERS });
    expect(await returnCode(port, { clientId: "", ...as("press") })).toBe(0);
    expect(broker.clients()[0]!.clientId).toMatch(/^press:[0-9a-f]{16}$/);
    // As the client library would not write it.
    const bytes = generate(connectPacket({ clientId: "", ...as("press") }));
    bytes[9] = bytes[9]! & ~2;
    const client = await WireClient.open(port);
    client.send(bytes);
    expect((await client.next("connack")).returnCode).toBe(2);
  });
});

describe("takeover", () => {
  it("closes the old connection, and the new one has the session", async () => {
    const { port, broker } = await startBroker();
    const old = await WireClient.connect(port, { clean: false });
    await old.subscribe("a", 1);
    const next = await WireClient.open(port);
    expect((await next.connect({ clean: false })).sessionPresent).toBe(true);
    await old.untilClosed();
    expect(broker.stats()).toMatchObject({ clients: 1, takeovers: 1 });
    next.publish("a", "x", { qos: 1, id: 1 });
    expect((await next.next("publish")).payload!.toString()).toBe("x");
  });

  it("while the old connection has messages on their way to the disk loses none and doubles none", async () => {
    const { port, store } = await startBroker({
      intake: (real) => ({ accept: (draft) => real.accept(draft) }),
    });
    const old = await WireClient.connect(port, { clean: false });
    store.hold();
    for (let id = 1; id <= 5; id++) old.publish("a", `${id}`, { qos: id % 2 ? 1 : 2, id });
    await expect.poll(() => store.waiting).toBe(5);
    const next = await WireClient.open(port);
    const connected = next.connect({ clean: false });
    await old.untilClosed();
    store.release();
    await connected;
    for (let id = 1; id <= 5; id++) next.publish("a", `${id}`, { qos: id % 2 ? 1 : 2, id, dup: true });
    await next.until(() => next.of("puback").length + next.of("pubrec").length === 5);
    expect(store.payloads()).toEqual(["1", "2", "3", "4", "5"]);
  });

  it("by many at a time leaves one connected", async () => {
    const { port, broker } = await startBroker();
    const clients = await Promise.all(Array.from({ length: 20 }, () => WireClient.open(port)));
    await Promise.allSettled(clients.map((client) => client.connect({ clean: false })));
    await expect.poll(() => broker.stats()).toMatchObject({ clients: 1, sockets: 1 });
    expect(clients.filter((client) => !client.closed).length).toBe(1);
  });
});

describe("a ghost", () => {
  it("is not left by a client that dies in the middle of CONNECT, at any of its steps", async () => {
    const { port, store, broker } = await startBroker();
    const will = { topic: "w", payload: Buffer.from("x"), qos: 0 as const, retain: false };
    for (const clean of [true, false]) {
      store.hold();
      const dying = await WireClient.open(port);
      void dying.connect({ clean, will }).catch(() => {});
      await expect.poll(() => store.waiting).toBeGreaterThan(0);
      dying.cut();
      await expect.poll(() => broker.stats().sockets).toBe(0);
      store.release();
      expect(broker.clients()).toEqual([]);
      const next = await WireClient.connect(port, { clean });
      await next.ping();
      expect(broker.clients().length).toBe(1);
      await next.disconnect();
      await expect.poll(() => broker.stats().clients).toBe(0);
    }
  });
});

describe("the $SYS kick", () => {
  it("kicks nobody: a client that says another broker has a client id is itself closed", async () => {
    const { port, broker } = await startBroker();
    const victim = await WireClient.connect(port, { clientId: "victim" });
    const attacker = await WireClient.connect(port, { clientId: "attacker" });
    attacker.publish("$SYS/other/new/clients", "victim", { qos: 0 });
    await attacker.untilClosed();
    await victim.ping();
    expect(broker.stats().refused).toEqual({ "reserved topic": 1 });
  });

  it("is not done by a will either", async () => {
    const { port } = await startBroker();
    const will = {
      topic: "$SYS/other/new/clients",
      payload: Buffer.from("victim"),
      qos: 0 as const,
      retain: false,
    };
    expect(await returnCode(port, { clientId: "attacker", will })).toBe(5);
  });
});

describe("a subscription to #", () => {
  it("gets everything but $SYS, and shared subscriptions are refused", async () => {
    const { port } = await startBroker();
    const client = await WireClient.connect(port);
    expect((await client.subscribe(["#", "$share/group/a"], 0)).granted).toEqual([0, 128]);
    const other = await WireClient.connect(port, { clientId: "other" });
    other.publish("a", "x");
    await client.next("publish");
    await client.ping();
    expect(client.of("publish").map((packet) => packet.topic)).toEqual(["a"]);
  });
});
