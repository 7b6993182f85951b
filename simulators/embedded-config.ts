/** The config of a gateway that a run starts for itself. */
import { BACKEND_URL_VARIABLE, type Scenario } from "./scenario.ts";

/** What the run's own gateway runs with: this, the PLCs that it reads, and the scenario's fragment over it. */
export function embeddedConfig(
  scenario: Scenario,
  devices: Record<string, unknown> = {},
): Record<string, unknown> {
  const { type } = scenario.backend;
  const base = {
    gateway: { name: "simulated" },
    log: { level: "warn" },
    broker: { listeners: [{ type: "tcp", port: 0 }] },
    web: { port: 0 },
    intake: {
      identities: [
        { topics: "#", id: { pointer: "/id" }, scope: "global", producedAt: { pointer: "/producedAt" } },
      ],
    },
    ...(Object.keys(devices).length > 0 ? { devices } : {}),
    relay: { probeDelayMin: "100ms", probeDelayMax: "1s" },
    targets: { backend: type === "file" ? { type } : { type, url: BACKEND_URL_VARIABLE } },
    flows: { all: { from: "plant/#", to: "backend", retry: { delayMin: "50ms", delayMax: "1s" } } },
  };
  return overlaid(base, scenario.gateway.config) as Record<string, unknown>;
}

/** Maps are laid over each other key by key; anything else replaces what was there. */
function overlaid(below: unknown, above: unknown): unknown {
  if (!isMap(below) || !isMap(above)) return above;
  const both = { ...below };
  for (const [key, value] of Object.entries(above)) {
    both[key] = key in below ? overlaid(below[key], value) : value;
  }
  return both;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The flow's order key, which the oracle must judge by. */
export function orderOf(scenario: Scenario): "device" | "topic" | "none" {
  const flows = scenario.gateway.config.flows as { all?: { orderBy?: unknown } } | undefined;
  const orderBy = flows?.all?.orderBy;
  return orderBy === "topic" || orderBy === "none" ? orderBy : "device";
}
