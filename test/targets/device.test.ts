/** What a command's executor says, and what the target makes of it. */
import { describe, expect, it } from "vitest";
import type { CommandOutcome, ProbeOutcome } from "../../src/core/command.ts";
import { DeviceTarget } from "../../src/targets/device.ts";
import { FakeDevice, type FakeDeviceOptions } from "../support/fake-device.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { makeDelivery, noAbort } from "./deliveries.ts";

const clock = new ManualClock();

function makeTarget(options: FakeDeviceOptions = {}) {
  const device = new FakeDevice(options);
  const presence = () => ({ reachable: true, detail: "online" });
  const target = new DeviceTarget({
    device: "press-7",
    commanded: device,
    presence,
    oneAtATime: true,
    clock,
  });
  return { device, target };
}

function commandDelivery(onUnknown = "probe", changes: { expiresInMs?: number; resend?: boolean } = {}) {
  const order = { signal: "speed", value: 40, preconditions: [], onUnknown, answerWithinMs: 1000 };
  return makeDelivery({ device: "press-7", payload: Buffer.from(JSON.stringify(order)) }, changes);
}

async function executing(script: FakeDevice["script"], delivery = commandDelivery()) {
  const { device, target } = makeTarget();
  device.script = script;
  const [outcome] = await target.deliver([delivery], noAbort);
  return { ...outcome!, trail: outcome!.trail?.map(({ kind }) => kind) ?? [] };
}

const answering = (outcome: CommandOutcome, { sent = true, delivery = commandDelivery() } = {}) =>
  executing(async (_command, onSent) => {
    if (sent) onSent();
    return outcome;
  }, delivery);

describe("what comes of a command", () => {
  it("is delivered with its evidence where the device has shown it", async () => {
    expect(await answering({ kind: "verified", evidence: "read back", value: 40 })).toEqual({
      kind: "delivered",
      detail: "read back (40)",
      trail: ["sent", "verified"],
    });
    expect(await answering({ kind: "acknowledged", evidence: "it took it" })).toEqual({
      kind: "delivered",
      detail: "it took it",
      trail: ["sent", "acknowledged"],
    });
  });

  it("is rejected where the device said no, or a rule forbids it", async () => {
    expect(await answering({ kind: "failed", reason: "illegal data value" })).toMatchObject({
      kind: "reject",
      reason: "illegal data value",
    });
    const refused = { kind: "refused", rule: "devices.press-7.write.max", reason: "above 3" } as const;
    expect(await answering(refused, { sent: false })).toMatchObject({
      kind: "reject",
      reason: "devices.press-7.write.max: above 3",
      trail: [],
    });
  });

  it("is nobody's fault but the device's where it cannot be reached", async () => {
    expect(await answering({ kind: "unreachable", reason: "ECONNREFUSED" }, { sent: false })).toMatchObject({
      kind: "retry",
      fault: "target",
    });
  });

  it("is unknown where the answer was lost, or executing it failed", async () => {
    expect(await answering({ kind: "unknown", reason: "timeout" })).toMatchObject({
      kind: "unknown",
      reason: "timeout",
      trail: ["sent"],
    });
    const thrown = executing(async () => Promise.reject(new Error("a defect")));
    expect(await thrown).toMatchObject({ kind: "unknown", reason: expect.stringContaining("a defect") });
  });

  it("is unknown where an executor claims that nothing was sent, after it said that something was", async () => {
    for (const outcome of [
      { kind: "unreachable", reason: "connection reset" },
      { kind: "refused", rule: "a.rule", reason: "no" },
    ] as const) {
      expect(await answering(outcome)).toMatchObject({ kind: "unknown", trail: ["sent"] });
    }
  });

  it("is unknown where an executor says nothing at all", async () => {
    const outcome = executing((_command, onSent) => {
      onSent();
      return new Promise(() => {});
    });
    await clock.advanceAsync(7000);
    expect(await outcome).toMatchObject({ kind: "unknown", reason: expect.stringContaining("in time") });
  });
});

describe("a command whose time is over", () => {
  const busyUntilTold: FakeDevice["script"] = (_command, _onSent, signal) =>
    new Promise((resolve) => {
      const reason = "the gateway stops";
      signal.addEventListener("abort", () => resolve({ kind: "unreachable", reason }), { once: true });
    });

  it("before its device could be told is not sent any more, and that is said", async () => {
    const outcome = executing(busyUntilTold, commandDelivery("probe", { expiresInMs: 2000 }));
    await clock.advanceAsync(2000);
    expect(await outcome).toMatchObject({ kind: "retry", reason: expect.stringMatching(/time was over/) });
  });

  it("is not given up once it is sent", async () => {
    const outcome = executing(
      async (_command, onSent, signal) => {
        onSent();
        await clock.advanceAsync(3000);
        return signal.aborted
          ? { kind: "unknown", reason: "given up" }
          : { kind: "acknowledged", evidence: "it took it" };
      },
      commandDelivery("probe", { expiresInMs: 2000 }),
    );
    expect(await outcome).toMatchObject({ kind: "delivered" });
  });
});

describe("a command whose answer was lost", () => {
  it.each<[string, CommandOutcome, boolean, object]>([
    [
      "a rule forbids it now",
      { kind: "refused", rule: "preconditions[0]", reason: "level is 510, not < 500" },
      false,
      { kind: "unknown", hold: true, reason: expect.stringMatching(/may have been done.*level is 510/) },
    ],
    [
      "the device says no to it",
      { kind: "failed", reason: "device-busy" },
      true,
      { kind: "unknown", hold: true, trail: ["sent"] },
    ],
    [
      "it was looked what it holds",
      { kind: "failed", reason: "holding 0 reads 3", value: 3 },
      true,
      { kind: "reject" },
    ],
  ])("and that is sent again has not failed because %s", async (_, outcome, sent, expected) => {
    const delivery = (onUnknown: string, resend: boolean) => commandDelivery(onUnknown, { resend });
    expect(await answering(outcome, { sent, delivery: delivery("retry", true) })).toMatchObject(expected);
    // Of the first try, and of one that was found not to have been done, it is the whole truth.
    expect(await answering(outcome, { sent, delivery: delivery("retry", false) })).toMatchObject({
      kind: "reject",
    });
    expect(await answering(outcome, { sent, delivery: delivery("probe", true) })).toMatchObject({
      kind: "reject",
    });
  });

  it.each([
    ["probe", {}, "probe"],
    ["probe", { verifiable: false }, "hold"],
    ["retry", {}, "retry"],
    ["retry", { idempotent: false }, "hold"],
    ["hold", {}, "hold"],
  ])("with %s, at a signal declared %o, is for %s", (policy, declared, expected) => {
    const { target } = makeTarget({ signals: [declared] });
    expect(target.onUnknown(commandDelivery(policy))).toBe(expected);
  });

  it("is for a person where its signal is not in the config any more, or its time is over", () => {
    expect(makeTarget({ signals: [] }).target.onUnknown(commandDelivery("retry"))).toBe("hold");
    expect(makeTarget().target.onUnknown(commandDelivery("retry", { expiresInMs: 0 }))).toBe("hold");
  });

  async function found(probing: ProbeOutcome, changes = {}) {
    const { device, target } = makeTarget();
    device.probing = () => probing;
    return target.findOut(commandDelivery("probe", changes), noAbort);
  }

  it("is what the device shows", async () => {
    expect(await found({ kind: "done", evidence: "reads 40", value: 40 })).toMatchObject({
      kind: "delivered",
      detail: "found to be done: reads 40 (40)",
      trail: [{ kind: "verified" }],
    });
    expect(await found({ kind: "failed", reason: "jammed" })).toMatchObject({ kind: "reject" });
    expect(await found({ kind: "cannot say", reason: "away" })).not.toHaveProperty("hold");
  });

  it("is for a person where the device will never show it, however often it is asked", async () => {
    const never = { kind: "cannot say", reason: "nothing shows it", hold: true } as const;
    expect(await found(never)).toMatchObject({
      kind: "unknown",
      hold: true,
      reason: expect.stringContaining("nothing shows it"),
    });
  });

  it("is sent again where it was not done and there is still time, and given up where there is none", async () => {
    const notDone = { kind: "not done", evidence: "reads 12" } as const;
    expect(await found(notDone)).toBe("send again");
    expect(await found(notDone, { expiresInMs: 1 })).toBe("send again");
    expect(await found(notDone, { expiresInMs: 0 })).toMatchObject({
      kind: "reject",
      reason: expect.stringContaining("its time is over"),
    });
  });
});
