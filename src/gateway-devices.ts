/** Every device, MQTT clients and the machines that adapters read alike, as watch/ and web/ ask for them. */
import type { Adapters } from "./adapters/adapters.ts";
import type { Broker } from "./broker/broker.ts";
import type { DeviceFacts } from "./watch/sources.ts";
import type { DeviceRow } from "./web/context.ts";

/** The devices as watch/ asks for them: MQTT clients, and the machines that adapters read. */
export function devicesView(broker: Broker, adapters: Adapters) {
  return {
    get clientsOnline() {
      return broker.stats().clients;
    },
    read: () => adapters.devices(),
    *devices(): Generator<DeviceFacts> {
      for (const { connections, accepted, ...state } of broker.devices()) {
        yield { ...state, online: connections > 0, messages: accepted };
      }
      for (const { device, state, stored, duplicates, refused, lastStoredAtMs } of adapters.devices()) {
        const online = state === "online" || state === "failing";
        yield {
          device,
          online,
          messages: stored,
          duplicates,
          refused,
          late: null,
          lastMessageAtMs: lastStoredAtMs,
        };
      }
    },
  };
}

/** MQTT clients as the API lists them, beside the machines that adapters read. */
export function* clientReports(broker: Broker): Generator<DeviceRow> {
  for (const { device, connections, accepted, duplicates, refused, lastMessageAtMs } of broker.devices()) {
    const state = connections > 0 ? "online" : "offline";
    yield {
      device,
      type: "mqtt",
      state,
      stored: accepted,
      duplicates,
      refused,
      lastStoredAtMs: lastMessageAtMs,
    };
  }
}
