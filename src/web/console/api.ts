/**
 * The gateway's API as the page sees it. Answers are typed by the server's own types, so that the two cannot
 * drift apart without the compiler saying so.
 */

import type { CommandValue, OfferedSignal } from "../../core/command.ts";
import type { Estimate, JobKind, JobView } from "../../core/job.ts";
import type { DeliveryState } from "../../core/outcome.ts";
import type { PauseKind } from "../../queue/pauses.ts";
import type { StoreStatus } from "../../queue/queries.ts";
import type { ActsPage } from "../../queue/queries-acts.ts";
import type { CommandRow, CommandView } from "../../queue/queries-commands.ts";
import type { DeadLettersPage } from "../../queue/queries-failures.ts";
import type { MessageHistory } from "../../queue/queries-history.ts";
import type { MessagesPage } from "../../queue/queries-search.ts";
import type { Checked, Edited } from "../../relay/corrections.ts";
import type { PauseChanged } from "../../relay/pauses.ts";
import type { Asked } from "../../relay/repairs.ts";
import type { Alert } from "../../watch/alerts.ts";
import type { GatewayEvent } from "../../watch/events.ts";
import type { HistorySpan, HistoryView } from "../../watch/history.ts";
import type { ChannelView, RuleView, TestResult, Told } from "../../watch/notifier.ts";
import type { SignedReport } from "../../watch/watch.ts";
import type { Role } from "../callers.ts";
import type { DeviceRow } from "../context.ts";
import type * as entrance from "../entrance.ts";
import type { ProblemDetails } from "../problem.ts";
import { browserClock } from "./browser-clock.ts";

/** GET /v1/status: the store as of one commit, and what only the running gateway knows. */
export interface StatusAnswer extends StoreStatus {
  readonly asOfMs: number;
  readonly health: SignedReport;
}

export interface DevicesAnswer {
  readonly asOfMs: number;
  readonly total: number;
  readonly devices: readonly DeviceEntry[];
}

export interface DeviceEntry extends DeviceRow {
  readonly commands: readonly OfferedSignal[];
}

export interface Visitor {
  readonly name: string;
  /** Null for somebody who has to show a token first. */
  readonly role: Role | null;
  readonly tokensExist: boolean;
}

export interface CommandsAnswer {
  readonly commands: readonly CommandRow[];
  readonly next: number | null;
}

export interface Commandable {
  readonly devices: readonly { readonly device: string; readonly signals: readonly OfferedSignal[] }[];
}

export interface CommandAsk {
  readonly device: string;
  readonly signal: string;
  readonly value?: CommandValue;
  /** Such as `30s`. */
  readonly ttl?: string;
  readonly reason?: string;
}

export interface NotificationsAnswer {
  readonly channels: readonly ChannelView[];
  readonly current: readonly (Omit<Alert, "toldSteadyMs" | "overSteadyMs"> & { readonly over: boolean })[];
  readonly recent: readonly Told[];
  readonly rules: readonly RuleView[];
}

export interface EventsAnswer {
  readonly sinceMs: number;
  readonly events: readonly GatewayEvent[];
}

/** The gateway refused, and said why. */
export class Refusal extends Error {
  readonly problem: ProblemDetails;

  constructor(problem: ProblemDetails) {
    super(problem.detail);
    this.problem = problem;
  }
}

/** Nobody answered, or not the gateway. */
export class NoAnswer extends Error {}

const ANSWER_WAIT_MS = 10_000;

export interface Answer<T> {
  readonly value: T;
  /** Which run of the gateway answered. */
  readonly boot: string;
}

/** A checked answer of the gateway, whatever is in it. */
async function fetched(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  const aborting = new AbortController();
  const timer = browserClock.after(ANSWER_WAIT_MS, () => aborting.abort());
  try {
    const response = await fetch(path, {
      method,
      headers: {
        ...headers,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        // No form and no other page can send it: the session's cookie alone does not act.
        ...(method === "GET" ? {} : { [PAGE_HEADER]: "1" }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: aborting.signal,
      cache: "no-store",
    });
    if (!response.headers.has("holdfast-boot")) throw new NoAnswer("something else answers in its place");
    if (!response.ok) throw new Refusal((await response.json()) as ProblemDetails);
    return response;
  } catch (error) {
    if (error instanceof Refusal || error instanceof NoAnswer) throw error;
    throw new NoAnswer(
      aborting.signal.aborted ? `no answer within ${ANSWER_WAIT_MS / 1000} s` : "no connection",
    );
  } finally {
    timer.cancel();
  }
}

async function ask<T>(...asked: Parameters<typeof fetched>): Promise<Answer<T>> {
  const response = await fetched(...asked);
  return { value: (await response.json()) as T, boot: response.headers.get("holdfast-boot")! };
}

async function value<T>(...asked: Parameters<typeof ask>): Promise<T> {
  return (await ask<T>(...asked)).value;
}

function query(params: Record<string, string | number | undefined>): string {
  const given = Object.entries(params).filter(([, each]) => each !== undefined && each !== "");
  return given.length === 0
    ? ""
    : `?${new URLSearchParams(given.map(([name, each]) => [name, String(each)]))}`;
}

/** What the gateway asks of pages (entrance.ts). */
const PAGE_HEADER: typeof entrance.PAGE_HEADER = "holdfast-page";

/** Which deliveries a repair is about. */
export interface RepairSelection {
  readonly flow?: string;
  readonly group?: string;
  readonly ids?: readonly string[];
  readonly all?: true;
}

/** One request does a part of it: `next` is where the one after it begins. */
export interface RepairStep extends RepairSelection {
  readonly after?: number;
  readonly limit?: number;
}

export interface Stepped {
  readonly next: number | null;
  readonly left: readonly { readonly id: string; readonly states: readonly DeliveryState[] }[];
}

/** What is to be another one of a dead letter. */
export interface LetterChange {
  readonly id: string;
  readonly flow: string;
  readonly payload?: string;
  readonly topic?: string;
}

export interface JobAsk extends RepairSelection {
  readonly kind: JobKind;
  readonly device?: string;
  readonly topic?: string;
  readonly from?: string;
  readonly to?: string;
  readonly into?: string;
  readonly rate?: number;
  readonly reason?: string;
}

export const api = {
  status: () => ask<StatusAnswer>("GET", "/v1/status"),
  history: (span: HistorySpan) => value<HistoryView>("GET", `/v1/history?span=${span}`),
  message: (id: string) => value<MessageHistory>("GET", `/v1/messages/${encodeURIComponent(id)}`),
  messages: (params: Parameters<typeof query>[0]) =>
    value<MessagesPage>("GET", `/v1/messages${query(params)}`),
  payloadAddress: (id: string, edit?: number) =>
    `/v1/messages/${encodeURIComponent(id)}/payload${query({ edit })}`,
  payload: async (id: string, edit?: number) => (await fetched("GET", api.payloadAddress(id, edit))).bytes(),
  events: () => value<EventsAnswer>("GET", "/v1/events"),
  devices: () => value<DevicesAnswer>("GET", "/v1/devices"),
  dead: (params: { flow?: string; reason?: string; after?: string; limit?: number }) =>
    value<DeadLettersPage>("GET", `/v1/dead${query(params)}`),
  acts: (before?: number) => value<ActsPage>("GET", `/v1/acts${query({ before, limit: 100 })}`),
  notifications: () => value<NotificationsAnswer>("GET", "/v1/notifications"),
  testNotification: (channel: string | undefined) =>
    value<{ results: readonly TestResult[] }>("POST", "/v1/notifications/test", { channel }),
  session: () => value<Visitor>("GET", "/v1/session"),
  login: (token: string) => value<Visitor>("POST", "/v1/session", { token }),
  logout: () => value<unknown>("DELETE", "/v1/session"),
  commands: () => value<CommandsAnswer>("GET", "/v1/commands?limit=200"),
  command: (id: string) => value<CommandView>("GET", `/v1/commands/${encodeURIComponent(id)}`),
  commandable: () => value<Commandable>("GET", "/v1/commandable"),
  /** Sent again under the same key it is the same command. */
  sendCommand: (command: CommandAsk, key: string) =>
    value<CommandView>("POST", "/v1/commands", command, { "idempotency-key": key }),
  cancelCommand: (id: string, reason?: string) =>
    value<unknown>("POST", `/v1/commands/${encodeURIComponent(id)}/cancel`, { reason }),
  resolveCommand: (id: string, done: boolean, reason: string) =>
    value<unknown>("POST", `/v1/commands/${encodeURIComponent(id)}/resolve`, { done, reason }),
  retry: (step: RepairStep) => value<Stepped & { redriven: number }>("POST", "/v1/dead/retry", step),
  discard: (step: RepairStep, reason: string) =>
    value<Stepped & { discarded: number }>("POST", "/v1/dead/discard", { ...step, reason }),
  markDelivered: (step: RepairStep, evidence: string) =>
    value<Stepped & { delivered: number }>("POST", "/v1/unknown/delivered", { ...step, evidence }),
  probe: (id: string, flow: string) => value<Asked>("POST", "/v1/unknown/probe", { id, flow }),
  check: (change: LetterChange) => value<Checked>("POST", "/v1/dead/check", change),
  edit: (change: LetterChange, reason: string) =>
    value<Edited>("POST", "/v1/dead/edit", { ...change, reason }),
  pause: (kind: PauseKind, name: string, reason: string) =>
    value<PauseChanged>("POST", "/v1/pause", { kind, name, reason }),
  resume: (kind: PauseKind, name: string, reason: string | undefined) =>
    value<PauseChanged>("POST", "/v1/resume", { kind, name, reason }),
  jobs: () => value<{ jobs: readonly JobView[]; next: number | null }>("GET", "/v1/jobs"),
  estimate: (ask: JobAsk) => value<Estimate>("POST", "/v1/jobs/estimate", ask),
  beginJob: (ask: JobAsk) => value<JobView>("POST", "/v1/jobs", ask),
  changeJob: (id: number, what: "pause" | "resume" | "cancel") =>
    value<JobView>("POST", `/v1/jobs/${id}/${what}`, {}),
};

/** What went wrong, as one sentence. */
export function said(error: unknown): string {
  if (error instanceof Refusal) return `${error.problem.detail}. ${error.problem.hint}`;
  return error instanceof Error ? error.message : String(error);
}
