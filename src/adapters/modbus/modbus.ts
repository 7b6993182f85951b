/**
 * The Modbus adapter: TCP and RTU.
 *
 * Promise: machines are read gently (one question at a time on each line, as few as the register map allows,
 * less and less often while there is no answer), and what was read goes to intake in its order, or is accounted
 * for in a gap record. It only reads; no request of it can change anything in a machine.
 *
 * Devices with the same connection share a line (line.ts); each has a poller of its own (poller.ts).
 */
import { BaseService } from "../../core/service.ts";
import type { Adapter, AdapterContext, DeviceReport } from "../adapter.ts";
import { Line, lineKey } from "./line.ts";
import { Poller } from "./poller.ts";
import type { ModbusDeviceConfig } from "./schema.ts";

export class ModbusAdapter extends BaseService implements Adapter {
  readonly #lines = new Map<string, Line>();
  readonly #pollers: Poller[] = [];

  constructor(devices: Readonly<Record<string, ModbusDeviceConfig>>, context: AdapterContext) {
    super();
    for (const [name, device] of Object.entries(devices)) {
      const key = lineKey(device.connection);
      let line = this.#lines.get(key);
      if (!line) {
        line = new Line(device.connection, context.clock);
        this.#lines.set(key, line);
      }
      this.#pollers.push(new Poller(name, device, line, context));
    }
  }

  devices(): DeviceReport[] {
    return this.#pollers.map((poller) => poller.report());
  }

  protected async onStart(): Promise<void> {
    for (const poller of this.#pollers) poller.start();
  }

  protected async onStop(): Promise<void> {
    const polling = this.#pollers.map((poller) => poller.stop());
    await Promise.all([...this.#lines.values()].map((line) => line.close()));
    await Promise.all(polling);
  }
}
