/**
 * What a scenario expects to find at the end, and the holding of what was found against it. Pure.
 *
 * An expectation is a number or a range. Ranges add up: where scenarios run together on one gateway, each
 * expects of the whole what it would have brought about alone.
 */
import { z } from "zod";
import { DELIVERY_STATES } from "../src/core/outcome.ts";

const amount = z.union([
  z.int().min(0),
  z
    .strictObject({ min: z.int().min(0).optional(), max: z.int().min(0).optional() })
    .refine((range) => range.min !== undefined || range.max !== undefined, {
      message: "expected min, max or both",
    }),
]);
export type Amount = z.output<typeof amount>;

/** What can be expected, in the order in which a report shows it. */
const figures = {
  lost: amount.default(0).describe("Acknowledged, never arrived, and not accounted for."),
  doubled: amount.default(0).describe("Took effect more than once."),
  untold: amount
    .default(0)
    .describe("Took effect more than once, and its history does not say why that could happen."),
  outOfOrder: amount.default(0).describe("Took effect after a younger one of its lane."),
  altered: amount.default(0).describe("Arrived with another payload."),
  stranger: amount.default(0).describe("Arrived, and no machine sent it."),
  undelivered: amount
    .default(0)
    .describe("Acknowledged, and still on its way when the time to drain was over."),
  sent: amount.optional().describe("Messages that machines put on the wire."),
  arrived: amount.optional().describe("Took effect at the backend."),
  readings: amount
    .optional()
    .describe("Messages of readings of machines on wires that took effect at the backend."),
  notGood: amount.optional().describe("Readings of machines on wires that were not good, and said why."),
  gaps: amount.default(0).describe("Messages of readings that were never stored, by the gap records."),
  repeatsSent: amount.optional().describe("Copies that machines sent beyond the first."),
  ackSlowestMs: amount.optional().describe("The longest that a machine waited for an acknowledgement, ms."),
  duplicates: amount.optional().describe("Duplicates that the gateway suppressed, by its own count."),
  suppressedByBackend: amount.optional().describe("Copies that the backend knew by their id."),
  late: amount.optional().describe("Late, by the gateway's own count."),
  waiting: amount.default(0).describe("Waiting to be sent at the end, by the gateway's own count."),
  unknown: amount.default(0).describe("Sent, and the answer lost: at the end, by the gateway's own count."),
  charged: amount
    .optional()
    .describe("Tries charged, at most, to a message that did not arrive, by the gateway's histories."),
  dead: amount.default(0).describe("Set aside as dead, by the gateway's own count."),
  expired: amount.default(0).describe("Expired, by the gateway's own count."),
  evicted: amount.default(0).describe("Evicted to make room, by the gateway's own count."),
  discarded: amount.default(0).describe("Left out by a rule or a person, by the gateway's own count."),
};
export type Expectable = keyof typeof figures;
export const EXPECTABLE = Object.keys(figures) as Expectable[];

/** Of each flow, by the gateway's own count. */
export const FLOW_FIGURES = ["accepted", "late", "duplicates", ...DELIVERY_STATES] as const;
export type FlowFigure = (typeof FLOW_FIGURES)[number];

export const expectSchema = z.strictObject({
  ...figures,
  flows: z
    .record(
      z.string(),
      z.strictObject(
        Object.fromEntries(FLOW_FIGURES.map((figure) => [figure, amount.optional()])) as Record<
          FlowFigure,
          z.ZodOptional<typeof amount>
        >,
      ),
    )
    .default({})
    .describe("By flow: accepted, late, duplicates, and each state."),
  deadFor: z
    .record(z.string(), amount)
    .default({})
    .describe("By a part of the reason: how many dead letters give it."),
});
export type Expected = z.output<typeof expectSchema>;

export interface Found {
  /** Null where a figure is not to be had. */
  readonly figures: Readonly<Record<Expectable, number | null>>;
  readonly flows?: Readonly<Record<string, Readonly<Record<FlowFigure, number>>>> | null;
  /** Of the dead letters. */
  readonly reasons?: readonly { readonly reason: string; readonly count: number }[] | null;
}

export interface Expectation {
  readonly what: string;
  readonly wanted: string;
  readonly found: number | null;
  /** Null where the figure is not to be had: a running gateway that was given without its HTTP address. */
  readonly met: boolean | null;
}

/** Holds what was found against what was expected. */
export function checkExpectations(expected: Expected, found: Found): Expectation[] {
  const { flows = null, reasons = null } = found;
  const checked = EXPECTABLE.flatMap((what) => check(what, expected[what], found.figures[what]));
  for (const [flow, wanted] of Object.entries(expected.flows)) {
    for (const figure of FLOW_FIGURES) {
      const value = flows === null ? null : (flows[flow]?.[figure] ?? 0);
      checked.push(...check(`${figure} on ${flow}`, wanted[figure], value));
    }
  }
  for (const [text, wanted] of Object.entries(expected.deadFor)) {
    const value =
      reasons?.reduce((sum, { reason, count }) => sum + (reason.includes(text) ? count : 0), 0) ?? null;
    checked.push(...check(`dead for "${text}"`, wanted, value));
  }
  return checked;
}

function check(what: string, wanted: Amount | undefined, found: number | null): Expectation[] {
  if (wanted === undefined) return [];
  const { min, max } = rangeOf(wanted);
  return [
    { what, wanted: rangeText(min, max), found, met: found === null ? null : found >= min && found <= max },
  ];
}

function rangeText(min: number, max: number): string {
  if (min === max) return `${min}`;
  return max === Number.POSITIVE_INFINITY ? `≥ ${min}` : `${min}–${max}`;
}

/** Where nothing is expected, everything will do. */
function rangeOf(wanted: Amount | undefined): { readonly min: number; readonly max: number } {
  if (typeof wanted === "number") return { min: wanted, max: wanted };
  return { min: wanted?.min ?? 0, max: wanted?.max ?? Number.POSITIVE_INFINITY };
}

/** Sums that make no sense: the largest counts. */
const LARGEST: ReadonlySet<Expectable> = new Set(["ackSlowestMs", "charged"]);

export function addExpectations(all: readonly Expected[]): Expected {
  const add = (amounts: readonly (Amount | undefined)[], join: (a: number, b: number) => number) => {
    if (amounts.every((each) => each === undefined)) return undefined;
    const ranges = amounts.map(rangeOf);
    const min = ranges.map((range) => range.min).reduce(join);
    const max = ranges.map((range) => range.max).reduce(join);
    if (min === max) return min;
    return max === Number.POSITIVE_INFINITY ? { min } : { min, max };
  };
  const plus = (a: number, b: number) => a + b;
  const larger = (a: number, b: number) => Math.max(a, b);
  const named = <T>(pick: (each: Expected) => Readonly<Record<string, T>>) => [
    ...new Set(all.flatMap((each) => Object.keys(pick(each)))),
  ];
  return {
    ...Object.fromEntries(
      EXPECTABLE.map((what) => {
        const amounts = all.map((each) => each[what]);
        return [what, add(amounts, LARGEST.has(what) ? larger : plus)];
      }),
    ),
    // Those that do not know the flow or the reason add nothing to it.
    flows: Object.fromEntries(
      named(({ flows }) => flows).map((flow) => [
        flow,
        Object.fromEntries(
          FLOW_FIGURES.map((figure) => [
            figure,
            add(
              all.flatMap(({ flows }) => (flows[flow] ? [flows[flow][figure]] : [])),
              plus,
            ),
          ]),
        ),
      ]),
    ),
    deadFor: Object.fromEntries(
      named(({ deadFor }) => deadFor).map((reason) => [
        reason,
        add(
          all.flatMap(({ deadFor }) => (reason in deadFor ? [deadFor[reason]] : [])),
          plus,
        )!,
      ]),
    ),
  } as Expected;
}
