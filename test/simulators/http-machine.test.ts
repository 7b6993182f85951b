import { createServer, type Server } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Fleet, machineGroupSchema } from "../../simulators/machines/fleet.ts";
import { demandMeans } from "../../simulators/run-limits.ts";
import { scenarioSchema } from "../../simulators/scenario.ts";
import { systemClock } from "../../src/core/clock.ts";

const SETTLE_MS = 8_000;

interface Asked {
  readonly key: string;
  readonly body: {
    readonly device: string;
    readonly topic: string;
    readonly payload: { readonly id: string };
  };
}

const asked: Asked[] = [];
/** What is answered; null hangs up. */
let answer: (nth: number) => number | null;
let atOnceMax: number;
let server: Server;
let fleet: Fleet | null = null;

beforeEach(async () => {
  asked.length = 0;
  answer = () => 202;
  atOnceMax = 0;
  let atOnce = 0;
  server = createServer((request, response) => {
    atOnceMax = Math.max(atOnceMax, ++atOnce);
    let text = "";
    request.on("data", (chunk) => {
      text += chunk;
    });
    request.on("end", () => {
      asked.push({ key: String(request.headers["idempotency-key"]), body: JSON.parse(text) });
      const status = answer(asked.length);
      atOnce--;
      if (status === null) request.socket.destroy();
      else response.writeHead(status).end("{}");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  await fleet?.stop();
  fleet = null;
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

/** Makes so many readings, and waits until each is answered for. */
async function handIn(messages: number, more: object = {}): Promise<Fleet> {
  const { port } = server.address() as { port: number };
  fleet = new Fleet({
    groups: [machineGroupSchema.parse({ door: "http", rate: 0, messages, qos: 0, ...more })],
    seed: 1,
    run: "test",
    clock: systemClock,
    address: () => ({ host: "127.0.0.1", port: 1 }),
    http: () => `http://127.0.0.1:${port}`,
  });
  fleet.start();
  fleet.burst(messages);
  expect(await fleet.settle(SETTLE_MS)).toBe(true);
  return fleet;
}

const ids = (count: number) => Array.from({ length: count }, (_, at) => `machine-01-test-${at + 1}`);

describe("a machine that hands in over HTTP", () => {
  test("sends one reading after the other, under its id as key, and has each answered for", async () => {
    const { ledger } = await handIn(5);
    expect(asked.map(({ key }) => key)).toEqual(ids(5));
    expect(asked.map(({ body }) => body.payload.id)).toEqual(ids(5));
    expect(asked[0]!.body).toMatchObject({ device: "machine-01", topic: "plant/machine-01/temperature" });
    expect(atOnceMax).toBe(1);
    // 202 promises what PUBACK does, whatever QoS was written for it.
    expect(ledger.entries().every(({ qos, ackedAtMs }) => qos === 1 && ackedAtMs !== null)).toBe(true);
  });

  test("sends one again under its key, before the next, until it is taken", async () => {
    const answers = [503, null, 409, 202, 200, 202];
    answer = (nth) => answers[nth - 1]!;
    await handIn(3);
    const [first, second, third] = ids(3);
    expect(asked.map(({ key }) => key)).toEqual([first, first, first, first, second, third]);
  });

  test.each([
    ["hangs up on answers", { loseAck: 1 }],
    ["asks once more after an answer", { dup: 1 }],
  ])("%s where it is to", async (_, mishap) => {
    const { ledger } = await handIn(3, mishap);
    expect(asked.map(({ key }) => key)).toEqual(ids(3).flatMap((id) => [id, id]));
    expect(ledger.repeats).toBe(3);
  });

  test("keeps what it makes while its network is away", async () => {
    const one = await handIn(1);
    const [machine] = one.machines;
    machine!.offline();
    machine!.hand({
      id: "later",
      n: 2,
      topic: "plant/x",
      payload: Buffer.from('{"id":"later"}'),
      qos: 1,
      retain: false,
      producedAtMs: 0,
      poison: false,
      mishaps: { dup: false, republish: false, loseAck: false, withholdPubrel: false },
    });
    expect([machine!.idle, asked.length]).toEqual([false, 1]);
    machine!.online();
    expect(await one.settle(SETTLE_MS)).toBe(true);
    expect(asked.at(-1)!.key).toBe("later");
  });
});

describe("a scenario with such machines", () => {
  const scenario = scenarioSchema.parse({ machines: [{ name: "lims", door: "http" }] });

  test("is refused where they could not hand in, or not be recorded", () => {
    expect(() => demandMeans(scenario, {})).not.toThrow();
    expect(() => demandMeans(scenario, { running: { http: null } })).toThrow(/\(lims\) need .* --api/);
    expect(() => demandMeans(scenario, { record: "x" })).toThrow(/\(lims\) cannot be recorded/);
  });
});
