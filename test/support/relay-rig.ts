/** A relay between the real store and scripted targets, on a clock that moves when it is told. */
import { onTestFinished } from "vitest";
import { type Flow, flowSchema, makeFlow } from "../../src/core/flow.ts";
import { silentLogger } from "../../src/core/logger.ts";
import type { Random } from "../../src/core/random.ts";
import { Relay } from "../../src/relay/relay.ts";
import { relaySchema } from "../../src/relay/schema.ts";
import { ManualClock } from "./manual-clock.ts";
import type { ScriptedTarget } from "./scripted-target.ts";
import { TestStore } from "./test-store.ts";

type Raw = Record<string, unknown>;

/** Delays come out as long as they may be, so that tests can say when. */
const longest: Random = { below: (limit) => limit - 1, unit: () => 1, fill: (bytes) => void bytes.fill(0) };

export interface RelayRigOptions {
  readonly target: ScriptedTarget;
  /** More targets than the first one. */
  readonly others?: readonly ScriptedTarget[];
  /** By default one flow, `outbox`. */
  readonly flows?: Record<string, Raw>;
  readonly relay?: Raw;
  /** The store of an earlier rig, stopped or not: it is opened again. */
  readonly store?: TestStore;
  readonly clock?: ManualClock;
}

export class RelayRig {
  readonly clock: ManualClock;
  readonly store: TestStore;
  readonly relay: Relay;
  readonly target: ScriptedTarget;
  /** How many lanes each claim asked for. */
  readonly claims: number[] = [];

  private constructor(
    clock: ManualClock,
    store: TestStore,
    options: RelayRigOptions,
    flows: readonly Flow[],
  ) {
    this.clock = clock;
    this.store = store;
    this.target = options.target;
    const targets = [options.target, ...(options.others ?? [])];
    this.relay = new Relay({
      config: relaySchema.parse({ probeIdleEvery: "1h", ...options.relay }),
      flows,
      targets: new Map(targets.map((target) => [target.name, target])),
      store: store.store,
      clock,
      random: longest,
      logger: silentLogger,
    });
    store.store.onArrivals = (arrivals) => this.relay.arrived(arrivals);
    const claim = store.store.claim.bind(store.store);
    store.store.claim = (request) => {
      this.claims.push(request.lanes.length);
      return claim(request);
    };
  }

  /** Started, unless it is said not to be. */
  static async open(options: RelayRigOptions, { start = true } = {}): Promise<RelayRig> {
    const flows = Object.entries(options.flows ?? { outbox: {} }).map(([name, raw]) =>
      makeFlow(name, flowSchema.parse({ from: "#", to: options.target.name, ...raw })),
    );
    const clock = options.clock ?? new ManualClock();
    const names = flows.map(({ name }) => name);
    const store = await (options.store
      ? options.store.reopen({ clock, flows: names })
      : TestStore.open({ clock, flows: names }));
    const rig = new RelayRig(clock, store, options, flows);
    // Before the store is closed, which was to be cleaned up earlier and so is later.
    onTestFinished(() => rig.stop());
    if (start) await rig.relay.start();
    return rig;
  }

  /** Stops, however long its targets take on a clock that nobody moves. */
  async stop(): Promise<void> {
    let stopped = false;
    const stopping = this.relay.stop().then(() => {
      stopped = true;
    });
    while (!stopped) {
      await this.calm(1);
      if (!stopped) this.clock.advance(60_000);
    }
    await stopping;
  }

  /** Appends messages `<device>-1`, `<device>-2`, … in one turn. */
  async put(device: string, count = 1, fields: Parameters<TestStore["put"]>[0] = {}) {
    const first = this.#counts.get(device) ?? 0;
    this.#counts.set(device, first + count);
    return Promise.all(
      Array.from({ length: count }, (_, at) =>
        this.store.put({ device, id: `${device}-${first + at + 1}`, ...fields }),
      ),
    );
  }
  readonly #counts = new Map<string, number>();

  /** Lets everything happen that happens without time passing. */
  async calm(rounds = 8): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      // Each step of the relay is an answer of the store, and this one stands behind it.
      await this.store.store.openLanes().catch(() => {});
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Lets time pass, once all that was going on has come to rest. */
  async advance(ms: number): Promise<void> {
    await this.calm();
    await this.clock.advanceAsync(ms);
    await this.calm();
  }

  /** `id: state/attempts` of all deliveries, by sequence. */
  states(): string[] {
    return this.store
      .rows<{ id: string; state: string; attempts: number }>(
        "SELECT m.id, d.state, d.attempts FROM deliveries d JOIN messages m ON m.seq = d.seq ORDER BY d.seq, d.lane",
      )
      .map(({ id, state, attempts }) => `${id}: ${state}/${attempts}`);
  }

  /** `kind: detail` of a message's history, in order. */
  history(id: string): string[] {
    return this.store
      .rows<{ kind: string; detail: string | null }>(
        "SELECT h.kind, h.detail FROM history h JOIN messages m ON m.seq = h.seq WHERE m.id = ? ORDER BY h.id",
        id,
      )
      .map(({ kind, detail }) => (detail === null ? kind : `${kind}: ${detail}`));
  }

  get view() {
    return this.relay.views().get(this.target.name)!;
  }

  get circuit(): string {
    return this.view.circuit.state;
  }
}
