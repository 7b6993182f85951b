/** The HTTP door over a built store: real sockets and queries, with a relay that only writes down what it is asked. */
import { silentLogger } from "../../src/core/logger.ts";
import { DirectReader } from "../../src/queue/reader-direct.ts";
import { healthSchema } from "../../src/watch/schema.ts";
import type { StoreView, TargetFacts } from "../../src/watch/sources.ts";
import { Watch } from "../../src/watch/watch.ts";
import type { RedriveSelection } from "../../src/web/context.ts";
import { webSchema } from "../../src/web/schema.ts";
import { Web } from "../../src/web/web.ts";
import { ManualClock } from "./manual-clock.ts";
import { StoreBuilder } from "./store-builder.ts";

export class WebRig {
  readonly built: StoreBuilder;
  readonly clock = new ManualClock();
  readonly store: { state: StoreView["state"]; steadyMs(): number } = {
    state: { kind: "ok" },
    steadyMs: () => this.clock.monoMs(),
  };
  readonly targets = new Map<string, TargetFacts>();
  readonly redriven: RedriveSelection[] = [];
  /** What a redrive answers, or throws. */
  redrive: () => number = () => 0;
  readonly watch: Watch;
  readonly web: Web;
  readonly #reader: DirectReader;

  constructor(build: (store: StoreBuilder) => void = () => {}) {
    this.built = new StoreBuilder();
    build(this.built);
    this.#reader = new DirectReader(this.built.dataDir);
    this.watch = new Watch({
      config: healthSchema.parse({}),
      gateway: "line-3",
      version: "0.1.0",
      boot: "boot-1",
      dataDir: this.built.dataDir,
      bytesMax: 2 ** 30,
      flows: [{ name: "mes", hash: "h", to: "mes-http", paused: false }],
      relay: { views: () => this.targets },
      store: this.store,
      broker: { clientsOnline: 0, devices: () => [] },
      reader: this.#reader,
      publish: async () => {},
      announce: () => {},
      clock: this.clock,
      logger: silentLogger,
    });
    this.web = new Web({
      config: webSchema.parse({ port: 0 }),
      boot: "boot-1",
      watch: this.watch,
      reader: this.#reader,
      steadyMs: this.store.steadyMs,
      redrive: async (selection) => {
        this.redriven.push(selection);
        return { redriven: this.redrive() };
      },
      clock: this.clock,
      logger: silentLogger,
    });
  }

  async start(): Promise<this> {
    await this.watch.start();
    await this.web.start();
    return this;
  }

  get(path: string): Promise<Response> {
    return fetch(this.web.url() + path);
  }

  post(path: string, body: unknown): Promise<Response> {
    const headers = { "content-type": "application/json" };
    return fetch(this.web.url() + path, { method: "POST", headers, body: JSON.stringify(body) });
  }

  /** Lets the watch look again: what changed is in the report afterwards. */
  async look(): Promise<void> {
    let looked = false;
    void this.watch.nudge().then(() => {
      looked = true;
    });
    while (!looked) await this.clock.advanceAsync(100);
  }

  async stop(): Promise<void> {
    await this.web.stop();
    await this.watch.stop();
    this.#reader.close();
    this.built.remove();
  }
}
