/**
 * The negative control of the conformance suite: adapters that lie, each held against the scenario that has to
 * catch it, on any bench.
 */
import { afterAll, describe, expect, it } from "vitest";
import type { Adapter, AdapterContext, DeviceReport } from "../../src/adapters/adapter.ts";
import type { Draft } from "../../src/intake/draft.ts";
import { type AdapterBench, type ScenarioName, scenario } from "./conformance.ts";

type Make = AdapterBench["createAdapter"];
type Lie = (make: Make) => Make;

const leaked: Adapter[] = [];

/** The same adapter with something else in place of one of its methods. */
const twin = (lie: (adapter: Adapter) => Partial<Adapter>): Lie => {
  return (make) => (context, options) => {
    const adapter = make(context, options);
    return {
      start: () => adapter.start(),
      stop: () => adapter.stop(),
      devices: () => adapter.devices(),
      ...lie(adapter),
    };
  };
};

const reporting = (change: (report: DeviceReport) => DeviceReport): Lie =>
  twin((adapter) => ({ devices: () => adapter.devices().map(change) }));

/** What it hands over is changed on the way: `null` is lost, two are told one after the other. */
const handing = (change: (message: Record<string, unknown>, n: number) => readonly object[]): Lie => {
  return (make) => (context: AdapterContext, options) => {
    let n = 0;
    const { intake } = context;
    const accept = async (draft: Draft, signal?: AbortSignal) => {
      const told = change(JSON.parse(draft.payload.toString()) as Record<string, unknown>, ++n);
      const receipts = told.map((message) =>
        intake.accept({ ...draft, payload: Buffer.from(JSON.stringify(message)) }, signal),
      );
      const [first] = await Promise.all(receipts);
      return first ?? { kind: "stored" as const, id: draft.producerId!, seq: n, flows: 1, late: false };
    };
    return make({ ...context, intake: { ...intake, accept } }, options);
  };
};

type Readings = Record<string, { value: unknown; quality: string }>;
const readings = (change: (reading: Readings[string]) => object): Lie =>
  handing((message) => {
    if (message.kind !== "poll") return [message];
    const all = Object.entries(message.readings as Readings);
    return [
      {
        ...message,
        readings: Object.fromEntries(all.map(([name, each]) => [name, { ...each, ...change(each) }])),
      },
    ];
  });

const LIARS = {
  "calls a device online because it is configured": {
    lie: reporting((report) => ({ ...report, state: "online" })),
    caughtBy: ["evidence", "startsAlone"],
  },
  "calls a value good that it could not read": {
    lie: readings(() => ({ quality: "good" })),
    caughtBy: ["evidence"],
  },
  "makes a reading of garbage": {
    lie: readings(({ quality }) => (quality === "good" ? {} : { quality: "good", value: 4711 })),
    caughtBy: ["garbage"],
  },
  "waits for its machine before it starts": {
    lie: twin((adapter) => ({
      async start() {
        await adapter.start();
        while (adapter.devices()[0]?.state !== "online")
          await new Promise((resolve) => setTimeout(resolve, 20));
      },
    })),
    caughtBy: ["startsAlone"],
  },
  "loses a message": {
    lie: handing((message, n) => (n % 5 === 3 ? [] : [message])),
    caughtBy: ["numbering", "refusingStore"],
  },
  "tells a message twice": {
    lie: handing((message, n) => (n % 5 === 3 ? [message, message] : [message])),
    caughtBy: ["numbering"],
  },
  "says nothing of what was missed": {
    lie: handing((message) => (message.kind === "gap" ? [] : [message])),
    caughtBy: ["refusingStore"],
  },
  "holds more than it may": {
    lie: (make) => (context, options) =>
      make(context, { ...options, messagesMax: options.messagesMax * 1000 }),
    caughtBy: ["refusingStore"],
  },
  "gives a machine up that went away": {
    lie: twin((adapter) => ({
      devices() {
        const reports = adapter.devices();
        if (reports[0]?.state === "offline") void adapter.stop();
        return reports;
      },
    })),
    caughtBy: ["comesBack"],
  },
  "lets a dead device hold up the others": {
    lie: twin((adapter) => ({
      devices() {
        const reports = adapter.devices();
        if (reports[1]?.state === "offline") void adapter.stop();
        return reports;
      },
    })),
    caughtBy: ["deadNeighbour"],
  },
  "never comes to its stop": {
    lie: twin((adapter) => {
      leaked.push(adapter);
      return { stop: () => new Promise(() => {}) };
    }),
    caughtBy: ["stoppingEarly"],
  },
} as const satisfies Record<string, { lie: Lie; caughtBy: readonly ScenarioName[] }>;

export type Liar = keyof typeof LIARS;

/** What a liar owes never comes. */
const LIAR_PATIENCE_MS = 8000;

/** A scenario that fails by an exception has caught the liar as well. */
export async function problemsWith(
  makeBench: () => Promise<AdapterBench>,
  name: ScenarioName,
  change: (bench: AdapterBench) => AdapterBench,
): Promise<string[]> {
  const bench = await makeBench();
  try {
    return await scenario(name).run({ ...change(bench), patienceMs: LIAR_PATIENCE_MS });
  } catch (error) {
    return [String(error)];
  } finally {
    await bench.dispose();
  }
}

const lying =
  (lie: Lie) =>
  (bench: AdapterBench): AdapterBench => ({ ...bench, createAdapter: lie(bench.createAdapter) });

/** All liars, or those named, in place of an adapter. */
export function describeLiars(
  adapter: string,
  makeBench: () => Promise<AdapterBench>,
  liars = Object.keys(LIARS) as readonly Liar[],
): void {
  afterAll(() => Promise.all(leaked.map((each) => each.stop())));

  describe.concurrent(`the conformance suite catches the ${adapter} adapter where it`, () => {
    for (const what of liars) {
      const { lie, caughtBy } = LIARS[what];
      for (const name of caughtBy) {
        it(`${what}: ${scenario(name).title}`, { timeout: 30_000 }, async () => {
          expect(await problemsWith(makeBench, name, lying(lie))).not.toEqual([]);
        });
      }
    }
  });

  describe(`the conformance suite, alone, catches the ${adapter} adapter where it`, () => {
    it("goes on after its stop", { timeout: 30_000 }, async () => {
      const lie = twin((inner) => {
        leaked.push(inner);
        return { stop: async () => {} };
      });
      expect(await problemsWith(makeBench, "stopping", lying(lie))).not.toEqual([]);
    });
  });
}
