/**
 * Puts together what carries commands: for each device that takes some a flow and a target, for each upstream a
 * subscription, and a flow and a target for its results; and the front desk that all doors hand commands to.
 */
import type { Adapters } from "./adapters/adapters.ts";
import type { Broker } from "./broker/broker.ts";
import { Commands } from "./commands/commands.ts";
import { MqttDevices } from "./commands/mqtt-devices.ts";
import type { MqttDeviceConfig } from "./commands/schema.ts";
import { Together } from "./commands/together.ts";
import { Upstream } from "./commands/upstream.ts";
import type { Config } from "./config.ts";
import type { Clock } from "./core/clock.ts";
import { commandFlow, resultFlow } from "./core/command-message.ts";
import { builtInFlow, type Flow } from "./core/flow.ts";
import type { Logger } from "./core/logger.ts";
import type { Random } from "./core/random.ts";
import type { Accepting } from "./intake/draft.ts";
import type { Reader } from "./queue/reader.ts";
import type { Store } from "./queue/store.ts";
import type { Relay } from "./relay/relay.ts";
import { createTarget } from "./targets/create.ts";
import { DeviceTarget } from "./targets/device.ts";
import { targetSchema } from "./targets/schema.ts";
import type { Target, TargetContext, TargetHealth } from "./targets/target.ts";

/** A command that cannot be sent costs nothing, and one whose answer was lost is never given up by itself. */
const COMMAND_RETRY = { delayMin: "500ms", delayMax: "30s", attemptsMax: 1000 };

export interface CommandPartsOptions {
  readonly config: Config;
  readonly dataDir: string;
  readonly store: Store;
  readonly reader: Reader;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Made later than what is made here, and asked no sooner than it runs. */
  readonly intake: () => Accepting;
  readonly broker: () => Broker;
  readonly relay: () => Relay;
  readonly adapters: Adapters;
}

export class CommandParts {
  readonly flows: readonly Flow[];
  readonly targets: readonly Target[];
  readonly commands: Commands;
  readonly upstreams: readonly Upstream[];
  readonly #mqttDevices: MqttDevices;

  constructor(options: CommandPartsOptions) {
    const { config, store, reader, clock, random, logger, intake, broker, relay, adapters } = options;
    const { order, upstreams } = config.commands;
    this.#mqttDevices = new MqttDevices({
      devices: mqttDevicesOf(config),
      send: (message) => broker().send(message),
      reaches: (device, topic) => broker().reaches(device, topic),
      clock,
    });
    const commanded = new Together([...adapters.commanded(), this.#mqttDevices]);
    const devices = [...commanded.commandable().keys()];
    const orderBy = order === "device" ? "device" : "topic";
    this.flows = [
      ...devices.map((device) => {
        const name = commandFlow(device);
        return builtInFlow(name, { from: `${name}/#`, to: name, orderBy, retry: COMMAND_RETRY }, true);
      }),
      ...Object.keys(upstreams).map((upstream) => {
        const name = resultFlow(upstream);
        return builtInFlow(name, { from: name, to: name });
      }),
    ];
    const gateway = config.gateway.name;
    this.targets = [
      ...devices.map((device) => {
        const presence = () => this.#mqttDevices.presence(device) ?? presenceOf(adapters, device);
        return new DeviceTarget({ device, commanded, presence, oneAtATime: order === "device", clock });
      }),
      ...Object.keys(upstreams).map((upstream) => {
        const name = resultFlow(upstream);
        return resultTarget(config, upstream, { name, gateway, dataDir: options.dataDir, clock, logger });
      }),
    ];
    const lateIntake: Accepting = { accept: (draft, signal) => intake().accept(draft, signal) };
    this.commands = new Commands({
      config: config.commands,
      commanded,
      intake: lateIntake,
      store,
      reader,
      decide: (decision, signal) => relay().decide(decision, signal),
      clock,
    });
    this.upstreams = Object.entries(upstreams).map(([name, upstream]) => {
      const clientId = clientIdOf(config, name);
      return new Upstream({
        name,
        config: upstream,
        clientId,
        commands: this.commands,
        clock,
        random,
        logger,
      });
    });
  }

  /** As the broker is to know intake: replies of devices are seen on their way in. */
  listening(intake: Accepting): Accepting {
    return this.#mqttDevices.listening(intake);
  }
}

function mqttDevicesOf(config: Config): Record<string, MqttDeviceConfig> {
  return Object.fromEntries(
    Object.entries(config.devices).flatMap(([name, device]) =>
      device.type === "mqtt" ? [[name, device] as const] : [],
    ),
  );
}

function clientIdOf({ gateway, commands }: Config, upstream: string): string {
  return commands.upstreams[upstream]!.clientId ?? `holdfast-${gateway.name}-${upstream}`;
}

/** Results go out as messages to any backend do. One that arrives twice says the same twice. */
function resultTarget(config: Config, upstream: string, context: TargetContext): Target {
  const { url, protocol, username, password, tls, keepAlive, connectTimeout } =
    config.commands.upstreams[upstream]!;
  const options = targetSchema.parse({
    type: "mqtt",
    url,
    protocol: protocol === 5 ? 5 : "3.1.1",
    clientId: `${clientIdOf(config, upstream)}-results`,
    idempotent: true,
    retain: "never",
    username,
    password,
    tls,
    keepAlive,
    connectTimeout,
  });
  return createTarget(options, context);
}

function presenceOf(adapters: Adapters, device: string): TargetHealth {
  const report = adapters.devices().find((each) => each.device === device);
  if (report?.state !== "offline") return { reachable: true, detail: report?.state ?? "not known" };
  return { reachable: false, detail: report.lastError ?? `${device} does not answer` };
}
