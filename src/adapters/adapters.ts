/** All adapters the config asks for, as one service: started and stopped together. */
import type { Commanded } from "../core/command.ts";
import { BaseService } from "../core/service.ts";
import type { Adapter, AdapterContext, DeviceReport } from "./adapter.ts";
import { ModbusAdapter } from "./modbus/modbus.ts";
import { OpcuaAdapter } from "./opcua/opcua.ts";
import type { DeviceConfig } from "./schema.ts";
import { SerialAdapter } from "./serial/serial.ts";

export interface AdaptersOptions extends AdapterContext {
  readonly devices: Readonly<Record<string, DeviceConfig>>;
}

export class Adapters extends BaseService {
  readonly #adapters: readonly Adapter[];
  readonly #names: readonly string[];

  constructor({ devices, ...context }: AdaptersOptions) {
    super();
    const modbus = devicesOf(devices, "modbus");
    const serial = devicesOf(devices, "serial");
    const opcua = devicesOf(devices, "opcua");
    this.#names = Object.keys(devices);
    this.#adapters = [
      ...(modbus ? [new ModbusAdapter(modbus, context)] : []),
      ...(serial ? [new SerialAdapter(serial, context)] : []),
      ...(opcua ? [new OpcuaAdapter(opcua, context)] : []),
    ];
  }

  async prepare(): Promise<void> {
    await Promise.all(this.#adapters.map((adapter) => adapter.prepare?.()));
  }

  /** In the config's order. */
  devices(): DeviceReport[] {
    const reports = this.#adapters.flatMap((adapter) => adapter.devices());
    return reports.toSorted((a, b) => this.#names.indexOf(a.device) - this.#names.indexOf(b.device));
  }

  /** Those whose devices take commands. */
  commanded(): Commanded[] {
    return this.#adapters.flatMap(({ commanded }) => commanded ?? []);
  }

  protected async onStart(): Promise<void> {
    await Promise.all(this.#adapters.map((adapter) => adapter.start()));
  }

  protected async onStop(): Promise<void> {
    await Promise.all(this.#adapters.map((adapter) => adapter.stop()));
  }
}

type Devices<Type> = Record<string, DeviceConfig & { readonly type: Type }>;

/** Those of one type; null where there is none. */
function devicesOf<Type extends DeviceConfig["type"]>(
  devices: Readonly<Record<string, DeviceConfig>>,
  type: Type,
): Devices<Type> | null {
  const found = Object.entries(devices).filter(([, device]) => device.type === type);
  return found.length === 0 ? null : (Object.fromEntries(found) as Devices<Type>);
}
