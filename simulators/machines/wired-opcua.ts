/**
 * An OPC UA server as a scenario has it: a process of its own, since its stack is heavy and changes the process that
 * it is in. Its port and its certificate stay the same while it is switched off and on.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import type { Clock } from "../../src/core/clock.ts";
import type { WiredMachine } from "./wired-fleet.ts";
import { WIRED_DEVICE, wiredGroupKeys } from "./wired-group.ts";

export const opcuaGroupSchema = z.strictObject(wiredGroupKeys("opcua"));

export type OpcuaGroup = z.output<typeof opcuaGroupSchema> & { readonly seed?: number };

export const OPCUA_FAULTS = ["none", "silence", "sessions-lost", "subscriptions-lost"] as const;
export type OpcuaFault = (typeof OPCUA_FAULTS)[number];

const EXTENSION = extname(import.meta.filename);
const PROGRAM = join(import.meta.dirname, `opcua-main${EXTENSION}`);
const LEASH = pathToFileURL(join(import.meta.dirname, `../leash${EXTENSION}`)).href;
/** Its stack takes seconds, and others may be at work. */
const ANSWER_MS_MAX = 60_000;

const NODES = {
  level: { node: "ns=1;s=Tank.Level", unit: "l" },
  temperature: { node: "ns=1;s=Tank.Temperature", unit: "°C" },
  speed: { node: "ns=1;s=Motor.Speed", unit: "rpm" },
  pieces: { node: "ns=1;s=Pieces" },
  name: { node: "ns=1;s=Name" },
};

export class WiredOpcua implements WiredMachine {
  readonly noun = "OPC UA server";
  readonly device: string;
  readonly #group: OpcuaGroup;
  readonly #seed: number;
  readonly #clock: Clock;
  readonly #folder = mkdtempSync(join(tmpdir(), "holdfast-opcua-"));
  #child: ChildProcess | null = null;
  #ended: Promise<unknown> = Promise.resolve();
  /** Who waits for the next thing that it says. */
  #answer: ((said: string | null) => void) | null = null;
  #isOn = false;
  #port = 0;

  constructor(group: OpcuaGroup, device: string, seed: number, clock: Clock) {
    this.device = device;
    this.#group = group;
    this.#seed = seed;
    this.#clock = clock;
  }

  get group(): string {
    return this.#group.name;
  }

  get up(): boolean {
    return this.#isOn;
  }

  async start(): Promise<void> {
    const words = ["--port", "0", "--folder", this.#folder, "--seed", `${this.#seed}`, "--name", this.device];
    const child = spawn(process.execPath, ["--no-warnings", "--import", LEASH, PROGRAM, ...words], {
      stdio: ["pipe", "pipe", "ignore"],
      // Ctrl-C is for whoever started it.
      detached: true,
    });
    this.#child = child;
    child.stdin!.on("error", () => {});
    createInterface({ input: child.stdout! }).on("line", (line) => this.#answer?.(line));
    this.#ended = new Promise((resolve) => {
      child.once("error", resolve);
      child.once("close", resolve);
    });
    void this.#ended.then(() => this.#answer?.(null));
    const said = await this.#heard();
    if (said === null) {
      await this.stop();
      throw new Error("the simulated OPC UA server does not start");
    }
    this.#port = Number(new URL(JSON.parse(said).endpoint).port);
    this.#isOn = true;
  }

  /** Its sessions, and what was subscribed in them, are gone. */
  async off(): Promise<void> {
    this.#isOn = false;
    await this.#told("off");
  }

  async on(): Promise<void> {
    this.#isOn = (await this.#told("on")) !== null;
  }

  config(): Record<string, unknown> {
    const { every, message, device } = this.#group;
    return {
      type: "opcua",
      endpoint: `opc.tcp://127.0.0.1:${this.#port}`,
      security: { mode: "None" },
      timeout: "1s",
      keepAlive: "500ms",
      ...WIRED_DEVICE,
      message,
      groups: { process: { every, nodes: NODES } },
      ...device,
    };
  }

  isTrue(signal: string, value: unknown): boolean {
    return signal !== "name" || value === this.device;
  }

  setFault(fault: OpcuaFault): void {
    this.#child?.kill(fault === "silence" ? "SIGSTOP" : "SIGCONT");
    if (fault === "sessions-lost") this.#child?.stdin?.write("forget keeping\n");
    if (fault === "subscriptions-lost") this.#child?.stdin?.write("forget\n");
  }

  async stop(): Promise<void> {
    this.#isOn = false;
    this.#child?.kill("SIGKILL");
    await this.#ended;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #told(what: "on" | "off"): Promise<string | null> {
    const heard = this.#heard();
    this.#child?.stdin?.write(`${what}\n`);
    return heard;
  }

  /** Null where it says nothing, or has ended. */
  async #heard(): Promise<string | null> {
    const { promise, resolve } = Promise.withResolvers<string | null>();
    this.#answer = resolve;
    const timer = this.#clock.after(ANSWER_MS_MAX, () => resolve(null));
    const said = await promise;
    timer.cancel();
    return said;
  }
}
