/**
 * An OPC UA server on a stack that is not ours (node-opcua-server), with the plant of process-model.ts: a tank, a
 * motor, a counter, alarms. The stack is heavy and stands in extras/opcua (docs/opcua.md says how to get it).
 *
 * Values can be set by hand, with any status and time; sessions and subscriptions can be thrown away as a
 * server does that was restarted. Its own certificate is made anew for each start unless `folder` is given, and
 * it takes every client, so it is nothing to put into a network.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Clock, sleep, systemClock, type Timer } from "../../src/core/clock.ts";
import { seededRandom } from "../../src/core/random.ts";
import { ProcessModel } from "./process-model.ts";

const EXTRAS = join(import.meta.dirname, "../../extras/opcua");
const STEP_MS = 100;
/** The stack looks at a value that changed a little later, and sees the newest. */
const SEEN_AFTER_MS = 110;

export interface OpcuaServerOptions {
  readonly port?: number;
  /** Where its certificate and those of its clients are; else a folder of its own, gone with it. */
  readonly folder?: string;
  /** By name, their passwords. While there are any, nobody else may enter. */
  readonly users?: Readonly<Record<string, string>>;
  /** The plant lives; else values stand still until they are set. */
  readonly lives?: boolean;
  readonly seed?: number;
  /** What its node Name says; default: PLANT-1. */
  readonly name?: string;
  readonly clock?: Clock;
}

type Value = number | boolean | string | readonly number[] | [number, number];

interface Variable {
  readonly dataType: string;
  readonly writable?: boolean;
  readonly of: (model: ProcessModel) => Value;
}

/** By the text of their node ids in namespace 1. */
const VARIABLES: Readonly<Record<string, Variable>> = {
  "Tank.Level": { dataType: "Double", of: ({ levelL }) => levelL },
  "Tank.Temperature": { dataType: "Float", of: ({ temperatureC }) => temperatureC },
  "Tank.Setpoint": { dataType: "Double", writable: true, of: ({ levelSetpointL }) => levelSetpointL },
  "Tank.LevelHigh": { dataType: "Boolean", of: ({ levelHigh }) => levelHigh },
  "Motor.On": { dataType: "Boolean", writable: true, of: ({ motorOn }) => motorOn },
  "Motor.Speed": { dataType: "Int16", of: ({ speedRpm }) => Math.round(speedRpm) },
  "Motor.Setpoint": { dataType: "UInt16", writable: true, of: ({ speedSetpointRpm }) => speedSetpointRpm },
  Pieces: { dataType: "UInt32", of: ({ pieces }) => pieces },
  Total: { dataType: "UInt64", of: () => [1 << 22, 1] },
  /** As the options say. */
  Name: { dataType: "String", of: () => "" },
  Profile: { dataType: "Double", of: () => [1, 2.5, 4] },
};

interface StackSubscription {
  getAvailableSequenceNumbers(): number[];
  acknowledgeNotification(number: number): unknown;
}

interface StackSession {
  readonly authenticationToken: unknown;
  readonly publishEngine: { readonly subscriptions: readonly StackSubscription[] };
}

export class OpcuaServer {
  readonly #options: OpcuaServerOptions;
  readonly #clock: Clock;
  readonly #model: ProcessModel;
  /** The stack's own objects, whose types come with the package. */
  // biome-ignore lint/suspicious/noExplicitAny: the package may not be there when this is compiled
  #stack: any = null;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  #server: any = null;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  readonly #nodes = new Map<string, any>();
  readonly #folder: string;
  #timer: Timer | undefined;
  #port: number;

  constructor(options: OpcuaServerOptions = {}) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#model = new ProcessModel(seededRandom(options.seed ?? 1));
    this.#port = options.port ?? 0;
    this.#folder = options.folder ?? mkdtempSync(join(tmpdir(), "opcua-server-"));
  }

  get port(): number {
    return this.#port;
  }

  get endpoint(): string {
    return `opc.tcp://127.0.0.1:${this.#port}`;
  }

  /** SHA-256 of its certificate, in hexadecimal digits. */
  get fingerprint(): string {
    return createHash("sha256").update(this.#server.getCertificate()).digest("hex");
  }

  get sessions(): number {
    return this.#server.engine.currentSessionCount;
  }

  get subscriptions(): number {
    return this.#server.engine.currentSubscriptionCount;
  }

  async start(): Promise<this> {
    this.#stack ??= await loadStack();
    const { users } = this.#options;
    const [certificates, userCertificates] = ["pki", "users"].map(
      (name) =>
        new this.#stack.OPCUACertificateManager({
          rootFolder: join(this.#folder, name),
          automaticallyAcceptUnknownCertificate: true,
        }),
    );
    await Promise.all([certificates.initialize(), userCertificates.initialize()]);
    this.#server = new this.#stack.OPCUAServer({
      port: this.#port,
      hostname: "127.0.0.1",
      serverCertificateManager: certificates,
      userCertificateManager: userCertificates,
      nodeset_filename: [this.#stack.nodesets.standard],
      allowAnonymous: users === undefined,
      userManager: { isValidUser: (name: string, password: string) => users?.[name] === password },
      maxConnectionsPerEndpoint: 100,
      serverCapabilities: { maxSessions: 100 },
    });
    await this.#server.initialize();
    this.#makeNodes();
    await this.#server.start();
    this.#port = this.#server.endpoints[0].port;
    if (this.#options.lives) this.#arm();
    return this;
  }

  /** Nothing listens any more; it can be started again. */
  async off(): Promise<void> {
    this.#timer?.cancel();
    await this.#server?.shutdown(0);
    this.#server = null;
  }

  /** What it knew of sessions and subscriptions is gone; its port and its certificate stay. */
  async restart(): Promise<void> {
    await this.off();
    await this.start();
  }

  async stop(): Promise<void> {
    await this.off();
    if (this.#options.folder === undefined) rmSync(this.#folder, { recursive: true, force: true });
  }

  /** `status`: a name of the standard's, as `BadSensorFailure`. */
  set(name: string, value: Value | null, status = "Good", at = new Date(this.#clock.wallMs())): void {
    const { DataType, StatusCodes, VariantArrayType } = this.#stack;
    const { dataType } = VARIABLES[name]!;
    const arrayType =
      Array.isArray(value) && !dataType.endsWith("64") ? VariantArrayType.Array : VariantArrayType.Scalar;
    const variant = { dataType: value === null ? DataType.Null : DataType[dataType], arrayType, value };
    this.#nodes.get(name).setValueFromSource(variant, StatusCodes[status], at);
  }

  /** One after the other, each for as long as the stack needs to see it. */
  async setEach(name: string, values: readonly Value[]): Promise<void> {
    for (const value of values) {
      this.set(name, value);
      await sleep(this.#clock, SEEN_AFTER_MS);
    }
  }

  get(name: string): unknown {
    return this.#nodes.get(name).readValue().value.value;
  }

  /** Notifications that were sent, and that the server keeps until they are acknowledged. */
  get unacknowledged(): number {
    return this.#subscriptions().reduce((sum, each) => sum + each.getAvailableSequenceNumbers().length, 0);
  }

  /** They are thrown away, as by a server that keeps few. */
  forgetUnacknowledged(): void {
    for (const each of this.#subscriptions()) {
      for (const number of each.getAvailableSequenceNumbers()) each.acknowledgeNotification(number);
    }
  }

  /** The server ends all sessions; `keeping` what they had subscribed to, as the standard wants it at a timeout. */
  forgetSessions(keeping: boolean): void {
    const { engine } = this.#server;
    for (const session of this.#sessions()) {
      engine.closeSession(session.authenticationToken, !keeping, "Timeout");
    }
  }

  #sessions(): StackSession[] {
    return Object.values(this.#server.engine._sessions);
  }

  #subscriptions(): StackSubscription[] {
    return this.#sessions().flatMap(({ publishEngine }) => publishEngine.subscriptions);
  }

  #makeNodes(): void {
    const { addressSpace } = this.#server.engine;
    const namespace = addressSpace.getOwnNamespace();
    const folders = new Map<string, unknown>([["", addressSpace.rootFolder.objects]]);
    for (const [name, variable] of Object.entries(VARIABLES)) {
      const folder = name.includes(".") ? name.split(".")[0]! : "";
      if (!folders.has(folder)) {
        folders.set(
          folder,
          namespace.addObject({
            organizedBy: addressSpace.rootFolder.objects,
            browseName: folder,
            nodeId: `s=${folder}`,
          }),
        );
      }
      const parent = folders.get(folder);
      const { dataType, writable } = variable;
      const where = folder === "" ? { organizedBy: parent } : { componentOf: parent };
      const isAnalog = name === "Tank.Level";
      const more = isAnalog ? { engineeringUnitsRange: { low: 0, high: 1000 } } : {};
      const node = namespace[isAnalog ? "addAnalogDataItem" : "addVariable"]({
        ...where,
        ...more,
        browseName: name.split(".").at(-1),
        nodeId: `s=${name}`,
        dataType,
        valueRank: Array.isArray(variable.of(this.#model)) && dataType !== "UInt64" ? 1 : -1,
        accessLevel: writable ? "CurrentRead | CurrentWrite" : "CurrentRead",
        userAccessLevel: writable ? "CurrentRead | CurrentWrite" : "CurrentRead",
        minimumSamplingInterval: 0,
      });
      this.#nodes.set(name, node);
      this.set(name, name === "Name" ? (this.#options.name ?? "PLANT-1") : variable.of(this.#model));
    }
  }

  #arm(): void {
    this.#timer = this.#clock.after(STEP_MS, () => {
      this.#model.levelSetpointL = Number(this.get("Tank.Setpoint"));
      this.#model.motorOn = this.get("Motor.On") === true;
      this.#model.speedSetpointRpm = Number(this.get("Motor.Setpoint"));
      this.#model.step(STEP_MS);
      for (const [name, { of, writable }] of Object.entries(VARIABLES)) {
        if (!writable && name !== "Name") this.set(name, of(this.#model));
      }
      this.#arm();
    });
  }
}

async function loadStack(): Promise<Record<string, unknown>> {
  const { resolve } = createRequire(join(EXTRAS, "package.json"));
  const bring = (name: string) => import(pathToFileURL(resolve(name)).href);
  const debug = await bring("node-opcua-debug");
  for (const set of ["setDebugLogger", "setWarningLogger", "setErrorLogger", "setTraceLogger"]) {
    debug[set](() => {});
  }
  const parts = await Promise.all(
    [
      "node-opcua-server",
      "node-opcua-certificate-manager",
      "node-opcua-nodesets",
      "node-opcua-variant",
      "node-opcua-status-code",
    ].map(bring),
  );
  return Object.assign({}, ...parts);
}
