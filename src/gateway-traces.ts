/** Makes what notes traces, where the config names a collector. */
import type { Config } from "./config.ts";
import { Traces, type TracesOptions } from "./telemetry/traces.ts";

/** Null where nothing is traced. */
export function makeTraces(
  {
    config,
    clock,
    random,
    logger,
  }: { readonly config: Config } & Pick<TracesOptions, "clock" | "random" | "logger">,
  version: string,
  onOutcome: TracesOptions["onOutcome"],
): Traces | null {
  const { traces } = config.telemetry;
  if (!traces) return null;
  const gateway = config.gateway.name;
  return new Traces({ config: traces, gateway, version, clock, random, logger, onOutcome });
}
