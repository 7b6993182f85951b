/** Notifications: what is raised now, what was told, how the channels are, and a test of them. */
import { z } from "zod";
import { HoldfastError } from "../core/errors.ts";
import type { RuleName } from "../watch/schema.ts";
import { reason } from "./acts.ts";
import { type Operation, operation } from "./operation.ts";
import { count, epochMs, epochMsOrNull } from "./shapes.ts";

const event = () => z.enum(["raised", "reminder", "resolved"]);
const outcome = () => z.enum(["sent", "failed", "dropped"]);

const channel = () =>
  z.object({
    channel: z.string(),
    type: z.string(),
    where: z.string().describe("The host, or the topic; never a secret."),
    severity: z.enum(["attention", "alarm"]).describe("What it is told of, at least."),
    state: z.enum(["idle", "sending", "waiting", "failing"]),
    waiting: count().describe("Alerts that are still to be told."),
    lastSentAtMs: epochMsOrNull().describe("In this run."),
    lastError: z.string().nullable(),
    failingSinceMs: epochMsOrNull(),
    nextTryInMs: z.number().nullable(),
  });

const alert = () =>
  z.object({
    id: z.string(),
    key: z.string(),
    rule: z.string() as z.ZodType<RuleName>,
    subject: z.string().nullable(),
    severity: z.enum(["alarm", "attention"]),
    sentence: z.string(),
    sinceMs: epochMs(),
    reminders: count(),
    over: z.boolean().describe("Over just now, and not for long enough yet to be told so."),
  });

const told = () =>
  z.object({
    atMs: epochMs(),
    channel: z.string(),
    outcome: outcome(),
    event: event(),
    key: z.string(),
    sentence: z.string(),
    error: z.string().nullable().describe("Why it could not be told; null where it was."),
  });

const rule = () =>
  z.object({
    rule: z.string() as z.ZodType<RuleName>,
    about: z.string(),
    enabled: z.boolean(),
    forMs: z.number().describe("It has to be so for this long before it is told."),
    clearAfterMs: z.number().describe("It has to be over for this long before that is told."),
    remindEveryMs: z.number().describe("It is told again this often while it lasts; 0 for never."),
    limits: z
      .record(z.string(), z.number())
      .describe(
        "Of a rule with thresholds, in ms, dead letters or bytes: `above` or `below`, and `clearAt`.",
      ),
    only: z.array(z.string()).nullable().describe("Flows, targets or devices; null for all."),
    except: z.array(z.string()),
    channels: z.array(z.string()).describe("Those that are told."),
  });

export const notificationOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/notifications",
    name: "listNotifications",
    tag: "gateway",
    summary: "Alerts that are raised, channels and how they are, and what was told",
    notes:
      "`recent` is of this run, the newest first, at most 200: a try that failed again takes the place of the last.",
    role: "view",
    answer: () =>
      z.object({
        asOfMs: epochMs(),
        channels: z.array(channel()),
        current: z.array(alert()),
        recent: z.array(told()),
        rules: z.array(rule()).describe("What is looked at, as configured."),
      }),
    handle: (_, { watch: { notifier }, clock }) => ({
      asOfMs: clock.wallMs(),
      channels: notifier?.channels() ?? [],
      current: (notifier?.raised() ?? []).map(({ toldSteadyMs: _told, overSteadyMs, ...each }) => ({
        ...each,
        over: overSteadyMs !== null,
      })),
      recent: notifier?.recent() ?? [],
      rules: notifier?.rules() ?? [],
    }),
  }),
  operation({
    method: "POST",
    path: "/v1/notifications/test",
    name: "testNotification",
    tag: "gateway",
    summary: "Sends a test down one channel, or all of them, and says what each answered",
    role: "operate",
    body: z.strictObject({
      channel: z.string().min(1).max(64).optional().describe("Default: all."),
      reason: reason.optional(),
    }),
    answer: () =>
      z.object({
        results: z.array(z.object({ channel: z.string(), sent: z.boolean(), reason: z.string().nullable() })),
      }),
    async handle({ body: { channel: name, reason: why }, caller }, { watch, act }) {
      const { notifier, events } = watch;
      if (!notifier) throw new HoldfastError("HF_NOT_FOUND", "there is no channel");
      const results = await notifier.test(name, caller.name);
      const taken = results.filter(({ sent }) => sent).map((each) => each.channel);
      const detail = { channel: name ?? null, taken };
      await act({ who: caller.name, what: "testNotification", detail, reason: why ?? null });
      const sentence = `${caller.name} sent a test; ${taken.length} of ${results.length} channels took it`;
      events.tell({ kind: "act", severity: "info", subject: caller.name, sentence });
      return { results };
    },
  }),
];
