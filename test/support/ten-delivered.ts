/** A store whose deliveries are held against what a backend has. */
import { BUILT_AT_MS, type StoreBuilder } from "./store-builder.ts";

export const HOUR_MS = 3_600_000;

/** Ten delivered, an hour apart, one that waits and one that is dead. */
export function tenDelivered(store: StoreBuilder): void {
  for (let n = 1; n <= 10; n++) {
    const acceptedAt = BUILT_AT_MS + n * HOUR_MS;
    store.message({ id: `m-${n}`, acceptedAt, deliveries: [{ flow: "mes", state: "delivered" }] });
  }
  const acceptedAt = BUILT_AT_MS + 5 * HOUR_MS;
  store.message({ id: "waits", acceptedAt, deliveries: [{ flow: "mes" }] });
  store.message({ id: "dead", acceptedAt, deliveries: [{ flow: "mes", state: "dead", reason: "no" }] });
  store.message({ id: "elsewhere", acceptedAt, deliveries: [{ flow: "other", state: "delivered" }] });
}
