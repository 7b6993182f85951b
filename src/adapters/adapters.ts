/** All adapters the config asks for, as one service: started and stopped together. */
import { BaseService } from "../core/service.ts";
import type { Adapter, AdapterContext, DeviceReport } from "./adapter.ts";
import { ModbusAdapter } from "./modbus/modbus.ts";
import type { DeviceConfig } from "./schema.ts";

export interface AdaptersOptions extends AdapterContext {
  readonly devices: Readonly<Record<string, DeviceConfig>>;
}

export class Adapters extends BaseService {
  readonly #adapters: readonly Adapter[];

  constructor({ devices, ...context }: AdaptersOptions) {
    super();
    this.#adapters = Object.keys(devices).length === 0 ? [] : [new ModbusAdapter(devices, context)];
  }

  devices(): DeviceReport[] {
    return this.#adapters.flatMap((adapter) => adapter.devices());
  }

  protected async onStart(): Promise<void> {
    await Promise.all(this.#adapters.map((adapter) => adapter.start()));
  }

  protected async onStop(): Promise<void> {
    await Promise.all(this.#adapters.map((adapter) => adapter.stop()));
  }
}
