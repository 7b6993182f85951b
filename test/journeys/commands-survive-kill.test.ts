/**
 * kill -9 of the gateway while commands are under way, at a device that does what it is told and then loses the answer:
 * none is carried out twice, and none is said to be done that was not. A gateway that sends again blindly, and one that
 * takes its own word for the device's, are found out.
 */
import { afterAll, describe, expect, test } from "vitest";
import type { CommandView } from "../../src/queue/queries-commands.ts";
import { capability } from "../support/capabilities.ts";
import { eventually, Journey, shared } from "../support/journey.ts";
import { type Execution, PACKER_COMMANDS, Packer } from "../support/packer.ts";

const PACKERS = ["packer-1", "packer-2", "packer-3"];
const COMMANDS_EACH = 4;

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
    expect(first.views.slice(0, PACKERS.length).map(({ state }) => state)).toEqual(
      PACKERS.map(() => "unknown"),
    );
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

describe.each([
  ["resend-blindly", /carried out 2 times/],
  ["take-for-done", /said to be (verified|acknowledged), and was not carried out/],
])("a gateway that would %s", (fault, complaint) => {
  test.skipIf(!capability("wide").present)("is found out", async () => {
    const journey = await Journey.start({ config, fault });
    const found = await run(journey);
    for (const packer of found.packers) await packer.disconnect();
    expect(complaints(found).join("\n")).toMatch(complaint);
  });
});
