/**
 * What all tests of the operator's page share: one browser, one gateway with machines and backends of all kinds, and in
 * its store deliveries in every state. Each test has devices of its own.
 */
import type { Page } from "playwright-core";
import { afterAll } from "vitest";
import { HttpBackend } from "../../../simulators/backends/http-backend.ts";
import { type OpenPage, sharedBrowser } from "../../support/browser.ts";
import { capability } from "../../support/capabilities.ts";
import {
  eventually,
  FLOW,
  Journey,
  reading,
  scratchFolder,
  shared,
  startBackend,
} from "../../support/journey.ts";
import { PACKER_COMMANDS, Packer } from "../../support/packer.ts";
import { StoreBuilder } from "../../support/store-builder.ts";

/** For expect.poll: far beyond what anything takes, also on a machine with others at work on it. */
export const PATIENCE = { timeout: 20_000, interval: 100 };

/** In this order on the page. */
export const SCREENS = [
  "overview",
  "messages",
  "dead",
  "jobs",
  "devices",
  "commands",
  "notifications",
  "activity",
] as const;

export interface Desk {
  readonly open: ReturnType<typeof sharedBrowser>;
  readonly gateway: () => Journey;
  /** Rejects what has poison in it. */
  readonly backend: HttpBackend;
  readonly packer: Packer;
  /** A page on the gateway, once it shows how that is. */
  readonly opened: (
    hash?: string,
    options?: Parameters<ReturnType<typeof sharedBrowser>>[0],
  ) => Promise<OpenPage>;
  readonly publish: (device: string, payloads: readonly string[], topic?: string) => Promise<void>;
  /** On the flow `orders`. */
  readonly deadLetters: () => Promise<number>;
  /** One of this device is among them. */
  readonly deadLetterOf: (device: string) => Promise<void>;
}

/** In a test file, once. */
export function sharedDesk(): Desk {
  const { present } = capability("chromium");
  const open = sharedBrowser();
  const backend = new HttpBackend({ mode: "reject-one" });
  const packer = new Packer("packer-1");
  afterAll(() => packer.disconnect());

  const gateway = shared(async () => {
    if (!present) return null as unknown as Journey;
    const dataDir = scratchFolder();
    buildStore(dataDir);
    const { url } = await startBackend(backend);
    const { url: odd } = await startBackend(oddBackend());
    const journey = await Journey.start({ config: configOf(url, odd), dataDir });
    await packer.connect(journey.port);
    await everyState(journey, packer);
    return journey;
  });

  const publish: Desk["publish"] = (device, payloads, topic) => publishTo(gateway(), device, payloads, topic);
  const opened: Desk["opened"] = async (hash = "", options = {}) => {
    const known = await open(options);
    await known.page.goto(`${gateway().http}/${hash}`);
    await known.page.locator(".head .state").waitFor();
    return known;
  };
  const deadLetters = async () => (await gateway().flow("orders")).dead;
  const deadLetterOf = async (device: string) => {
    const before = await deadLetters();
    await publish(device, [poisoned(device, 1)]);
    await eventually("it is set aside", async () => (await deadLetters()) > before);
  };
  return { open, gateway, backend, packer, opened, publish, deadLetters, deadLetterOf };
}

export const poisoned = (device: string, n: number) => reading(device, n, { part: "poison" });

/** What only time, or a full store, brings about. */
function buildStore(dataDir: string): void {
  const store = new StoreBuilder(dataDir);
  store.flow("orders", { from: "plant/#", to: "backend" });
  for (const state of ["expired", "evicted", "evicted"] as const) {
    const { seq, lanes } = store.message({
      device: "kiln-9",
      topic: "plant/kiln-9",
      // Not so long ago that retention would take it away.
      acceptedAt: Date.now(),
      deliveries: [{ flow: "orders", state, reason: `${state} in an earlier run` }],
    });
    store.history(seq, state, `${state} in an earlier run`, { lane: lanes[0] });
  }
  store.close();
}

/** By path: never answers, loses its answer, asks for a later try. */
function oddBackend(): HttpBackend {
  const backend = new HttpBackend();
  backend.script = ({ url }, response) => {
    if (url.startsWith("/lost")) response.destroy();
    if (url.startsWith("/later")) response.writeHead(423).end();
    return true;
  };
  return backend;
}

function configOf(url: string, odd: string): Record<string, unknown> {
  const http = (at: string, more = {}) => ({ type: "http", url: at, ...more });
  const asked = { idempotent: false, hasUrl: `${odd}/has/{id}` };
  return {
    targets: {
      backend: http(url),
      silent: http(`${odd}/silent`, { requestTimeout: "10m" }),
      lossy: http(`${odd}/lost`, { idempotent: false }),
      asked: http(`${odd}/lost`, asked),
      busy: http(`${odd}/later`),
      away: http("http://127.0.0.1:1/"),
    },
    flows: {
      orders: FLOW,
      sends: { from: "sends/#", to: "silent" },
      lossy: { from: "lossy/#", to: "lossy", onUnknown: "hold" },
      asked: { from: "asked/#", to: "asked", onUnknown: "hold" },
      again: { from: "again/#", to: "busy", retry: { delayMin: "1h", delayMax: "1h" } },
      far: { from: "far/#", to: "away" },
      quiet: { from: "quiet/#", to: "backend" },
    },
    notify: {
      channels: {
        panel: { type: "mqtt" },
        phone: { type: "webhook", url: "http://127.0.0.1:1/", pause: "0s" },
      },
      rules: { targets: { enabled: false }, flows: { enabled: false }, deadLetters: { channels: ["panel"] } },
    },
    devices: { "packer-1": { type: "mqtt", commands: PACKER_COMMANDS } },
    commands: { answerWithin: "300ms", classes: { steps: { signals: ["step"], onUnknown: "hold" } } },
  };
}

/** Brings about the others, and comes to rest. */
async function everyState(journey: Journey, packer: Packer): Promise<void> {
  await journey.cli("pause", "flow", "quiet", "--reason", "the MES is migrated");
  for (const flow of ["sends", "lossy", "asked", "again", "far", "quiet"]) {
    await publishTo(
      journey,
      `${flow}-1`,
      [1, 2].map((n) => reading(`${flow}-1`, n)),
      `${flow}/1`,
    );
  }
  const first = [reading("calm-1", 1), poisoned("calm-1", 2), reading("calm-1", 3), poisoned("calm-1", 4)];
  await publishTo(journey, "calm-1", first);
  await eventually("the poison is dead", async () => (await journey.flow("orders")).dead === 2);
  await command(journey, "speed", 40);
  packer.mode = "silent";
  await command(journey, "step", undefined);
  packer.mode = "done";
  await eventually("all are where they stay", async () => {
    const { flows, retrying } = await journey.status();
    const at = (name: string) => flows.find(({ flow }) => flow === name)!;
    const held = at("lossy").unknown + at("asked").unknown;
    return (
      at("sends").sending > 0 && held === 2 && retrying.count === 1 && at("$command/packer-1").unknown === 1
    );
  });
}

async function command(journey: Journey, signal: string, value: number | undefined): Promise<void> {
  const headers = { "content-type": "application/json", prefer: "wait=1" };
  const body = JSON.stringify({ device: "packer-1", signal, value });
  await fetch(`${journey.http}/v1/commands`, { method: "POST", headers, body });
}

async function publishTo(
  journey: Journey,
  device: string,
  payloads: readonly string[],
  topic = `plant/${device}`,
) {
  const client = await journey.client(device);
  for (const payload of payloads) await client.publish({ topic, payload, qos: 1 });
  await client.disconnect();
}

/** Of a dialog: presses a button in it. */
export async function press(page: Page, name: string): Promise<void> {
  await page.getByRole("dialog").getByRole("button", { name }).click();
}
