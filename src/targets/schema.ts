/** The targets' part of the config: one backend, told apart by `type`. */
import { z } from "zod";
import { fileTargetSchema } from "./file-options.ts";
import { httpTargetSchema } from "./http-options.ts";
import { mqttTargetSchema } from "./mqtt-options.ts";

export const TARGET_TYPES = ["mqtt", "http", "file"] as const;

/** Backends people ask for that this version does not bring. */
const TYPES_NOT_BUILT_IN = [
  "kafka",
  "nats",
  "amqp",
  "rabbitmq",
  "sql",
  "postgres",
  "mysql",
  "sqlite",
  "stream",
  "redis",
  "s3",
  "opcua",
  "device",
];

export const targetSchema = z.discriminatedUnion(
  "type",
  [mqttTargetSchema, httpTargetSchema, fileTargetSchema],
  {
    error: (issue) => {
      if (issue.code !== "invalid_union") return undefined;
      const type = (issue.input as { type?: unknown } | null | undefined)?.type;
      if (type === undefined) return `expected a type: ${TARGET_TYPES.join(", ")}`;
      return targetTypeProblem(String(type));
    },
  },
);
export type TargetConfig = z.output<typeof targetSchema>;

export function targetTypeProblem(type: string): string {
  const known = TARGET_TYPES.join(", ");
  return TYPES_NOT_BUILT_IN.includes(type.toLowerCase())
    ? `targets of type ${type} are not built into this version of Holdfast; it has ${known}`
    : `there is no target type ${JSON.stringify(type)}; expected one of ${known}`;
}
