/** Intake on the real store, with flows of each test's own; to be called at the top of a test file. */
import { flowSchema, makeFlow } from "../../src/core/flow.ts";
import { uuidV7Source } from "../../src/core/message.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Draft } from "../../src/intake/draft.ts";
import { Intake } from "../../src/intake/intake.ts";
import { intakeSchema } from "../../src/intake/schema.ts";
import type { IntakeTracing } from "../../src/intake/tracing.ts";
import { ManualClock } from "./manual-clock.ts";
import { sharedStore } from "./test-store.ts";

export type Raw = Record<string, unknown>;

export interface DeliveryRow {
  /** As the test named it. */
  readonly flow: string;
  readonly key: string;
  readonly state: string;
  readonly late: number;
  readonly reason: string | null;
}

export function intakeRig() {
  const clock = new ManualClock();
  const shared = sharedStore({ clock });
  const newId = uuidV7Source(() => clock.wallMs(), seededRandom(1));
  let made = 0;

  async function makeIntake({
    flows = { all: { from: "#" } },
    tracing,
    ...config
  }: { flows?: Record<string, Raw>; tracing?: IntakeTracing } & Raw = {}) {
    const store = shared();
    // Names of its own, so that the figures of its flows are its own too.
    const prefix = `t${++made}-`;
    const own = Object.entries(flows).map(([name, raw]) => {
      const divertTo = raw.divertTo === undefined ? {} : { divertTo: prefix + raw.divertTo };
      return makeFlow(prefix + name, flowSchema.parse({ to: "backend", ...raw, ...divertTo }));
    });
    const intake = new Intake({
      config: intakeSchema.parse(config),
      flows: own,
      store: store.store,
      clock,
      newId,
      tracing,
      describeFlow: (flow) => JSON.stringify({ from: flow.from }),
    });
    await intake.prepare();
    return {
      prefix,
      store,
      accept: (draft: Partial<Draft> = {}, signal?: AbortSignal) =>
        intake.accept(
          {
            device: "press-7",
            source: "mqtt",
            topic: "plant/press-7",
            payload: Buffer.from("{}"),
            qos: 1,
            ...draft,
          },
          signal,
        ),
      /** What became of a message on each flow. */
      deliveries: (seq: number): DeliveryRow[] =>
        store
          .rows<DeliveryRow>(
            `SELECT l.flow, l.key, d.state, d.late, d.reason FROM deliveries d JOIN lanes l ON l.id = d.lane
             WHERE d.seq = ? ORDER BY l.flow`,
            seq,
          )
          .map((row) => ({ ...row, flow: row.flow.slice(prefix.length) })),
    };
  }

  /** How often something happened at the door. */
  const door = (what: string) =>
    shared().value<number | undefined>("SELECT n FROM tally WHERE flow = '' AND what = ?", what) ?? 0;

  return { clock, shared, newId, makeIntake, door };
}

export async function seqOf(receipt: ReturnType<Intake["accept"]>): Promise<number> {
  const got = await receipt;
  if (got.kind !== "stored") throw new Error(`not stored but ${JSON.stringify(got)}`);
  return got.seq;
}
