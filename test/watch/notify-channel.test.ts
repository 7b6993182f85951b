import { beforeEach, describe, expect, it } from "vitest";
import { seededRandom } from "../../src/core/random.ts";
import type { Alert, AlertEvent } from "../../src/watch/alerts.ts";
import type { Notification, Telling } from "../../src/watch/notification.ts";
import { NotifyChannel } from "../../src/watch/notify-channel.ts";
import { ManualClock } from "../support/manual-clock.ts";

const MINUTE = 60_000;
let clock: ManualClock;
let sent: { id: string; text: string; events: string[] }[];
let outcomes: string[];
let answer: () => Promise<void>;

beforeEach(() => {
  clock = new ManualClock();
  sent = [];
  outcomes = [];
  answer = async () => {};
});

function channelWith(config: object = {}, waiting: readonly Telling[] = []): NotifyChannel {
  const channel = new NotifyChannel({
    name: "phone",
    config: { pause: 30_000, giveUpAfter: 24 * 60 * MINUTE, severity: "attention", ...config },
    gateway: "line-3",
    waiting,
    async send({ id, text, body }: Notification) {
      const { alerts } = JSON.parse(body) as { alerts: { event: string; key: string }[] };
      sent.push({ id, text, events: alerts.map(({ event, key }) => `${event} ${key}`) });
      await answer();
    },
    saved: async () => {},
    onOutcome: (_, outcome, tellings) => void outcomes.push(`${outcome} ${tellings.length}`),
    steadyMs: () => clock.monoMs(),
    clock,
    random: seededRandom(1),
  });
  channel.start();
  return channel;
}

function alert(n: number, more: Partial<Alert> = {}): Alert {
  return {
    id: `alert-${n}`,
    key: `target-down:mes-${n}`,
    rule: "targets",
    subject: `mes-${n}`,
    severity: "attention",
    sentence: `target mes-${n} is away`,
    sinceMs: clock.wallMs(),
    toldSteadyMs: 0,
    reminders: 0,
    overSteadyMs: null,
    ...more,
  };
}

const take = (channel: NotifyChannel, event: AlertEvent, of: Alert) =>
  channel.take({ event, alert: of }, clock.wallMs());

describe("a channel", () => {
  it("tells the first at once, and what comes in a storm in few messages", async () => {
    const channel = channelWith();
    take(channel, "raised", alert(0));
    await clock.advanceAsync(0);
    for (let n = 1; n <= 40; n++) take(channel, "raised", alert(n));
    await clock.advanceAsync(29_000);
    expect(sent.map(({ events }) => events.length)).toEqual([1]);
    await clock.advanceAsync(2000);
    expect(sent.map(({ events }) => events.length)).toEqual([1, 40]);
    expect(sent[1]!.text).toContain("… and 30 more");
    expect(outcomes).toEqual(["sent 1", "sent 40"]);
    expect(channel.state()).toMatchObject({ state: "idle", waiting: 0, lastError: null });
  });

  it("tries again further and further apart, under one id, and is a problem from the third try on", async () => {
    const channel = channelWith();
    answer = async () => {
      throw new Error("connect ECONNREFUSED");
    };
    take(channel, "raised", alert(1));
    await clock.advanceAsync(0);
    expect(channel.isTroubled).toBe(false);
    await clock.advanceAsync(60 * MINUTE);
    expect(new Set(sent.map(({ id }) => id)).size).toBe(1);
    // Five minutes apart at the most, and never in a storm.
    expect(sent.length).toBeGreaterThan(12);
    expect(sent.length).toBeLessThan(60);
    expect(channel.isTroubled).toBe(true);
    expect(channel.state()).toMatchObject({
      state: "failing",
      waiting: 1,
      lastError: "connect ECONNREFUSED",
    });
    answer = async () => {};
    await clock.advanceAsync(5 * MINUTE);
    expect(channel.state()).toMatchObject({ state: "idle", waiting: 0, failingSinceMs: null });
    expect(channel.isTroubled).toBe(false);
  });

  it("tells of what came and went while it could not be reached, once, as over", async () => {
    const channel = channelWith();
    answer = async () => {
      throw new Error("no line");
    };
    take(channel, "raised", alert(1));
    await clock.advanceAsync(MINUTE);
    answer = async () => {};
    take(channel, "resolved", alert(1));
    await clock.advanceAsync(6 * MINUTE);
    expect(sent.at(-1)).toMatchObject({ events: ["resolved target-down:mes-1"] });
    expect(sent.at(-1)!.text).toMatch(/^line-3: over: target mes-1 is away \(it lasted/);
    expect(sent.at(-1)!.id).not.toBe(sent[0]!.id);
    expect(channel.waiting()).toEqual([]);
  });

  it("does not lose what becomes of an alert while it is being told", async () => {
    const channel = channelWith({ pause: 0 });
    const underway = Promise.withResolvers<void>();
    answer = () => underway.promise;
    take(channel, "raised", alert(1));
    await clock.advanceAsync(0);
    take(channel, "resolved", alert(1));
    underway.resolve();
    await clock.advanceAsync(1);
    expect(sent.map(({ events }) => events[0])).toEqual([
      "raised target-down:mes-1",
      "resolved target-down:mes-1",
    ]);
  });

  it("keeps a bounded number, and none for longer than giveUpAfter; what it drops it says", async () => {
    const channel = channelWith({ giveUpAfter: 60 * MINUTE });
    answer = async () => {
      throw new Error("no line");
    };
    for (let n = 0; n < 210; n++) take(channel, "raised", alert(n));
    expect(channel.waiting()).toHaveLength(200);
    expect(channel.waiting()[0]!.alert.id).toBe("alert-10");
    await clock.advanceAsync(70 * MINUTE);
    expect(channel.waiting()).toEqual([]);
    expect(outcomes.filter((each) => each === "dropped 1")).toHaveLength(10);
    expect(outcomes.at(-1)).toBe("dropped 200");
  });

  it("for alarms alone is not told of less, and nobody is told that he could not be told", async () => {
    const alarms = channelWith({ severity: "alarm" });
    take(alarms, "raised", alert(1));
    take(alarms, "raised", alert(2, { severity: "alarm" }));
    take(alarms, "raised", alert(3, { severity: "alarm", rule: "channels", subject: "phone" }));
    await clock.advanceAsync(MINUTE);
    expect(sent.flatMap(({ events }) => events)).toEqual(["raised target-down:mes-2"]);
    expect(sent[0]!.text).toContain("ALARM: ");
  });

  it("goes on with what an earlier run could not tell", async () => {
    const event = "resolved" as const;
    channelWith({}, [{ event, alert: alert(1), queuedSteadyMs: 0, atMs: clock.wallMs() }]);
    await clock.advanceAsync(1);
    expect(sent).toHaveLength(1);
  });

  it("leaves no timer behind when it is stopped", async () => {
    const channel = channelWith();
    answer = async () => {
      throw new Error("no line");
    };
    take(channel, "raised", alert(1));
    await clock.advanceAsync(MINUTE);
    await channel.stop();
    expect(clock.timers).toBe(0);
  });
});
