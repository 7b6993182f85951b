/** What the gateway says of itself over HTTP, as far as a run needs it. */
import { z } from "zod";
import { DELIVERY_STATES } from "../src/core/outcome.ts";
import { safeParse } from "../src/core/safe-parse.ts";
import { FLOW_FIGURES, type FlowFigure } from "./expectations.ts";
import { askGateway } from "./gateway-process.ts";

const count = z.number();

const flowShape = z.looseObject({
  flow: z.string(),
  accepted: count,
  duplicates: count,
  late: count,
  ...(Object.fromEntries(DELIVERY_STATES.map((state) => [state, count])) as Record<
    (typeof DELIVERY_STATES)[number],
    typeof count
  >),
});

const statusShape = z.looseObject({
  flows: z.array(flowShape),
  door: z.looseObject({ accepted: count, duplicates: count, refused: count }),
});

export interface GatewayFigures {
  readonly accepted: number;
  readonly delivered: number;
  /** Waiting, being sent, or of unknown fate: still to be brought to an end. */
  readonly open: number;
  readonly waiting: number;
  readonly unknown: number;
  readonly dead: number;
  readonly expired: number;
  readonly evicted: number;
  readonly discarded: number;
  readonly duplicates: number;
  readonly late: number;
  /** For each flow, accepted = the sum of its states. */
  readonly balanced: boolean;
  readonly flows: Readonly<Record<string, FlowFigures>>;
}
export type FlowFigures = Readonly<Record<FlowFigure, number>>;

/** Null where the gateway does not answer, or not with the figures. */
export async function gatewayFigures(base: string | null): Promise<GatewayFigures | null> {
  const parsed = safeParse(statusShape, await askGateway(base, "/v1/status"));
  if (!parsed.success) return null;
  const { flows, door } = parsed.data;
  const sum = (what: keyof z.output<typeof flowShape>) =>
    flows.reduce((total, flow) => total + (flow[what] as number), 0);
  return {
    accepted: door.accepted,
    delivered: sum("delivered"),
    open: sum("waiting") + sum("sending") + sum("unknown"),
    waiting: sum("waiting"),
    unknown: sum("unknown"),
    dead: sum("dead"),
    expired: sum("expired"),
    evicted: sum("evicted"),
    discarded: sum("discarded"),
    duplicates: door.duplicates,
    late: sum("late"),
    balanced: flows.every(
      (flow) => flow.accepted === DELIVERY_STATES.reduce((total, state) => total + flow[state], 0),
    ),
    flows: Object.fromEntries(
      flows.map((flow) => [
        flow.flow,
        Object.fromEntries(FLOW_FIGURES.map((figure) => [figure, flow[figure]])) as FlowFigures,
      ]),
    ),
  };
}

const devicesShape = z.looseObject({
  boot: z.string(),
  devices: z.array(
    z.looseObject({ device: z.string(), storedSequence: count.optional(), made: count.optional() }),
  ),
});

export interface DeviceCursors {
  readonly boot: string;
  /** Up to which number each device's messages are stored, in this boot of the gateway. */
  readonly stored: ReadonlyMap<string, number>;
  /** Messages of readings that were made in this boot, of all devices. */
  readonly made: number;
}

/** Null where the gateway does not answer. */
export async function deviceCursors(base: string | null): Promise<DeviceCursors | null> {
  const parsed = safeParse(devicesShape, await askGateway(base, "/v1/devices"));
  if (!parsed.success) return null;
  const { boot, devices } = parsed.data;
  return {
    boot,
    stored: new Map(devices.map(({ device, storedSequence = 0 }) => [device, storedSequence])),
    made: devices.reduce((sum, { made = 0 }) => sum + made, 0),
  };
}

const historyShape = z.looseObject({
  message: z.looseObject({ seq: z.number(), acceptedAtMs: z.number(), clockTrusted: z.boolean().optional() }),
  deliveries: z.array(
    z.looseObject({
      flow: z.string(),
      state: z.string(),
      reason: z.string().nullish(),
      attempts: count.default(0),
    }),
  ),
  history: z.array(z.looseObject({ atMs: z.number(), kind: z.string(), detail: z.string().nullish() })),
});
export type MessageStory = z.output<typeof historyShape>;

/** A message's deliveries and history, or null where the gateway does not have it or does not answer. */
export async function messageStory(base: string | null, id: string): Promise<MessageStory | null> {
  const answer = await askGateway(base, `/v1/messages/${encodeURIComponent(id)}`);
  const parsed = safeParse(historyShape, answer);
  return parsed.success ? parsed.data : null;
}

/** The story in a few lines, for a person. */
export function tellStory(story: MessageStory): string[] {
  const { seq, acceptedAtMs } = story.message;
  return [
    `${new Date(acceptedAtMs).toISOString()} accepted as number ${seq} of the store`,
    ...story.history.map(({ atMs, kind, detail }) => {
      return `${new Date(atMs).toISOString()} ${kind}${detail ? `: ${detail}` : ""}`;
    }),
    ...story.deliveries.map(
      ({ flow, state, reason }) => `now ${state} on ${flow}${reason ? ` (${reason})` : ""}`,
    ),
  ];
}

const deadShape = z.looseObject({
  reasons: z.looseObject({ groups: z.array(z.looseObject({ reason: z.string(), count })) }),
});

/** Why dead letters are dead, and how many of each; null where the gateway does not answer. */
export async function deadReasons(
  base: string | null,
): Promise<{ readonly reason: string; readonly count: number }[] | null> {
  const parsed = safeParse(deadShape, await askGateway(base, "/v1/dead?limit=1"));
  return parsed.success
    ? parsed.data.reasons.groups.map(({ reason, count: n }) => ({ reason, count: n }))
    : null;
}
