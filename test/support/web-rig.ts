/** The HTTP door over a built store: real sockets and queries, with a relay that only writes down what it is asked. */
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { Commands } from "../../src/commands/commands.ts";
import { commandsSchema } from "../../src/commands/schema.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Accepting } from "../../src/intake/draft.ts";
import type { Act } from "../../src/queue/acts.ts";
import type { Pause } from "../../src/queue/pauses.ts";
import { DirectReader } from "../../src/queue/reader-direct.ts";
import type { RedriveSelection, Repaired } from "../../src/queue/repair.ts";
import type { Selection } from "../../src/queue/selection.ts";
import { Notifier } from "../../src/watch/notifier.ts";
import { healthSchema, notifySchema } from "../../src/watch/schema.ts";
import type { StoreView, TargetFacts } from "../../src/watch/sources.ts";
import { Watch } from "../../src/watch/watch.ts";
import { type WebConfig, webSchema } from "../../src/web/schema.ts";
import { Web } from "../../src/web/web.ts";
import { FakeDevice } from "./fake-device.ts";
import { ManualClock } from "./manual-clock.ts";
import { ScriptedJobs } from "./scripted-jobs.ts";
import { SCRIPTED_MOVING } from "./scripted-moving.ts";
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
  readonly repaired: Selection[] = [];
  readonly edited: object[] = [];
  readonly paused: Pause[] = [];
  readonly acts: Act[] = [];
  readonly jobs = new ScriptedJobs();
  /** What intake answers. */
  accept: Accepting["accept"] = async () => ({ kind: "stored", id: "new", seq: 1, flows: 1, late: false });
  /** What a redrive answers, or throws. */
  redrive: () => number = () => 0;
  redriveNext: () => number | undefined = () => undefined;
  readonly watch: Watch;
  web: Web;
  readonly #config: WebConfig;
  readonly #reader: DirectReader;

  constructor(build: (store: StoreBuilder) => void = () => {}, config: Record<string, unknown> = {}) {
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
      flows: [{ name: "mes", hash: "h", to: "mes-http" }],
      relay: { views: () => this.targets, pauses: { all: this.paused } },
      jobs: this.jobs,
      store: this.store,
      broker: { clientsOnline: 0, devices: () => [], read: () => [] },
      reader: this.#reader,
      publish: async () => {},
      announce: () => {},
      // A channel that takes everything.
      notifier: new Notifier({
        config: notifySchema.parse({
          channels: { phone: { type: "mqtt" } },
          rules: { targets: { for: "0s" } },
        }),
        gateway: "line-3",
        dataDir: this.built.dataDir,
        settleMs: 0,
        sender: () => ({ where: "nowhere", send: async () => {}, close: async () => {} }),
        steadyMs: this.store.steadyMs,
        clock: this.clock,
        random: seededRandom(1),
        logger: silentLogger,
      }),
      clock: this.clock,
      logger: silentLogger,
    });
    this.#config = webSchema.parse({ port: 0, ...config });
    this.web = this.#makeWeb();
  }

  #makeWeb(): Web {
    return new Web({
      config: this.#config,
      dataDir: this.built.dataDir,
      boot: "boot-1",
      watch: this.watch,
      reader: this.#reader,
      moving: SCRIPTED_MOVING,
      steadyMs: this.store.steadyMs,
      intake: { accept: (draft, signal) => this.accept(draft, signal) },
      storeIsFull: () => this.store.state.kind === "full",
      act: async (act) => {
        this.acts.push(act);
      },
      redrive: async ({ act, ...selection }) => {
        if (act) this.acts.push(act);
        this.redriven.push(selection);
        return { redriven: this.redrive(), next: this.redriveNext() };
      },
      pauses: {
        all: this.paused,
        pause: async (name, { by, why }) => {
          this.paused.push({ ...name, sinceMs: 1, who: by, reason: why });
          return { changed: true, pauses: this.paused, passing: ["log"] };
        },
        resume: async () => ({ changed: false, pauses: this.paused, passing: [] }),
      },
      repairs: {
        corrections: {
          check: async ({ id, flow = "mes" }, change) => {
            const problems = change.topic === undefined ? [] : ["the URL would have the path segment"];
            return { id, flow, target: "mes-http", changed: Object.keys(change), problems, remarks: [] };
          },
          edit: async ({ id, flow = "mes" }, change, word) => {
            this.edited.push({ id, flow, change, word });
            return { id, flow, edit: 1, changed: Object.keys(change), remarks: [] };
          },
        },
        discard: (selection) => this.#repair(selection),
        markDelivered: (selection) => this.#repair(selection),
        probe: async ({ id, flow = "mes" }) => {
          const detail = "the backend was asked and has it";
          return { id, flow, target: "mes-http", found: "has it", detail, state: "delivered" };
        },
      },
      jobs: this.jobs,
      commands: new Commands({
        config: commandsSchema.parse({}),
        commanded: new FakeDevice(),
        intake: { accept: (draft, signal) => this.accept(draft, signal) },
        store: { refused: async () => {}, steadyMs: this.store.steadyMs },
        reader: this.#reader,
        decide: async () => ({ kind: "decided", lane: { lane: 1, flow: "f", key: "k", open: 0 } }),
        clock: this.clock,
      }),
      clock: this.clock,
      logger: silentLogger,
    });
  }

  async #repair({ act, ...selection }: Selection): Promise<Repaired> {
    if (act) this.acts.push(act);
    this.repaired.push(selection);
    return { count: 1, lanes: [], left: [{ id: "gone", states: [] }] };
  }

  async start(): Promise<this> {
    await this.watch.start();
    await this.web.start();
    return this;
  }

  /** As with a restart of the gateway on the same data folder. */
  async restartWeb(): Promise<void> {
    await this.web.stop();
    this.web = this.#makeWeb();
    await this.web.start();
  }

  /** With a Host header of one's own, which fetch() does not allow; resolves to the status. */
  async askAs(host: string, path: string, headers: Record<string, string>): Promise<number> {
    const { port } = this.web.address();
    const asked = request({ host: "127.0.0.1", port, path, headers: { ...headers, host }, agent: false });
    asked.end();
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    response.resume();
    return response.statusCode!;
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
    while (!looked) {
      await this.clock.advanceAsync(100);
      // The disk is looked at in real time, during which the clock must not run away.
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async stop(): Promise<void> {
    await this.web.stop();
    await this.watch.stop();
    this.#reader.close();
    this.built.remove();
  }
}
