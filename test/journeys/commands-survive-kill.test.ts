/**
 * kill -9 of the gateway while commands are under way, at a device that does what it is told and then loses the answer:
 * none is carried out twice, and none is said to be done that was not. A gateway that sends again blindly, and one that
 * takes its own word for the device's, are found out. First MQTT devices, then PLCs, which are polled all the while.
 */
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import { Plc, type PlcFault } from "../../simulators/machines/plc.ts";
import type { CommandView } from "../../src/queue/queries-commands.ts";
import { capability } from "../support/capabilities.ts";
import { eventually, Journey, shared } from "../support/journey.ts";
import { type Execution, PACKER_COMMANDS, Packer } from "../support/packer.ts";

const PACKERS = ["packer-1", "packer-2", "packer-3"];
const COMMANDS_EACH = 4;

/** What a PLC is told, how it loses the answer, and how often it has done it by then. */
const PLCS = {
  // A button: nothing in the machine tells how often it was pressed.
  "press-1": { signal: "feed", value: true, fault: { kind: "write-answer-lost" }, done: 1 },
  // What it holds tells that it was done…
  "press-2": { signal: "level", value: 700, fault: { kind: "write-answer-lost" }, done: 1 },
  // …or was not.
  "press-3": { signal: "level", value: 710, fault: { kind: "write-lost" }, done: 0 },
  // It is read back after each write, and yet does not tell how often there was one.
  "press-4": { signal: "step", value: 5, fault: { kind: "write-answer-lost" }, done: 1 },
} as const satisfies Record<string, { signal: string; value: unknown; fault: PlcFault; done: number }>;
const PRESSES = Object.keys(PLCS) as (keyof typeof PLCS)[];

interface Run {
  readonly executions: readonly (Execution & { device: string })[];
  readonly views: readonly CommandView[];
}

/** What must not be, as sentences. */
function complaints({ executions, views }: Run): string[] {
  const done = Map.groupBy(executions, ({ id }) => id);
  return views.flatMap(({ id, device, signal, value, state }) => {
    const times = done.get(id)?.length ?? 0;
    const name = `${device} ${signal} ${value}`;
    if (times > 1) return [`${name} was carried out ${times} times`];
    if (times === 0 && (state === "verified" || state === "acknowledged")) {
      return [`${name} is said to be ${state}, and was not carried out`];
    }
    const never = ["queued", "failed", "expired", "cancelled"];
    return times === 1 && never.includes(state)
      ? [`${name} was carried out, and is said to be ${state}`]
      : [];
  });
}

const config = {
  targets: { outbox: { type: "file" } },
  flows: { all: { from: "plant/#", to: "outbox" } },
  devices: Object.fromEntries(PACKERS.map((name) => [name, { type: "mqtt", commands: PACKER_COMMANDS }])),
  commands: {
    ttl: "10m",
    ttlMax: "1h",
    answerWithin: "1m",
    classes: { steps: { signals: ["step"], onUnknown: "hold" } },
  },
};

async function post<T = CommandView>(journey: Journey, path: string, body: unknown): Promise<T> {
  const response = await fetch(journey.http + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return (await response.json()) as T;
}

const show = async (journey: Journey, id: string) =>
  (await (await fetch(`${journey.http}/v1/commands/${id}`)).json()) as CommandView;

/** Each packer carries out one command, loses its answer, and the gateway is killed there; as often as it takes. */
async function run(journey: Journey): Promise<Run & { packers: Packer[] }> {
  const packers = PACKERS.map((name) => new Packer(name));
  const connect = () => Promise.all(packers.map((packer) => packer.connect(journey.port)));
  for (const packer of packers) packer.mode = "silent";
  await connect();
  const ids: string[] = [];
  for (let n = 1; n <= COMMANDS_EACH; n++) {
    for (const device of PACKERS) {
      // The first packer takes steps, which nobody may guess about; the others are told what to be.
      const what = device === "packer-1" ? { signal: "step" } : { signal: "speed", value: n };
      ids.push((await post(journey, "/v1/commands", { device, ...what })).id);
    }
  }
  await eventually("each has carried out its first, or is said to have", async () => {
    if (packers.every(({ executions }) => executions.length > 0)) return true;
    return (await Promise.all(ids.map((id) => show(journey, id)))).every(({ final }) => final);
  });
  await journey.killAndStart();
  await connect();
  // What was being sent is unknown now, or has been sent again.
  await eventually("it is known that the answers are lost", async () => {
    if (packers.some((packer) => packer.executions.length > 1)) return true;
    const views = await Promise.all(ids.slice(0, PACKERS.length).map((id) => show(journey, id)));
    return views.every(({ state }) => state !== "sent" && state !== "queued");
  });
  // Time enough for a gateway that would send something again.
  await journey.audited();
  const executions = packers.flatMap((packer, at) =>
    packer.executions.map((execution) => ({ ...execution, device: PACKERS[at]! })),
  );
  return { executions, packers, views: await Promise.all(ids.map((id) => show(journey, id))) };
}

describe("a gateway that is killed while a device is carrying out a command", () => {
  const gateway = shared(() => Journey.start({ config }));
  let packers: Packer[] = [];
  afterAll(() => Promise.all(packers.map((packer) => packer.disconnect())));

  test("carries none out twice, and says of none that it is done until the device has", async () => {
    const journey = gateway();
    const first = await run(journey);
    packers = first.packers;
    expect(complaints(first)).toEqual([]);
    // One that is being asked about just then is not.
    await eventually("all of them are unknown", async () => {
      const views = await Promise.all(
        first.views.slice(0, PACKERS.length).map(({ id }) => show(journey, id)),
      );
      return views.every(({ state }) => state === "unknown");
    });
    // The others wait behind: nothing overtakes what may still be under way.
    expect(first.executions).toHaveLength(PACKERS.length);
    const [step, ...setpoints] = first.views.slice(0, PACKERS.length);
    expect(step!.needsPerson).toBe(true);
    expect(step!.history.map(({ kind }) => kind)).toEqual(["sending", "unknown", "held"]);
    // The packers find their tongues: what they say late is heard, and the person has seen the pack.
    for (const packer of packers) packer.mode = "done";
    for (const { id, device } of setpoints) await packers[PACKERS.indexOf(device)]!.reply(id, "done");
    await post(journey, `/v1/commands/${step!.id}/resolve`, { done: true, reason: "seen" });
    const views = await eventually("all are done", async () => {
      const now = await Promise.all(first.views.map(({ id }) => show(journey, id)));
      return now.every(({ final }) => final) && now;
    });
    const executions = packers.flatMap((packer, at) =>
      packer.executions.map((execution) => ({ ...execution, device: PACKERS[at]! })),
    );
    expect(complaints({ executions, views })).toEqual([]);
    expect(executions).toHaveLength(PACKERS.length * COMMANDS_EACH);
    for (const device of PACKERS.slice(1)) {
      const values = executions.filter((each) => each.device === device).map(({ value }) => value);
      expect(values).toEqual([1, 2, 3, 4]);
    }
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
    const audit = await (await fetch(`${journey.http}/v1/audit?command=${setpoints[0]!.id}`)).json();
    const events = (audit as { entries: { event: string }[] }).entries.map(({ event }) => event);
    expect(events.toReversed()).toEqual(["queued", "unknown", "verified"]);
  });
});

/** As the gateway is to read and write it; it waits for an answer longer than the kill takes. */
function pressOn(port: number) {
  const write = { pauseMin: "0s", readAfter: "20ms" };
  const registers = {
    level: { address: 0, write: { ...write, min: 0, max: 900, idempotent: true } },
    step: { address: 20, write: { ...write, min: 0, max: 9 } },
    feed: { table: "coil", address: 1, write: { ...write, values: [true], verify: false } },
  };
  return {
    type: "modbus",
    connection: { type: "tcp", host: "127.0.0.1", port },
    timeout: "20s",
    groups: { all: { every: "50ms", registers } },
  };
}

/** Each PLC is told one thing, and the gateway is killed before it has an answer. */
async function runPlcs(fault?: string): Promise<Run & { journey: Journey; plcs: Plc[] }> {
  const plcs = await Promise.all(PRESSES.map(() => new Plc().start()));
  onTestFinished(() => Promise.all(plcs.map((plc) => plc.stop())).then(() => {}));
  const devices = Object.fromEntries(PRESSES.map((press, at) => [press, pressOn(plcs[at]!.port)]));
  const journey = await Journey.start({ config: { ...config, devices }, fault });
  await eventually("all are polled", () => plcs.every(({ asked }) => asked.length > 10));
  const ids: string[] = [];
  for (const [at, device] of PRESSES.entries()) {
    const { signal, value, fault: loses } = PLCS[device];
    plcs[at]!.setFault(loses);
    ids.push((await post(journey, "/v1/commands", { device, signal, value })).id);
  }
  const views = () => Promise.all(ids.map((id) => show(journey, id)));
  const wasWritten = ({ asked }: Plc) => asked.some(({ code }) => code === 5 || code === 6);
  await eventually("each has heard the write, or is said to have", async () => {
    return plcs.every(wasWritten) || (await views()).every(({ final }) => final);
  });
  const before = plcs.map(({ written }) => written.length);
  if (fault === undefined) expect(before).toEqual(PRESSES.map((press) => PLCS[press].done));
  await journey.process.kill();
  for (const plc of plcs) plc.setFault({ kind: "none" });
  await journey.process.start();
  await eventually("nothing more comes of any by itself", async () =>
    (await views()).every(({ final, needsPerson }) => final || needsPerson),
  );
  const executions = plcs.flatMap(({ written }, at) =>
    written.map(() => ({ ...PLCS[PRESSES[at]!], id: ids[at]!, device: PRESSES[at]! })),
  );
  return { journey, plcs, executions, views: await views() };
}

describe("a gateway that is killed while a PLC is carrying out a command, and is polled", () => {
  test("looks what became of it, has it done where it was not, and asks a person where nothing shows it", async () => {
    const { journey, plcs, ...found } = await runPlcs();
    expect(complaints(found)).toEqual([]);
    expect(found.views.map(({ state, needsPerson }) => [state, needsPerson])).toEqual([
      ["unknown", true],
      ["verified", false],
      ["verified", false],
      ["unknown", true],
    ]);
    expect(plcs.map(({ written }) => written.length)).toEqual([1, 1, 1, 1]);
    const kinds = found.views.map(({ history }) => history.map(({ kind }) => kind).join(" "));
    expect(kinds.slice(1, 3)).toEqual([
      "sending unknown verified delivered",
      "sending unknown sent verified delivered",
    ]);
    for (const { id, state } of found.views) {
      if (state === "unknown")
        await post(journey, `/v1/commands/${id}/resolve`, { done: true, reason: "seen" });
    }
    await journey.drained();
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
    expect(plcs.map(({ written }) => written.length)).toEqual([1, 1, 1, 1]);
    const asked = plcs.map((plc) => plc.asked.length);
    await eventually("all are polled on", () => plcs.every((plc, at) => plc.asked.length > asked[at]! + 10));
  });
});

describe.each([
  ["resend-blindly", /carried out 2 times/],
  ["take-for-done", /said to be (verified|acknowledged), and was not carried out/],
])("a gateway that would %s", (fault, complaint) => {
  const wide = capability("wide");

  test.skipIf(!wide.present)("is found out", async () => {
    const journey = await Journey.start({ config, fault });
    const found = await run(journey);
    for (const packer of found.packers) await packer.disconnect();
    expect(complaints(found).join("\n")).toMatch(complaint);
  });

  test.skipIf(!wide.present)("is found out at PLCs too", async () => {
    expect(complaints(await runPlcs(fault)).join("\n")).toMatch(complaint);
  });
});
