/**
 * Which lanes are not to be claimed from, because somebody has paused their flow, their target or their device, or the
 * config has paused their flow.
 *
 * A device's pause holds what it has sent, in every flow that keeps its order (`orderBy: device`), where a lane is the
 * device's own. In a flow in another order its messages stand among those of others, and go on: `passing` names those
 * flows. Commands to a device, and their results, are not what it has sent: their flows are paused by name.
 *
 * What a pause trades: time goes on. What has a time to live expires where it waits.
 */
import { isBuiltInFlow } from "../core/command-message.ts";
import { HoldfastError } from "../core/errors.ts";
import type { Flow } from "../core/flow.ts";
import type { Pause, PauseName } from "../queue/pauses.ts";
import type { Word } from "../queue/repair.ts";
import type { Store } from "../queue/store.ts";

const BY_CONFIG = "config";

export interface PausesOptions {
  readonly store: Pick<Store, "call">;
  readonly flows: readonly Flow[];
  /** Names of all targets. */
  readonly targets: Iterable<string>;
  /** Called after each change. */
  readonly onChange: () => void;
}

export interface PauseChanged {
  /** False where it was so already. */
  readonly changed: boolean;
  readonly pauses: readonly Pause[];
  /** Of a device: flows in which its messages go on all the same. */
  readonly passing: readonly string[];
}

export class Pauses {
  readonly #options: PausesOptions;
  readonly #targets: ReadonlySet<string>;
  readonly #byConfig: readonly Pause[];
  #byPeople: readonly Pause[] = [];
  #keys: ReadonlySet<string>;

  constructor(options: PausesOptions) {
    this.#options = options;
    this.#targets = new Set(options.targets);
    this.#byConfig = options.flows
      .filter(({ paused }) => paused)
      .map(({ name }) => ({
        kind: "flow",
        name,
        sinceMs: null,
        who: BY_CONFIG,
        reason: `flows.${name}.paused`,
      }));
    this.#keys = keysOf(this.#byConfig);
  }

  /** As an earlier run left them; before anything is claimed. */
  async load(): Promise<void> {
    this.#know(await this.#options.store.call("pauses", null));
  }

  get all(): readonly Pause[] {
    return [...this.#byConfig, ...this.#byPeople];
  }

  /** Whether a lane is not to be claimed from. */
  holds(flow: Flow, key: string): boolean {
    const keys = this.#keys;
    if (keys.size === 0) return false;
    return (
      keys.has(keyOf("flow", flow.name)) ||
      keys.has(keyOf("target", flow.to)) ||
      (keepsDevice(flow) && keys.has(keyOf("device", key)))
    );
  }

  /** Resolves when nothing new of it is claimed any more; what is in the air ends as usual. Throws HF_NOT_FOUND. */
  async pause(name: PauseName, { by, why }: Word): Promise<PauseChanged> {
    this.#check(name);
    const act = { who: by, what: "pause", detail: { ...name }, reason: why };
    const changed = await this.#options.store.call("pause", { ...name, word: { by, why }, act });
    return this.#changed(name, changed);
  }

  /** Throws HF_NOT_FOUND, HF_PAUSED_BY_CONFIG. */
  async resume(name: PauseName, by: string, why: string | null): Promise<PauseChanged> {
    if (this.#byConfig.some((pause) => isSame(pause, name))) {
      throw new HoldfastError("HF_PAUSED_BY_CONFIG", `flow ${name.name} is paused by the config`, {
        ...name,
      });
    }
    const known = this.#byPeople.some((pause) => isSame(pause, name));
    // What was taken out of the config may be resumed too: its pause would else stay for ever.
    if (!known) this.#check(name);
    const act = { who: by, what: "resume", detail: { ...name }, reason: why };
    return this.#changed(name, await this.#options.store.call("resume", { ...name, act }));
  }

  async #changed({ kind }: PauseName, changed: boolean): Promise<PauseChanged> {
    this.#know(await this.#options.store.call("pauses", null));
    this.#options.onChange();
    const passing = kind === "device" ? this.#options.flows.filter(passesDevice).map(({ name }) => name) : [];
    return { changed, pauses: this.all, passing };
  }

  #know(byPeople: readonly Pause[]): void {
    this.#byPeople = byPeople;
    this.#keys = keysOf(this.all);
  }

  #check({ kind, name }: PauseName): void {
    const known =
      kind === "device" ||
      (kind === "target" ? this.#targets.has(name) : this.#options.flows.some((flow) => flow.name === name));
    if (!known) throw new HoldfastError("HF_NOT_FOUND", `there is no ${kind} ${name}`, { kind, name });
  }
}

function keysOf(pauses: readonly Pause[]): ReadonlySet<string> {
  return new Set(pauses.map(({ kind, name }) => keyOf(kind, name)));
}

function keyOf(kind: string, name: string): string {
  return `${kind} ${name}`;
}

function isSame(pause: PauseName, { kind, name }: PauseName): boolean {
  return pause.kind === kind && pause.name === name;
}

function keepsDevice({ name, orderBy }: Flow): boolean {
  return orderBy === "device" && !isBuiltInFlow(name);
}

function passesDevice(flow: Flow): boolean {
  return !keepsDevice(flow) && !isBuiltInFlow(flow.name);
}
