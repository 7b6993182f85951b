/** Makes a target from its config. */
import { HoldfastError } from "../core/errors.ts";
import { FileTarget } from "./file.ts";
import { HttpTarget } from "./http.ts";
import { MqttTarget } from "./mqtt.ts";
import { type TargetConfig, targetTypeProblem } from "./schema.ts";
import type { Target, TargetContext } from "./target.ts";

/** @throws HoldfastError HF_CONFIG for a type that this version does not have. */
export function createTarget(config: TargetConfig, context: TargetContext): Target {
  switch (config.type) {
    case "mqtt":
      return new MqttTarget(config, context);
    case "http":
      return new HttpTarget(config, context);
    case "file":
      return new FileTarget(config, context);
    default: {
      const { type } = config as { type: string };
      throw new HoldfastError("HF_CONFIG", `target ${context.name}: ${targetTypeProblem(type)}`, { type });
    }
  }
}
