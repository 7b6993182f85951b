/** Commands from the HTTP door and the command line to MQTT devices, through a whole gateway. */
import { afterAll, describe, expect, test } from "vitest";
import type { CommandView, TrailRow } from "../../src/queue/queries-commands.ts";
import { eventually, Journey, shared } from "../support/journey.ts";
import { PACKER_COMMANDS, Packer } from "../support/packer.ts";

const names = ["packer-1", "packer-2", "packer-3", "packer-4", "packer-5", "packer-6"];
const device = (more = {}) => ({ type: "mqtt", commands: { ...PACKER_COMMANDS, ...more } });
const packers: Packer[] = [];

const gateway = shared(() =>
  Journey.start({
    config: {
      targets: { outbox: { type: "file" } },
      flows: { all: { from: "#", to: "outbox" } },
      devices: {
        ...Object.fromEntries(names.map((name) => [name, device()])),
        "packer-5": device({ whenAway: "queue" }),
      },
      commands: {
        answerWithin: "300ms",
        queuedMax: 3,
        classes: {
          steps: { signals: ["step"], onUnknown: "hold" },
          third: { devices: ["packer-3"], newestWins: true, ttl: "1s" },
          fourth: { devices: ["packer-4"], ttl: "60s" },
        },
      },
    },
  }),
);

afterAll(() => Promise.all(packers.map((packer) => packer.disconnect())));

async function packerAt(name: string, how = {}): Promise<Packer> {
  const packer = new Packer(name);
  packers.push(packer);
  await packer.connect(gateway().port, how);
  return packer;
}

interface Answer<T = CommandView> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
}

async function ask<T = CommandView>(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer<T>> {
  const response = await fetch(gateway().http + path, {
    method,
    headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, headers: response.headers, body: (await response.json()) as T };
}

const send = (device: string, signal: string, value?: unknown, more = {}, headers = {}) =>
  ask("POST", "/v1/commands", { device, signal, value, ...more }, headers);
const waiting = { prefer: "wait=20" };
const show = async (id: string) => (await ask("GET", `/v1/commands/${id}`)).body;
const inState = (id: string, state: string) =>
  eventually(`command ${id} is ${state}`, async () => {
    const view = await show(id);
    return view.state === state && view;
  });

describe("what may be commanded", () => {
  interface Listed {
    readonly devices: readonly {
      readonly device: string;
      readonly state: string;
      readonly commands: readonly Record<string, unknown>[];
    }[];
  }

  test("stands beside each device, with its class, whether it has come or not", async () => {
    const { body } = await ask<Listed>("GET", "/v1/devices");
    const of = (name: string) => body.devices.find(({ device }) => device === name)!;
    expect(of("packer-6").state).toBe("offline");
    const signals = Object.fromEntries(of("packer-3").commands.map((each) => [each.signal, each]));
    expect(Object.keys(signals)).toEqual(Object.keys(PACKER_COMMANDS.signals));
    expect(signals.step).toMatchObject({ class: "steps", idempotent: false });
    expect(signals.speed).toMatchObject({ class: "third", type: "float" });
    expect(of("packer-6").commands.find(({ signal }) => signal === "speed")).toMatchObject({ class: null });
  });

  test("is shown by the command line below the devices, and a device that takes none has none", async () => {
    const sensor = new Packer("sensor-9");
    packers.push(sensor);
    await sensor.connect(gateway().port);
    const { stdout } = await gateway().cli("device", "list");
    const [devices = "", signals = ""] = stdout.split("What may be commanded; all else is only read:\n");
    expect(devices).toMatch(/^sensor-9 +mqtt +online/m);
    expect(signals).not.toContain("sensor-9");
    expect(signals).toMatch(/^packer-3 +step +.*steps +no/m);
    const json = JSON.parse((await gateway().cli("device", "list", "--json")).stdout);
    expect(json.devices.find(({ device }: { device: string }) => device === "sensor-9").commands).toEqual([]);
  });
});

describe("a command over HTTP", () => {
  test("is answered with 202 and its place, and with 200 and its end where that is waited for", async () => {
    const packer = await packerAt("packer-1");
    const first = await send("packer-1", "speed", 40);
    expect(first.status).toBe(202);
    expect(first.headers.get("location")).toBe(`/v1/commands/${first.body.id}`);
    const done = await inState(first.body.id, "verified");
    expect(done).toMatchObject({ final: true, value: 40, detail: "the device replied done (40)" });
    expect(Object.keys(done.times)).toEqual(["queued", "sent", "verified"]);
    packer.mode = "accepted";
    const second = await send("packer-1", "step", undefined, { reason: "a pack too few" }, waiting);
    expect(second.status).toBe(200);
    expect(second.headers.get("preference-applied")).toBe("wait=20");
    expect(second.body).toMatchObject({ state: "acknowledged", reason: "a pack too few", value: null });
    packer.mode = "failed";
    const third = await send("packer-1", "speed", 50, {}, waiting);
    expect([third.status, third.body.state]).toEqual([200, "failed"]);
    expect(third.body.detail).toBe("the device replied failed: jammed (null)".replace(" (null)", ""));
    expect(packer.executions.map(({ value }) => value)).toEqual([40, null, 50]);
  });

  test("is one command under one Idempotency-Key, however often and however quickly it comes", async () => {
    const packer = await packerAt("packer-2");
    const key = { "idempotency-key": "shift-4711" };
    const all = await Promise.all(Array.from({ length: 5 }, () => send("packer-2", "speed", 10, {}, key)));
    expect(new Set(all.map(({ body }) => body.id)).size).toBe(1);
    expect(all.every(({ status }) => status === 202)).toBe(true);
    await inState(all[0]!.body.id, "verified");
    const again = await send("packer-2", "speed", 10, {}, { ...key, ...waiting });
    expect([again.status, again.body.id]).toEqual([200, all[0]!.body.id]);
    expect(packer.executions).toHaveLength(1);
    const other = await send("packer-2", "speed", 11, {}, key);
    expect([other.status, other.body]).toMatchObject([422, { code: "HF_KEY_REUSED" }]);
  });

  test.each([
    [{ device: "packer-9", signal: "speed", value: 1 }, "devices"],
    [{ device: "packer-1", signal: "spede", value: 1 }, "devices.packer-1"],
    [{ device: "packer-1", signal: "speed", value: 121 }, "devices.packer-1.commands.signals.speed.max"],
    [{ device: "packer-1", signal: "speed", value: "fast" }, "devices.packer-1.commands.signals.speed.type"],
    [{ device: "packer-1", signal: "speed", value: 1, ttl: "2h" }, "commands.ttlMax"],
    [{ device: "packer-1", signal: "speed", value: 1, expiresAt: "2026-01-02T00:00:00Z" }, "expiresAt"],
    [{ device: "packer-1", signal: "step", onUnknown: "retry" }, "onUnknown"],
    [{ device: "packer-1", signal: "speed", value: 1, preconditions: "pressure < 3" }, "preconditions"],
  ])("is refused by the rule that it breaks, on record: %o", async (body, rule) => {
    const { status, body: problem } = await ask<{ code: string; details: { rule: string } }>(
      "POST",
      "/v1/commands",
      body,
    );
    expect([status, problem.code, problem.details.rule]).toEqual([422, "HF_COMMAND_REFUSED", rule]);
    const trail = await ask<{ entries: TrailRow[] }>("GET", `/v1/audit?device=${body.device}&limit=1`);
    expect(trail.body.entries[0]).toMatchObject({ event: "refused", by: "local", signal: body.signal });
    expect(trail.body.entries[0]!.detail).toContain(`${rule}: `);
  });

  test("of another shape is a wrong request", async () => {
    for (const body of [
      {},
      { device: "packer-1", signal: "speed", value: { a: 1 } },
      { device: 1, signal: "x" },
    ]) {
      expect(await ask("POST", "/v1/commands", body)).toMatchObject({
        status: 400,
        body: { code: "HF_REQUEST" },
      });
    }
    expect((await ask("GET", "/v1/commands/nothing")).status).toBe(404);
    expect((await ask("GET", "/v1/commands?state=gone")).status).toBe(400);
  });

  test("waits for a device that is away, and expires, is superseded or cancelled meanwhile", async () => {
    const first = await send("packer-3", "speed", 1);
    const second = await send("packer-3", "speed", 2);
    expect(await inState(first.body.id, "cancelled")).toMatchObject({
      detail: `superseded by ${second.body.id}`,
    });
    expect(await inState(second.body.id, "expired")).toMatchObject({ final: true });
    const third = await send("packer-4", "speed", 3);
    const cancelled = await ask("POST", `/v1/commands/${third.body.id}/cancel`, {
      reason: "changed my mind",
    });
    expect(cancelled.body).toMatchObject({
      state: "cancelled",
      detail: "cancelled by local: changed my mind",
    });
    const twice = await ask("DELETE", `/v1/commands/${third.body.id}`);
    expect([twice.status, twice.body]).toMatchObject([409, { code: "HF_COMMAND_STATE" }]);
    const fourth = await send("packer-4", "speed", 4);
    const fifth = await send("packer-4", "speed", 5);
    await send("packer-4", "speed", 6);
    expect((await send("packer-4", "speed", 7)).body).toMatchObject({
      details: { rule: "commands.queuedMax" },
    });
    const packer = await packerAt("packer-4");
    await inState(fifth.body.id, "verified");
    expect((await show(fourth.body.id)).state).toBe("verified");
    await eventually("all are carried out, in their order", () => packer.executions.length === 3);
    expect(packer.executions.map(({ value }) => value)).toEqual([4, 5, 6]);
    // Nothing of the two that were given up.
    expect((await packerAt("packer-3")).executions).toEqual([]);
  });

  test("is listed in pages, by device and by state", async () => {
    type Page = { commands: CommandView[]; next: number | null };
    const page = async (query: string) => (await ask<Page>("GET", `/v1/commands?${query}`)).body;
    const first = await page("device=packer-4&limit=2");
    expect(first.commands.map(({ value }) => value)).toEqual([6, 5]);
    const rest = await page(`device=packer-4&limit=10&after=${first.next}`);
    expect([rest.commands.map(({ value }) => value), rest.next]).toEqual([[4, 3], null]);
    const byState = async (state: string) =>
      (await page(`device=packer-1&state=${state}`)).commands.map(({ value }) => value);
    expect(await byState("verified")).toEqual([40]);
    expect(await byState("acknowledged")).toEqual([null]);
    expect(await byState("failed")).toEqual([50]);
    expect((await page("state=queued")).commands).toEqual([]);
  });

  test("is stored with the trace that it came with", async () => {
    const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const headers = { traceparent: trace, tracestate: "a=1" };
    const { body } = await send("packer-1", "speed", 41, {}, headers);
    const { message } = await gateway().message(body.id);
    expect([message.traceparent, message.headers.tracestate]).toEqual([trace, "a=1"]);
    const none = await send("packer-1", "speed", 42, {}, { ...headers, traceparent: "00-0-0-01" });
    const { message: other } = await gateway().message(none.body.id);
    expect([other.traceparent, other.headers.tracestate]).toEqual([null, undefined]);
  });
});

describe("a command whose answer is lost", () => {
  test("is unknown, keeps others from overtaking it, and is what a late reply says", async () => {
    const packer = await packerAt("packer-6");
    packer.mode = "silent";
    const { body } = await send("packer-6", "speed", 30);
    await inState(body.id, "unknown");
    packer.mode = "done";
    const behind = await send("packer-6", "speed", 31);
    await packer.reply(body.id, "done");
    expect(await inState(body.id, "verified")).toMatchObject({
      detail: expect.stringContaining("found to be done"),
    });
    await inState(behind.body.id, "verified");
    expect(packer.executions.map(({ value }) => value)).toEqual([30, 31]);
    await packer.disconnect();
  });

  test("waits for a person where its class says so, and is what the person says", async () => {
    const packer = await packerAt("packer-6");
    packer.mode = "gone";
    const { body } = await send("packer-6", "step");
    await eventually("it waits for a person", async () => (await show(body.id)).needsPerson);
    expect((await ask("DELETE", `/v1/commands/${body.id}`)).status).toBe(409);
    const said = await gateway().cli(
      "command",
      "resolve",
      body.id,
      "--done",
      "--reason",
      "one pack came out",
    );
    expect([said.code, said.stdout]).toEqual([
      0,
      expect.stringContaining("acknowledged: said to be done by local: one pack"),
    ]);
    expect(packer.executions).toHaveLength(1);
  });

  test("from somebody else than its device is no answer", async () => {
    const packer = await packerAt("packer-6");
    packer.mode = "silent";
    const { body } = await send("packer-6", "speed", 32);
    const stranger = await gateway().client("stranger");
    const payload = JSON.stringify({ id: body.id, status: "done" });
    await stranger.publish({ topic: "plant/packer-6/replies", payload, qos: 1 });
    await inState(body.id, "unknown");
    await packer.reply(body.id, "failed", { reason: "jammed" });
    expect(await inState(body.id, "failed")).toMatchObject({ detail: "the device replied failed: jammed" });
  });
});

describe("a device with a session that waits for it", () => {
  test("may be handed its command there, and is taken at its word when it comes back", async () => {
    const packer = await packerAt("packer-5", { clean: false });
    await packer.disconnect();
    const { body } = await send("packer-5", "speed", 20);
    await inState(body.id, "unknown");
    expect(packer.executions).toEqual([]);
    await packer.connect(gateway().port, { clean: false });
    await inState(body.id, "verified");
    expect(packer.executions.map(({ value }) => value)).toEqual([20]);
  });
});

describe("holdfast command", () => {
  const run = (...args: string[]) => gateway().cli("command", ...args);

  test("sends, shows and lists, in words and in JSON", async () => {
    const sent = await run("send", "packer-2", "speed", "12", "--wait", "20", "--reason", "by hand");
    expect(sent.code).toBe(0);
    expect(sent.stdout).toMatch(/packer-2 speed 12 is verified: the device replied done \(12\)/);
    expect(sent.stdout).toMatch(/asked {3}by local over http.*because: by hand/);
    const [{ id }] = JSON.parse(
      (await run("list", "--device", "packer-2", "-n", "1", "--json")).stdout,
    ).commands;
    expect((await run("show", id)).stdout).toContain(id);
    expect((await run("list")).stdout).toMatch(/packer-2 +speed +12 +verified/);
    expect((await run("signals")).stdout).toMatch(/packer-2 +speed +float +0 … 120 packs\/min +yes +yes/);
    const audit = JSON.parse((await run("audit", "--command", id, "--json")).stdout).entries as TrailRow[];
    expect(audit.map(({ event }) => event)).toEqual(["verified", "sent", "queued"]);
  });

  test("says which rule forbids it, and exits with a code of its own", async () => {
    const refused = await run("send", "packer-2", "speed", "500");
    expect([refused.code, refused.stderr]).toEqual([
      65,
      expect.stringContaining("speed.max: 500 is above 120"),
    ]);
    const failed = await run("cancel", "nothing");
    expect([failed.code, failed.stderr]).toEqual([66, expect.stringContaining("no command nothing")]);
  });
});

test("commands count like all messages do, and are none of the operator's flows", async () => {
  const { stdout } = await gateway().cli("status");
  expect(stdout).toMatch(/commands to packer-2/);
  expect(stdout).not.toContain("$command");
  expect(await gateway().audited()).toMatchObject({ state: "balanced" });
});

describe("a token that may command some things alone", () => {
  test("commands those, and nothing else; what it may not command it may not take back either", async () => {
    const other = await send("packer-2", "step", undefined, {}, waiting);
    const { stdout } = await gateway().cli(
      ...["token", "create", "mes", "--role", "operate", "--commands", "packer-1/speed", "packer-3/*"],
    );
    const authorization = `Bearer ${stdout.trim()}`;
    const asMes = (device: string, signal: string) =>
      ask<CommandView & { details: { rule: string } }>(
        "POST",
        "/v1/commands",
        { device, signal, value: signal === "speed" ? 1 : null },
        { authorization },
      );
    await eventually("the gateway knows of it", async () => {
      return (await ask("GET", "/v1/status", undefined, { authorization })).status === 200;
    });
    const first = await asMes("packer-1", "speed");
    expect([first.status, first.body.by]).toEqual([202, "mes"]);
    const cancel = (id: string) => ask("DELETE", `/v1/commands/${id}`, undefined, { authorization });
    await eventually("it is too late for a cancel", async () => (await cancel(first.body.id)).status === 409);
    for (const [device, signal] of [
      ["packer-1", "step"],
      ["packer-10", "speed"],
      ["packer-2", "speed"],
    ] as const) {
      const { status, body } = await asMes(device, signal);
      expect([status, body.details.rule]).toEqual([422, "tokens.mes.commands"]);
    }
    const refused = await cancel(other.body.id);
    expect([refused.status, refused.body]).toMatchObject([422, { code: "HF_COMMAND_REFUSED" }]);
    const { stdout: listed } = await gateway().cli("token", "list");
    expect(listed).toMatch(/^mes +operate +packer-1\/speed packer-3\/\* /m);
    const audit = JSON.parse((await gateway().cli("command", "audit", "-n", "1", "--json")).stdout);
    expect(audit.entries[0]).toMatchObject({ event: "refused", by: "mes", device: "packer-2" });
    await gateway().cli("token", "revoke", "mes");
  });

  test.each([
    ["view", "packer-1/speed", /goes with --role operate/],
    ["operate", "packer-1", /takes DEVICE\/SIGNAL/],
  ])("is not made where that says nothing: %s, %s", async (role, what, words) => {
    const made = await gateway().cli("token", "create", "x", "--role", role, "--commands", what);
    expect([made.code, made.stderr]).toEqual([64, expect.stringMatching(words)]);
  });
});
